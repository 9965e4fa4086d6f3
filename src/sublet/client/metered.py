"""What a component asks of an API server, counted as client-go counts it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator

from msgspec import Struct

from sublet.client.exchange import Request, Response, Transport
from sublet.machinery.exposition import Counter, Histograms, counter, histograms

_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class ClientMetrics(Struct):
    """Of all clients of one component; ``host`` is how metrics name the server, ``host:port``."""

    host: str
    requests: Counter = counter(
        "rest_client_requests_total",
        "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
    )
    durations: Histograms = histograms(
        "rest_client_request_duration_seconds",
        "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
        _BUCKETS,
    )
    now: Callable[[], float] = time.perf_counter

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format."""
        yield from self.requests.lines()
        yield from self.durations.lines()

    def observe(self, method: str, code: int | None, seconds: float) -> None:
        """One request; ``code`` None: there was no answer."""
        told = "<error>" if code is None else str(code)
        self.requests.add(f'code="{told}",host="{self.host}",method="{method}"')
        self.durations.observe(f'host="{self.host}",verb="{method}"', seconds)


class MeteredTransport:
    """A transport over another. Of a stream its beginning counts."""

    def __init__(self, transport: Transport, metrics: ClientMetrics) -> None:
        self._transport = transport
        self._metrics = metrics

    async def request(self, request: Request) -> Response:
        return await self._counted(request, self._transport.request)

    async def stream(self, request: Request) -> Response:
        return await self._counted(request, self._transport.stream)

    async def close(self) -> None:
        await self._transport.close()

    async def _counted(self, request: Request, send: Callable[[Request], Awaitable[Response]]) -> Response:
        started = self._metrics.now()
        code: int | None = None
        try:
            response = await send(request)
            code = response.status
            return response
        finally:
            self._metrics.observe(request.method, code, self._metrics.now() - started)
