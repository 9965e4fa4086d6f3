"""A small HTTPS server for the agent's endpoint: one request per connection, streamed answers, upgrades.

It serves a ``client.exchange.Application``; what it hands over after an upgrade are plain bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import ssl

from sublet.client.exchange import Application, Request, Response
from sublet.client.tunnel import StreamConnection
from sublet.machinery import codec
from sublet.machinery.status import BadRequest, InternalError, StatusError

log = logging.getLogger(__name__)

_HEAD_LIMIT = 64 << 10
_BODY_LIMIT = 4 << 20
_HEAD_SECONDS = 30.0
_NEWLINE_JOINED = ("x-stream-protocol-version",)


class HTTPServer:
    """``await start()`` gives the port; ``await stop()`` ends all connections."""

    def __init__(
        self, application: Application, context: ssl.SSLContext | None, address: str, port: int
    ) -> None:
        self._application = application
        self._context = context
        self._address = address
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Raises ``OSError`` when the port is taken."""
        extra = {"ssl_handshake_timeout": 10.0} if self._context else {}
        self._server = await asyncio.start_server(
            self._accept, self._address, self._port, ssl=self._context, limit=_HEAD_LIMIT, **extra
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        connection = StreamConnection(reader, writer)
        try:
            await self._serve(reader, writer, connection)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError) as error:
            log.debug("connection ended: %s", error)
        finally:
            await connection.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: StreamConnection
    ) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                request = await read_request(reader, writer)
            response = await self._application.handle(request)
        except StatusError as error:
            response = refusal(error)
        except (ConnectionError, asyncio.IncompleteReadError):
            raise
        except Exception:
            log.exception("a request failed")
            response = refusal(InternalError("the node agent failed; its log says how"))
        writer.write(_head(response))
        if response.upgrade is not None:
            await writer.drain()
            await response.upgrade(connection)
        elif isinstance(response.body, bytes):
            await connection.write(response.body)
        else:
            await _stream(response, reader, connection)


async def _stream(response: Response, reader: asyncio.StreamReader, connection: StreamConnection) -> None:
    """Sends chunks until the body ends or the client goes."""
    body = response.body
    if isinstance(body, bytes):
        raise TypeError("not a stream")
    iterator = body.__aiter__()
    gone = asyncio.ensure_future(reader.read(1))
    try:
        while True:
            following = asyncio.ensure_future(anext(iterator, None))
            await asyncio.wait((following, gone), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
                return
            chunk = following.result()
            if chunk is None:
                break
            if chunk:
                await connection.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await connection.write(b"0\r\n\r\n")
    finally:
        gone.cancel()
        if close := getattr(iterator, "aclose", None):
            await close()


def _head(response: Response) -> bytes:
    try:
        phrase = http.HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.upgrade is None:
        lines.append("Connection: close")
        if isinstance(response.body, bytes):
            lines.append(f"Content-Length: {len(response.body)}")
        else:
            lines.append("Transfer-Encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """Raises :class:`BadRequest`."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise BadRequest("the request's head is too long") from None
    line, *fields = head[:-4].decode("latin-1").split("\r\n")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest("not an HTTP/1.1 request")
    path, _, query = parts[1].partition("?")
    headers = parse_headers(fields)
    body = b""
    if length := headers.get("content-length"):
        if not length.isdigit() or int(length) > _BODY_LIMIT:
            raise BadRequest("the request's body is too long")
        body = await reader.readexactly(int(length))
    secured = writer.get_extra_info("ssl_object")
    peer = writer.get_extra_info("peername") or ("", 0)
    return Request(
        parts[0], path, query, headers, body,
        peer_certificate=secured.getpeercert(True) if secured is not None else None,
        remote=f"{peer[0]}:{peer[1]}",
        upgradable=True,
    )  # fmt: skip


def parse_headers(fields: list[str]) -> dict[str, str]:
    """Lower-case names; repeated ones joined as ``client.exchange.Request`` says."""
    headers: dict[str, str] = {}
    for field in fields:
        name, separator, value = field.partition(":")
        if not separator:
            raise BadRequest(f"not a header: {field[:80]!r}")
        name, value = name.strip().lower(), value.strip()
        if name in headers:
            value = headers[name] + ("\n" if name in _NEWLINE_JOINED else ", ") + value
        headers[name] = value
    return headers


def refusal(error: StatusError) -> Response:
    return Response(error.code, [("Content-Type", "application/json")], codec.encode_json(error.to_object()))
