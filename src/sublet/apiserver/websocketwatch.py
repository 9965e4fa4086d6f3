"""Watches over WebSocket: each event is one message, text for JSON and binary for protobuf (reference B.4).

Browsers and a few clients watch so. Upstream asks for no subprotocol and echoes the one it is offered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from sublet.apiserver.authentication.authenticator import BEARER_PROTOCOL
from sublet.apiserver.negotiation import Format
from sublet.client.exchange import Connection, Request, Response
from sublet.machinery import streams
from sublet.machinery.status import BadRequest, StatusError
from sublet.machinery.streams import Closed, Ping, WebSocket, WebSocketError

_LENGTH = 4


def wanted(request: Request) -> bool:
    """Whether the client asks for a WebSocket and the transport can give it the connection.

    Raises ``BadRequest`` for a handshake without its key.
    """
    headers = request.headers
    if not request.upgradable or headers.get("upgrade", "").lower() != "websocket":
        return False
    if not headers.get("sec-websocket-key") or headers.get("sec-websocket-version", "13") != "13":
        raise BadRequest("the WebSocket handshake has no Sec-WebSocket-Key, or is not of version 13")
    return True


def response(request: Request, fmt: Format, frames: AsyncIterator[bytes]) -> Response:
    """The 101 after which ``frames``, as a watch makes them for HTTP, go out as messages."""
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", streams.accept_key(request.headers["sec-websocket-key"])),
    ]
    offered = (each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(","))
    if protocol := next((each for each in offered if each and not each.startswith(BEARER_PROTOCOL)), ""):
        headers.append(("Sec-WebSocket-Protocol", protocol))

    async def take_over(connection: Connection) -> None:
        await _serve(connection, fmt, frames)

    return Response(101, headers, upgrade=take_over)


async def _serve(connection: Connection, fmt: Format, frames: AsyncIterator[bytes]) -> None:
    """Sends until the watch or the client ends."""
    socket = WebSocket()
    sending = asyncio.ensure_future(_send(connection, socket, fmt, frames))
    receiving = asyncio.ensure_future(_receive(connection, socket))
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, receiving):
            task.cancel()
        results = await asyncio.gather(sending, receiving, return_exceptions=True)
        close = getattr(frames, "aclose", None)
        if close is not None:
            await close()
        with contextlib.suppress(ConnectionError):
            await connection.write(socket.close())
        await connection.close()
    for error in results:
        if isinstance(error, Exception) and not isinstance(error, (ConnectionError, StatusError)):
            raise error


async def _send(connection: Connection, socket: WebSocket, fmt: Format, frames: AsyncIterator[bytes]) -> None:
    async for chunk in frames:
        await connection.write(b"".join(map(socket.send, messages(fmt, chunk))))


async def _receive(connection: Connection, socket: WebSocket) -> None:
    """Until the client closes; it has nothing to say but that."""
    while data := await connection.read():
        try:
            events = socket.feed(data)
        except WebSocketError:
            return
        for event in events:
            if isinstance(event, Closed):
                return
            if isinstance(event, Ping):
                await connection.write(socket.pong(event.data))


def messages(fmt: Format, chunk: bytes) -> Iterator[bytes | str]:
    """The events of a chunk of an HTTP watch, one by one, without what separates them there."""
    if fmt != "protobuf":
        for line in chunk.split(b"\n"):
            if line:
                yield line.decode() + "\n"
        return
    at = 0
    while at < len(chunk):
        end = at + _LENGTH + int.from_bytes(chunk[at : at + _LENGTH], "big")
        yield chunk[at + _LENGTH : end]
        at = end
