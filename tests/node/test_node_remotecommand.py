"""WebSocket channels translated to SPDY streams and back."""

from __future__ import annotations

import asyncio
import os

from sublet.machinery import streams
from sublet.machinery.spdy import SPDY, DataReceived, StreamOpened
from sublet.machinery.streams import Closed, Message, WebSocket
from sublet.node.remotecommand import PROTOCOL, ChannelConnection, Wanted
from sublet.node.tunnelled import WebSocketConnection


class Outer:
    """The client's connection: what it sends is queued, what it gets is kept."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.socket = WebSocket(mask=lambda: os.urandom(4))
        self.events: list[object] = []
        self.closed = False

    def say(self, data: bytes) -> None:
        self.incoming.put_nowait(self.socket.send(data))

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        self.events += self.socket.feed(data)

    def write_eof(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


async def opened(connection: ChannelConnection, runtime: SPDY) -> dict[str, int]:
    events = runtime.feed(await connection.read())
    return {e.headers["streamtype"]: e.stream for e in events if isinstance(e, StreamOpened)}


async def test_the_streams_that_are_wanted_are_opened_first() -> None:
    plain = ChannelConnection(Outer(), Wanted(stdin=True, stdout=True, stderr=True, tty=False))
    assert list(await opened(plain, SPDY(client=False))) == ["error", "stdin", "stdout", "stderr"]
    terminal = ChannelConnection(Outer(), Wanted(stdin=True, stdout=True, stderr=True, tty=True))
    assert list(await opened(terminal, SPDY(client=False))) == ["error", "stdin", "stdout", "resize"]


async def test_input_and_its_end_reach_the_runtime() -> None:
    outer, runtime = Outer(), SPDY(client=False)
    connection = ChannelConnection(outer, Wanted(stdin=True, stdout=True, stderr=False, tty=False))
    stdin = (await opened(connection, runtime))["stdin"]
    outer.say(bytes((streams.STDIN,)) + b"hello")
    assert runtime.feed(await connection.read()) == [DataReceived(stdin, b"hello")]
    outer.say(streams.close_channel(PROTOCOL, streams.STDIN) or b"")
    assert runtime.feed(await connection.read()) == [DataReceived(stdin, b"", True)]


async def test_output_comes_on_its_channel() -> None:
    outer, runtime = Outer(), SPDY(client=False)
    connection = ChannelConnection(outer, Wanted(stdin=False, stdout=True, stderr=True, tty=False))
    ids = await opened(connection, runtime)
    await connection.write(runtime.reply(ids["stdout"]) + runtime.data(ids["stdout"], b"out"))
    await connection.write(runtime.data(ids["error"], b"{}", fin=True))
    await connection.close()
    assert outer.events == [
        Message(bytes((streams.STDOUT,)) + b"out"), Message(bytes((streams.ERROR,)) + b"{}"), Closed(1000, "")
    ]  # fmt: skip
    assert outer.closed


async def test_a_client_may_not_write_to_output_channels() -> None:
    outer = Outer()
    connection = ChannelConnection(outer, Wanted(stdin=False, stdout=True, stderr=False, tty=False))
    await connection.read()
    outer.say(bytes((streams.STDOUT,)) + b"forged")
    outer.say(bytes((streams.STDIN,)) + b"not wanted")
    outer.incoming.put_nowait(outer.socket.close())
    assert await connection.read() == b""


async def test_messages_of_a_tunnel_are_unpacked_and_packed() -> None:
    outer = Outer()
    connection = WebSocketConnection(outer)
    outer.say(b"abc")
    assert await connection.read() == b"abc"
    await connection.write(b"def")
    assert outer.events == [Message(b"def")]
    outer.incoming.put_nowait(outer.socket.close())
    assert await connection.read() == b""


async def test_a_broken_frame_ends_the_connection() -> None:
    outer = Outer()
    outer.incoming.put_nowait(b"\xff\x80\0\0\0\0")
    assert await WebSocketConnection(outer).read() == b""
    assert isinstance(outer.events[0], Closed)
    assert outer.events[0].code == 1002
