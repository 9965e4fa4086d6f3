"""Exec and attach by ``v5.channel.k8s.io`` over WebSocket, which kubectl asks for first, for a runtime that has SPDY.

Each channel of the WebSocket is one stream of SPDY; v5 alone can say that standard input has ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from sublet.client.exchange import Connection, Request, Response
from sublet.machinery import streams
from sublet.machinery.spdy import SPDY, DataReceived, PingReceived, SPDYError
from sublet.machinery.status import BadRequest
from sublet.machinery.streams import Closed, Message, Ping, WebSocket, WebSocketError
from sublet.node.streaming import splice_to

PROTOCOL = "v5.channel.k8s.io"
_SPDY_PROTOCOL = "v4.channel.k8s.io"
_NAMES = {
    streams.ERROR: "error",
    streams.STDIN: "stdin",
    streams.STDOUT: "stdout",
    streams.STDERR: "stderr",
    streams.RESIZE: "resize",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the command has besides the error stream."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def channels(self) -> list[int]:
        chosen = [streams.ERROR]
        for channel, wanted in (
            (streams.STDIN, self.stdin),
            (streams.STDOUT, self.stdout),
            (streams.STDERR, self.stderr and not self.tty),
            (streams.RESIZE, self.tty),
        ):
            if wanted:
                chosen.append(channel)
        return chosen


def asks_for_v5(request: Request) -> bool:
    offered = [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",")]
    return request.headers.get("upgrade", "").lower() == "websocket" and PROTOCOL in offered


async def translate_to(url: str, request: Request, wanted: Wanted) -> Response:
    """Upgrades the runtime's URL to SPDY, and the request to a WebSocket of channels. Raises :class:`BadRequest`."""
    key = request.headers.get("sec-websocket-key")
    if not key:
        raise BadRequest("unable to upgrade: the request has no Sec-WebSocket-Key")
    headers = [
        ("upgrade", "SPDY/3.1"), ("connection", "Upgrade"), ("x-stream-protocol-version", _SPDY_PROTOCOL),
        ("content-length", "0"),
    ]  # fmt: skip
    inner = await splice_to(url, replace(request, method="POST", body=b""), headers)
    if inner.upgrade is None:
        return inner
    through = inner.upgrade

    async def upgrade(outer: Connection) -> None:
        await through(ChannelConnection(outer, wanted))

    answer = [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", streams.accept_key(key)),
        ("Sec-WebSocket-Protocol", PROTOCOL),
    ]  # fmt: skip
    return Response(101, answer, upgrade=upgrade)


class ChannelConnection:
    """A WebSocket of channels that reads and writes as SPDY (``client.exchange.Connection``)."""

    def __init__(self, outer: Connection, wanted: Wanted) -> None:
        self._outer = outer
        self._socket = WebSocket()
        self._spdy = SPDY(client=True)
        self._streams: dict[int, int] = {}
        self._channels: dict[int, int] = {}
        self._pending = bytearray()
        for channel in wanted.channels():
            stream, opening = self._spdy.open_stream({"streamtype": _NAMES[channel]})
            self._streams[channel], self._channels[stream] = stream, channel
            self._pending += opening

    async def read(self) -> bytes:
        """SPDY for the runtime; ``b""`` once the client closes, or breaks the protocol."""
        while not self._pending:
            data = await self._outer.read()
            if not data:
                return b""
            try:
                for event in self._socket.feed(data):
                    if isinstance(event, Message):
                        self._received(*streams.unpack_channel(PROTOCOL, event))
                    elif isinstance(event, Ping):
                        await self._outer.write(self._socket.pong(event.data))
                    elif isinstance(event, Closed):
                        return b""
            except WebSocketError as error:
                await self._outer.write(self._socket.close(error.code, str(error)))
                return b""
        sent = bytes(self._pending)
        self._pending.clear()
        return sent

    def _received(self, channel: int, data: bytes) -> None:
        ends = channel == streams.CLOSE
        if ends:
            channel, data = (data[0] if data else streams.STDIN), b""
        stream = self._streams.get(channel)
        if stream is not None and channel in (streams.STDIN, streams.RESIZE):
            self._pending += self._spdy.data(stream, data, fin=ends)

    async def write(self, data: bytes) -> None:
        """SPDY from the runtime."""
        try:
            events = self._spdy.feed(data)
        except SPDYError as error:
            raise ConnectionError(f"the container runtime broke SPDY: {error}") from None
        for event in events:
            if isinstance(event, DataReceived) and event.data:
                channel = self._channels.get(event.stream)
                if channel is not None:
                    packed = streams.pack_channel(PROTOCOL, channel, event.data)
                    await self._outer.write(self._socket.send(packed))
            elif isinstance(event, PingReceived):
                self._pending += event.reply

    def write_eof(self) -> None:
        """The end comes with :meth:`close`."""

    async def close(self) -> None:
        try:
            await self._outer.write(self._socket.close())
        except ConnectionError:
            pass
        finally:
            await self._outer.close()
