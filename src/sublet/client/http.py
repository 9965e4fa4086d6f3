"""Requests carried over HTTP to any Kubernetes API server. aiohttp is loaded with the first request."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sublet.client.credentials import Credentials, ssl_context
from sublet.client.exchange import Request, Response
from sublet.client.kubeconfig import ClusterAccess
from sublet.machinery.clock import Clock
from sublet.machinery.status import ServiceUnavailable

if TYPE_CHECKING:
    import aiohttp

_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that vanished without a word ends an idle watch within about a minute."""

_BUSY_RETRIES = 5
_BUSY_SECONDS = 10.0


class HTTPTransport:
    """A pool of connections to one API server; used by one event loop.

    ``connections`` bounds those open at once for short requests; watches have a pool of their own without bound, so
    they never keep a request waiting. ``request_seconds`` is the time one short request may take as a whole.
    """

    def __init__(
        self,
        access: ClusterAccess,
        *,
        connections: int = 32,
        request_seconds: float = 60.0,
        connect_seconds: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.access = access
        self._credentials = Credentials(access, clock)
        self._connections = connections
        self._request_seconds = request_seconds
        self._connect_seconds = connect_seconds
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._certificate = b""

    async def request(self, request: Request) -> Response:
        response = await self._send(request, streaming=False)
        try:
            body = await response.read()
        except _errors() as error:
            raise self._unreachable(error) from error
        finally:
            response.release()
        return Response(response.status, _headers(response), body)

    async def stream(self, request: Request) -> Response:
        response = await self._send(request, streaming=True)
        return Response(response.status, _headers(response), self._chunks(response))

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    async def _send(self, request: Request, *, streaming: bool) -> aiohttp.ClientResponse:
        response = await self._once(request, streaming)
        if response.status == 401 and self._credentials.invalidate():
            response.release()
            response = await self._once(request, streaming)
        for _ in range(_BUSY_RETRIES):
            seconds = _busy(request, response)
            if seconds is None:
                break
            response.release()
            await asyncio.sleep(seconds)
            response = await self._once(request, streaming)
        return response

    async def _once(self, request: Request, streaming: bool) -> aiohttp.ClientResponse:
        import aiohttp
        from yarl import URL

        headers = {**request.headers, **await self._credentials.headers()}
        session = await self._session(streaming)
        url = self.access.server + request.path + (f"?{request.query}" if request.query else "")
        timeout = aiohttp.ClientTimeout(
            total=None if streaming else self._request_seconds, sock_connect=self._connect_seconds
        )
        extra: dict[str, Any] = {}
        if self.access.tls_server_name:
            extra["server_hostname"] = self.access.tls_server_name
        try:
            return await session.request(
                request.method, URL(url, encoded=True), data=request.body or None, headers=headers,
                timeout=timeout, allow_redirects=False, **extra,
            )  # fmt: skip
        except _errors() as error:
            raise self._unreachable(error) from error

    async def _session(self, streaming: bool) -> aiohttp.ClientSession:
        import aiohttp

        access = await self._credentials.resolve()
        if access.client_cert != self._certificate:
            # An exec plugin gave a new certificate: connections made with the old one must not be reused.
            await self.close()
            self._certificate = access.client_cert
        session = self._sessions.get(streaming)
        if session is None:
            context = ssl_context(access)
            connector = aiohttp.TCPConnector(
                limit=0 if streaming else self._connections,
                ssl=True if context is None else context,
                keepalive_timeout=60,
                socket_factory=_socket,
            )
            session = aiohttp.ClientSession(
                connector=connector, auto_decompress=True, trust_env=False, read_bufsize=1 << 18,
                skip_auto_headers=("User-Agent", "Content-Type"),
            )  # fmt: skip
            self._sessions[streaming] = session
        return session

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except _errors() as error:
            raise self._unreachable(error) from error
        finally:
            response.close()

    def _unreachable(self, error: BaseException) -> ServiceUnavailable:
        import aiohttp

        where = urlsplit(self.access.server).netloc
        why = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            why = "no answer in time"
        elif isinstance(error, aiohttp.ClientConnectorError):
            number = error.errno or 0
            if number > 0 and not isinstance(error, aiohttp.ClientSSLError):
                why = os.strerror(number)  # the library's text repeats the address
        return ServiceUnavailable(f"the server at {where} cannot be reached: {why}")


def _busy(request: Request, response: aiohttp.ClientResponse) -> float | None:
    """Seconds after which a server that was too busy to look at the request wants it again.

    Not for evictions: there 429 is the answer of a disruption budget.
    """
    if response.status != 429 or request.path.endswith("/eviction"):
        return None
    stated = response.headers.get("Retry-After", "")
    return min(float(stated), _BUSY_SECONDS) if stated.isdigit() else None


def _errors() -> tuple[type[BaseException], ...]:
    import aiohttp

    return (aiohttp.ClientError, OSError, asyncio.TimeoutError)


def _headers(response: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in response.headers.items()]


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
