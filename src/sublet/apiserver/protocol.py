"""HTTP/1.1 on one connection: bytes in, :class:`Request` values to the application, responses out in order.

httptools parses. One request is answered at a time; pipelined ones wait their turn. Bytes are written once per loop
turn, and never beyond what the peer takes: a slow reader holds up its own stream only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httptools

from sublet.apiserver import compression, headerrules
from sublet.apiserver.tls import NOBODY, TLSConnection, address
from sublet.apiserver.upgraded import UpgradedConnection
from sublet.client.exchange import Request, Response
from sublet.machinery import codec
from sublet.machinery.status import BadRequest, RequestEntityTooLarge, StatusError, Timeout

if TYPE_CHECKING:
    from sublet.apiserver.server import HTTPServer

_log = logging.getLogger(__name__)

BODY_LIMIT = 3 * 1024 * 1024
HEAD_LIMIT = 128 * 1024
_HEAD_SECONDS = 32.0
_BODY_SECONDS = 120.0
_IDLE_SECONDS = 180.0
_STUCK_SECONDS = 60.0
"""How long a peer may take nothing of an answer it asked for."""
_STUCK_STREAM_SECONDS = 3600.0
"""The same for streams, whose reader may be a person looking at a page of a log."""
_PIPELINE = 16
_WRITE_HIGH = 256 * 1024
_FLUSH_FROM = 64 * 1024
_BURST = 1024 * 1024
_PIECE = 64 * 1024
"""Long answers are written in pieces: TLS then works in the processor's cache instead of growing buffers."""

_FRAMING = 16
"""Bytes around one byte of a chunked body at most, beyond what heads may take: the rest is endless trailers."""


class HTTPProtocol(asyncio.Protocol):
    """One client connection of an :class:`HTTPServer`."""

    __slots__ = (
        "_between", "_body", "_body_size", "_close_after", "_drained", "_flush_scheduled", "_framing", "_head_bytes",
        "_headers", "_headers_complete", "_leftover", "_out", "_out_size",
        "_parser", "_paused", "_peer",
        "_queue", "_reading", "_refused", "_remote", "_server", "_streaming", "_task", "_transport", "_upgraded",
        "_upgrading", "_url", "deadline", "ending",
    )  # fmt: skip

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self._parser: httptools.HttpRequestParser | None = None
        """Made when bytes come; a stream goes without."""
        self._between = True  # no message is half parsed
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._queue: list[tuple[Request, bool, bool]] = []
        """Requests that wait for their turn, each with the further arguments of :meth:`_begin`."""
        self._task: asyncio.Task[None] | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._flush_scheduled = False
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self._reading = True
        self._streaming = False
        self._close_after = False
        self._refused = False
        self._upgrading = False
        self._upgraded: UpgradedConnection | None = None
        self._leftover = b""
        self._peer = NOBODY
        self._remote = ""
        self._head_bytes = 0
        self._headers_complete = False
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._framing = 0
        """Bytes that came after the headers."""
        self.deadline = 0.0
        """Loop time by which the peer must have done its part; 0: it is our turn."""
        self.ending = server.ending
        """Whether the server wants this connection to end."""

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._remote = address(transport)
        if isinstance(transport, TLSConnection):
            self._peer = transport.peer
        self._await_peer(_HEAD_SECONDS)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.lost(self)
        self._queue.clear()
        self._out.clear()
        if self._upgraded is not None:
            self._upgraded.feed_eof()
        elif self._task is not None:
            self._task.cancel()
        self._wake_writer()

    def eof_received(self) -> bool:
        """A client that half-closes still gets a whole answer on plain TCP, but no stream: it cannot be told from
        one that is gone. Over TLS the connection closes anyway."""
        if self._upgraded is not None:
            self._upgraded.feed_eof()
            return True
        self._close_after = True
        return self._task is not None and not self._streaming

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        if self._upgrading:
            self._leftover += data
            if len(self._leftover) > _WRITE_HIGH:
                self._transport.pause_reading()
            return
        if self._refused:
            return
        if self._headers_complete:
            self._framing += len(data)
        else:
            self._head_bytes += len(data)
        parser = self._parser = self._parser or httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = True
            self._leftover = data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, StatusError) else BadRequest("malformed HTTP request"))
        except httptools.HttpParserError as error:
            self._refuse(BadRequest(f"malformed HTTP request: {error}"))
        else:
            # Judged once the data is parsed: what it holds of the body counts as body.
            if self._framing - self._body_size > HEAD_LIMIT + _FRAMING * self._body_size:
                self._refuse(BadRequest("the request's body is framed by more than it holds"))
            elif not self._headers_complete and self._head_bytes > HEAD_LIMIT:
                self._refuse(
                    StatusError(
                        "request headers are too large", code=431, reason="RequestHeaderFieldsTooLarge"
                    )
                )

    def pause_writing(self) -> None:
        self._paused = True
        if self._upgraded is not None:
            self._upgraded.pause_writing()
        else:
            self._await_peer(_STUCK_STREAM_SECONDS if self._streaming else _STUCK_SECONDS)

    def resume_writing(self) -> None:
        self._paused = False
        if self._task is None:
            self._await_peer(_IDLE_SECONDS)
        else:
            self.deadline = 0.0
        if self._upgraded is not None:
            self._upgraded.resume_writing()
        self._wake_writer()

    # -- httptools --

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_size = 0
        self._framing = 0
        self._between = False
        self._headers_complete = False
        if self._task is None:
            self._await_peer(_HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headers_complete:
            return  # Trailers are no headers: who forwards requests looks at headers only.
        key = self._server.names.get(name) or self._server.name(name)
        text = value.decode("latin-1")
        headers = self._headers
        headers[key] = self._server.header_rules.joined(key, headers[key], text) if key in headers else text

    def on_headers_complete(self) -> None:
        self._headers_complete = True
        headers = self._headers
        length = headerrules.body_length(self._parser.get_http_version(), headers)  # type: ignore[union-attr]
        if length > BODY_LIMIT:
            raise _too_large()
        if self._task is None:
            self._await_peer(_BODY_SECONDS)
        if headers.get("expect", "").lower() == "100-continue" and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > BODY_LIMIT:
            raise _too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._between = True
        self._head_bytes = 0
        self._headers_complete = False
        path, _, query = self._target()
        parser = self._parser
        assert parser is not None
        upgrading = parser.should_upgrade()
        request = Request(
            parser.get_method().decode("ascii"),
            path,
            query,
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            peer_certificate=self._peer.certificate,
            peer_intermediates=self._peer.intermediates,
            remote=self._remote,
            upgradable=upgrading,
        )
        self._headers = {}
        self._body = []
        keep = parser.should_keep_alive() and not upgrading
        old = parser.get_http_version() == "1.0"
        if self._task is None:
            self._begin(request, keep, old)
            return
        self._queue.append((request, keep, old))
        if len(self._queue) >= _PIPELINE and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _target(self) -> tuple[str, str, str]:
        url = self._url.decode("latin-1")
        if url.startswith(("http://", "https://")):
            url = "/" + url.split("//", 1)[1].partition("/")[2]
        if not url.startswith("/"):
            raise BadRequest("the request target must be a path")
        return url.partition("?")

    # -- answering --

    def _begin(self, request: Request, keep: bool, old: bool) -> None:
        """``old``: of HTTP/1.0, which knows no chunks."""
        self.deadline = 0.0
        self._task = self._server.loop.create_task(self._answer(request, keep, old))

    async def _answer(self, request: Request, keep: bool, old: bool) -> None:
        asked = request.method, request.path
        try:
            try:
                response = await self._server.application.handle(request)
            except Exception:
                _log.exception("the application raised on %s %s", *asked)
                response = Response(500, [("Content-Type", "text/plain")], b"internal server error\n")
            if response.upgrade is not None and response.status == 101 and self._upgrading:
                await self._hand_over(response)
                return
            keep = keep and not self._close_after and not self.ending
            if isinstance(response.body, bytes):
                await self._send(request, response, response.body, keep)
            else:
                del request  # a stream may last for hours
                await self._send_stream(asked[0], response, response.body, keep, old)
        except asyncio.CancelledError:
            if self.ending and self._streaming and not self._transport.is_closing():
                self._out.append(b"0\r\n\r\n")
            keep = False
        except Exception:
            _log.exception("answering %s %s failed", *asked)
            keep = False
        self._finish(keep)

    def _finish(self, keep: bool) -> None:
        """After one response: the next pipelined request, or waiting for one, or the end."""
        self._task = None
        self._streaming = False
        if not keep or self._refused:
            self._flush()
            self._transport.close()
        elif self._queue:
            self._begin(*self._queue.pop(0))
            if not self._reading and len(self._queue) < _PIPELINE // 2:
                self._reading = True
                self._transport.resume_reading()
        elif self._close_after:
            self._flush()
            self._transport.close()
        else:
            self._await_peer(_IDLE_SECONDS)

    async def _send(self, request: Request, response: Response, body: bytes, keep: bool) -> None:
        headers = list(response.headers)
        if compression.is_wanted(request, response, len(body)):
            body = await compression.compressed(self._server.loop, body)
            headers += (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        bodiless = response.status in (204, 304) or response.status < 200
        length = None if bodiless else len(body)
        head = self._head(response.status, headers, keep, length)
        silent = bodiless or request.method == "HEAD" or not body
        if silent or len(body) <= _PIECE:
            self._write(head if silent else head + body)
        else:
            await self._write_long(head, body)
        if self._paused:
            await self._drain()

    async def _send_stream(
        self, method: str, response: Response, body: AsyncIterator[bytes], keep: bool, old: bool
    ) -> None:
        try:
            if method == "HEAD":
                self._write(self._head(response.status, response.headers, False, None))
                self._close_after = True
                return
            if self._between:
                self._parser = None
            await self._stream(response, body, keep and not old, chunked=not old)
            if old:
                self._close_after = True
        finally:
            await _close(body)

    async def _stream(
        self, response: Response, body: AsyncIterator[bytes], keep: bool, *, chunked: bool
    ) -> None:
        if chunked:
            response.headers.append(("Transfer-Encoding", "chunked"))
        self._write(self._head(response.status, response.headers, keep, None))
        response.headers.clear()
        self._streaming = True
        if self._close_after:
            self._transport.close()
            return
        if self.ending:  # it was no stream yet when all streams were ended
            self._write(b"0\r\n\r\n" if chunked else b"")
            return
        try:
            async for chunk in body:
                if not chunk:
                    continue
                self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                if self._out_size >= _FLUSH_FROM:
                    self._flush()
                    # A stream that always has a next chunk must not keep the loop to itself.
                    await asyncio.sleep(0)
                if self._paused:
                    await self._drain()
        except StatusError as error:
            _log.info("a stream ended early: %s", error)
            self._close_after = True
            self._streaming = False
            return
        if chunked:
            self._write(b"0\r\n\r\n")
        self._streaming = False

    def _head(self, status: int, headers: list[tuple[str, str]], keep: bool, length: int | None) -> bytes:
        return headerrules.response_head(status, headers, self._server.date_line(), keep, length)

    def _write(self, data: bytes) -> None:
        """Queues bytes; everything queued in one loop turn goes out as one write."""
        self._out.append(data)
        self._out_size += len(data)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._server.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._out and not self._transport.is_closing():
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self._transport.write(data)

    async def _write_long(self, head: bytes, body: bytes) -> None:
        self._out.append(head)
        self._flush()
        pieces = memoryview(body)
        for start in range(0, len(body), _PIECE):
            if self._transport.is_closing():
                return
            self._transport.write(pieces[start : start + _PIECE])
            if start % _BURST == _BURST - _PIECE:
                # Encrypting takes the loop too, and what the peer does not take fills memory.
                await self._drain() if self._paused else await asyncio.sleep(0)

    async def _drain(self) -> None:
        while self._paused and not self._transport.is_closing():
            self._drained = self._server.loop.create_future()
            await self._drained

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def _hand_over(self, response: Response) -> None:
        """Sends the 101 and gives the connection away until the new owner returns."""
        assert response.upgrade is not None
        self._out.append(self._head(101, response.headers, True, None))
        self._flush()
        connection = self._upgraded = UpgradedConnection(self._transport)
        self._transport.resume_reading()
        if self._leftover:
            connection.feed(self._leftover)
            self._leftover = b""
        if self.ending:
            connection.feed_eof()
        try:
            await response.upgrade(connection)
        except (ConnectionError, asyncio.CancelledError):
            _log.debug("an upgraded connection from %s broke off", self._remote)
        except Exception:
            _log.exception("an upgraded connection from %s failed", self._remote)
        finally:
            self._transport.close()

    def _refuse(self, error: StatusError) -> None:
        """Answers bytes that are no request we take, after what is being answered, and closes."""
        self._refused = True
        self._server.refused += 1
        if self._task is not None:
            self._queue.clear()
            self._close_after = True
            return
        body = codec.encode_json(error.to_object())
        self._out.append(
            self._head(error.code, [("Content-Type", "application/json")], False, len(body)) + body
        )
        self._flush()
        self._transport.close()

    # -- ends --

    def _await_peer(self, seconds: float) -> None:
        self.deadline = self._server.loop.time() + seconds

    def overdue(self) -> None:
        """The peer let its deadline pass: it is told so if it waits for an answer, and disconnected."""
        if self._paused:
            self._transport.abort()
        elif self._head_bytes or self._headers_complete:
            self._refuse(Timeout("Timeout: the request did not arrive in time", code=408))
        else:
            self._transport.close()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._task is None

    @property
    def lasting(self) -> bool:
        """Whether it carries what may take for ever: a stream, or bytes after an upgrade."""
        return self._streaming or self._upgraded is not None

    def end(self) -> None:
        """Ends the connection in good order: idle ones now, streams with their last chunk, others after their
        answer."""
        self.ending = True
        if self._task is None:
            self._transport.close()
        elif self.lasting:
            self._task.cancel()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


def _too_large() -> StatusError:
    return RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}")


async def _close(body: AsyncIterator[bytes]) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
