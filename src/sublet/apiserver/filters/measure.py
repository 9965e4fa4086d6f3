"""Counts requests and how long they took, under upstream's names."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.apiserver.metrics import Metrics
from sublet.apiserver.requestinfo import CONNECT, RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.clock import Clock


class Measure:
    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        started = self._clock.monotonic()
        response = await proceed(request)
        verb = "CONNECT" if info.subresource in CONNECT else info.verb.upper()
        self._metrics.observe(
            verb,
            info.api_group,
            info.api_version,
            info.resource,
            info.subresource,
            response.status,
            self._clock.monotonic() - started,
        )
        return response
