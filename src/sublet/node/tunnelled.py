"""Port-forward as SPDY inside WebSocket messages (``SPDY/3.1+portforward.k8s.io``), which kubectl asks for first.

The runtime speaks plain SPDY: here the messages are taken off and put on, what they carry passes unchanged.
"""

from __future__ import annotations

from msgspec.structs import replace

from sublet.client.exchange import Connection, Request, Response
from sublet.machinery.status import BadRequest
from sublet.machinery.streams import (
    PORT_FORWARD_SPDY,
    PORT_FORWARD_TUNNEL,
    Closed,
    Message,
    Ping,
    WebSocket,
    WebSocketError,
    accept_key,
)
from sublet.node.streaming import splice_to


def asks_for_tunnel(request: Request) -> bool:
    offered = request.headers.get("sec-websocket-protocol", "").split(",")
    websocket = request.headers.get("upgrade", "").lower() == "websocket"
    return websocket and PORT_FORWARD_TUNNEL in (protocol.strip() for protocol in offered)


async def tunnel_to(url: str, request: Request) -> Response:
    """Upgrades the runtime's URL to SPDY, and the request to a WebSocket around it. Raises :class:`BadRequest`."""
    key = request.headers.get("sec-websocket-key")
    if not key:
        raise BadRequest("unable to upgrade: the request has no Sec-WebSocket-Key")
    headers = [
        ("upgrade", "SPDY/3.1"), ("connection", "Upgrade"), ("x-stream-protocol-version", PORT_FORWARD_SPDY),
        ("content-length", "0"),
    ]  # fmt: skip
    inner = await splice_to(url, replace(request, method="POST", body=b""), headers)
    if inner.upgrade is None:
        return inner
    through = inner.upgrade

    async def upgrade(outer: Connection) -> None:
        await through(WebSocketConnection(outer))

    answer = [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(key)),
        ("Sec-WebSocket-Protocol", PORT_FORWARD_TUNNEL),
    ]  # fmt: skip
    return Response(101, answer, upgrade=upgrade)


class WebSocketConnection:
    """The server's end of a WebSocket as plain bytes (``client.exchange.Connection``)."""

    def __init__(self, outer: Connection) -> None:
        self._outer = outer
        self._socket = WebSocket()

    async def read(self) -> bytes:
        """``b""`` once the peer closes, or breaks the protocol."""
        received = bytearray()
        while not received:
            data = await self._outer.read()
            if not data:
                return b""
            try:
                events = self._socket.feed(data)
            except WebSocketError as error:
                await self._outer.write(self._socket.close(error.code, str(error)))
                return b""
            for event in events:
                if isinstance(event, Message):
                    received += event.data
                elif isinstance(event, Ping):
                    await self._outer.write(self._socket.pong(event.data))
                elif isinstance(event, Closed):
                    await self._outer.write(self._socket.close())
                    return bytes(received)
        return bytes(received)

    async def write(self, data: bytes) -> None:
        await self._outer.write(self._socket.send(data))

    def write_eof(self) -> None:
        """A WebSocket cannot be half-closed: the end comes with :meth:`close`."""

    async def close(self) -> None:
        await self._outer.close()
