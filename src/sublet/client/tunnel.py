"""One request on a connection of its own, so that an upgrade hands the connection over: bytes, whatever they mean.

For exec, attach, port-forward and proxying, towards another API server, a node agent or a pod. SPDY and WebSocket
pass unchanged. Logs and other streams pass as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from urllib.parse import urlsplit

from sublet.client.credentials import Credentials, ssl_context
from sublet.client.exchange import Connection, Request, Response
from sublet.client.kubeconfig import ClusterAccess
from sublet.machinery.status import BadRequest, ServiceUnavailable

_HEAD_LIMIT = 64 << 10
_CHUNK = 64 << 10
_CONNECT_SECONDS = 10.0
_NOT_PASSED = ("host", "authorization", "content-length", "transfer-encoding", "proxy-connection", "keep-alive", "te",
               "impersonate-user", "impersonate-group", "impersonate-uid", "x-remote-user", "x-remote-group",
               "x-remote-uid", "expect")  # fmt: skip
_SPLIT_BY_NEWLINE = ("x-stream-protocol-version",)
_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "proxy-authenticate")


class Unreachable(ServiceUnavailable):
    """A server cannot be connected to, or does not answer; ``error`` is what stopped it."""

    def __init__(self, message: str, error: BaseException) -> None:
        super().__init__(message)
        self.error = error


class StreamConnection:
    """``client.exchange.Connection`` on a pair of asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(_CHUNK)
        except (ConnectionError, ssl.SSLError):
            return b""

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(5):
                await self._writer.wait_closed()


async def forward(access: ClusterAccess, request: Request) -> Response:
    """Sends ``request`` to the server of ``access`` as its user: the request's own credentials are not passed on.

    The answer's body is a stream; with 101 it has an ``upgrade`` that passes bytes both ways. Raises
    :class:`ServiceUnavailable` when the server cannot be reached.
    """
    credentials = Credentials(access)
    extra = await credentials.headers()
    access = await credentials.resolve()
    target = urlsplit(access.server)
    path = target.path.rstrip("/") + request.path
    return await send(
        access.server, request, path, extra.items(), ssl_context(access), access.tls_server_name or None
    )


async def send(
    server: str,
    request: Request,
    path: str,
    extra: Iterable[tuple[str, str]] = (),
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Response:
    """As :func:`forward`, with the pieces given: ``server`` is ``http(s)://host:port``, ``path`` without query."""
    target = urlsplit(server)
    port = target.port or (443 if context else 80)
    name = (server_hostname or target.hostname) if context else None
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                target.hostname, port, ssl=context, server_hostname=name, limit=_HEAD_LIMIT
            )
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        raise Unreachable(f"cannot reach {target.netloc}: {why}", error) from None
    writer.write(_head(request, path, target.netloc, extra) + request.body)
    try:
        return await answer(reader, writer, request.method)
    except BaseException:
        writer.close()
        raise


def _head(request: Request, path: str, host: str, extra: Iterable[tuple[str, str]]) -> bytes:
    upgrading = bool(request.headers.get("upgrade"))
    lines = [
        f"{request.method} {path}{f'?{request.query}' if request.query else ''} HTTP/1.1",
        f"Host: {host}",
    ]
    for name, value in request.headers.items():
        if name in _NOT_PASSED or (not upgrading and name in _HOP):
            continue
        values = value.split("\n") if name in _SPLIT_BY_NEWLINE else [value]
        lines += [f"{name}: {each}" for each in values]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    if not upgrading:
        lines.append("Connection: close")
    # What is passed on keeps its bytes; what is added is UTF-8, as Go writes it.
    lines += [f"{name}: {value}".encode().decode("latin-1") for name, value in extra]
    for line in lines:
        if "\r" in line or "\n" in line:
            raise BadRequest("a header holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str = "GET") -> Response:
    """Reads the head of a response; its body is a stream, and with 101 the connection is its ``upgrade``."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise Unreachable(f"the connection ended without an answer: {error}", error) from None
    first, *fields = head[:-4].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[1].isdigit():
        raise ServiceUnavailable("the answer is not HTTP")
    status = int(words[1])
    headers = [(name.strip(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    if status == 101:
        inner = StreamConnection(reader, writer)

        async def upgrade(outer: Connection) -> None:
            await splice(outer, inner)

        return Response(101, headers, upgrade=upgrade)
    named = {name.lower(): value for name, value in headers}
    kept = [(name, value) for name, value in headers if name.lower() not in (*_HOP, "content-length")]
    if method == "HEAD" or status in (204, 304):
        writer.close()
        return Response(status, kept)
    return Response(status, kept, _body(reader, writer, named))


async def _body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str]
) -> AsyncIterator[bytes]:
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                while size:
                    data = await reader.read(min(size, _CHUNK))
                    if not data:
                        raise ServiceUnavailable("the connection ended in the middle of the answer")
                    size -= len(data)
                    yield data
                await reader.readexactly(2)
        elif (length := headers.get("content-length", "")).isdigit():
            left = int(length)
            while left and (data := await reader.read(min(left, _CHUNK))):
                left -= len(data)
                yield data
        else:
            while data := await reader.read(_CHUNK):
                yield data
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, ValueError) as error:
        raise ServiceUnavailable(f"the connection ended in the middle of the answer: {error}") from None
    finally:
        writer.close()


async def whole(response: Response, limit: int = 1 << 20) -> bytes:
    """The body as bytes, cut at ``limit``."""
    if isinstance(response.body, bytes):
        return response.body
    data = b""
    async for chunk in response.body:
        data += chunk
        if len(data) > limit:
            break
    return data[:limit]


async def splice(one: Connection, other: Connection) -> None:
    """Passes bytes both ways until the second closes or the first is gone; closes both."""
    to_other = asyncio.ensure_future(_pass_on(one, other))
    to_one = asyncio.ensure_future(_pass_on(other, one))
    try:
        # When the far side closes, all is said; when the near side does, its last words may still be answered.
        await asyncio.wait((to_other, to_one), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((to_one,), timeout=1.0)
    finally:
        for task in (to_other, to_one):
            task.cancel()
        await asyncio.gather(to_other, to_one, return_exceptions=True)
        await other.close()
        await one.close()


async def _pass_on(source: Connection, sink: Connection) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await source.read():
            await sink.write(data)
        sink.write_eof()
