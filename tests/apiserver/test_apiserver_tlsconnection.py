"""TLS of the API server, byte by byte: what a peer may do to a connection, and that others never notice."""

from __future__ import annotations

import asyncio
import ctypes
import random
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sublet.apiserver import clientcerts, tlsmemory
from sublet.apiserver.server import HTTPServer, tls_context
from sublet.client.exchange import Connection, Request, Response
from sublet.pki.authority import SERVER, Authority

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

Handle = Callable[[Request], Awaitable[Response]]
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    def __init__(self, handle: Handle) -> None:
        self.handle = handle


class Wire:
    """A client whose TLS and whose TCP are moved by hand."""

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def encrypted(self, data: bytes = b"") -> bytes:
        """``data`` in TLS, after what else TLS has to send."""
        sent = 0
        while sent < len(data):
            sent += self.tls.write(data[sent:])
        return self._outgoing.read()

    def send(self, data: bytes = b"") -> None:
        self.writer.write(self.encrypted(data))

    async def _receive(self) -> bool:
        data = await asyncio.wait_for(self.reader.read(65536), 10)
        self._incoming.write(data)
        if not data:
            self._incoming.write_eof()
        return bool(data)

    async def shake(self, *, hold: bool = False) -> bytes:
        """Finishes the handshake; with ``hold``, its last bytes are returned instead of sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send()
                assert await self._receive(), "closed in the handshake"
            else:
                last = self.encrypted()
                if hold:
                    return last
                self.writer.write(last)
                return b""

    async def read(self) -> bytes:
        """What comes next; ``b""`` at the end of TLS. Raises ``ssl.SSLEOFError`` where TCP ends before."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.send()
                await self._receive()
            except ssl.SSLZeroReturnError:
                return b""

    async def until(self, last: bytes) -> bytes:
        data = b""
        while last not in data:
            piece = await self.read()
            assert piece, data
            data += piece
        return data

    async def answer(self) -> bytes:
        """The body of one answer."""
        data = await self.until(b"\r\n\r\n")
        head, _, first = data.partition(b"\r\n\r\n")
        left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(first)
        body = [first]
        while left > 0:
            body.append(await self.read())
            assert body[-1]
            left -= len(body[-1])
        return b"".join(body)


class Serving:
    """One server, and ways to connect to it."""

    def __init__(self, server: HTTPServer, context: ssl.SSLContext) -> None:
        self.server = server
        self.context = context
        self.wires: list[Wire] = []

    async def plain(self, context: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Wire:
        """Connected; nothing is said yet."""
        opened = await asyncio.open_connection("127.0.0.1", self.server.port, limit=1 << 16)
        self.wires.append(Wire(context or self.context, *opened, name))
        return self.wires[-1]

    async def connect(self, context: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Wire:
        wire = await self.plain(context, name)
        await wire.shake()
        return wire


Serve = Callable[[Handle], Awaitable[Serving]]


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("kubernetes")


@pytest.fixture
async def serve(authority: Authority, tmp_path: Path) -> AsyncIterator[Serve]:
    pair = authority.issue("kube-apiserver", dns=["kubernetes.default"], ips=["127.0.0.1"], usages=(SERVER,))
    (tmp_path / "crt").write_bytes(pair.cert_pem)
    (tmp_path / "key").write_bytes(pair.key_pem)
    (tmp_path / "ca").write_bytes(authority.cert_pem)
    all_serving: list[Serving] = []

    async def start(handle: Handle) -> Serving:
        context = tls_context(tmp_path / "crt", tmp_path / "key", [tmp_path / "ca"])
        server = HTTPServer(Application(handle), ssl_context=context)
        await server.start()
        all_serving.append(Serving(server, trusting(authority)))
        return all_serving[-1]

    yield start
    for serving in all_serving:
        for wire in serving.wires:
            wire.writer.close()
        await serving.server.stop(0.2)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.decode())


async def echo(request: Request) -> Response:
    return Response(200, [], request.body or request.path.encode())


def streaming(ended: asyncio.Event) -> Handle:
    """A stream that says one thing and then waits; ``ended`` once it is closed."""

    async def handle(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.sleep(60)
            finally:
                ended.set()

        return Response(200, [], chunks())

    return handle


async def test_bytes_that_come_one_by_one_are_a_handshake_and_a_request_all_the_same(serve: Serve) -> None:
    wire = await (await serve(echo)).plain()
    while True:
        try:
            wire.tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await dribble(wire, wire.encrypted())
            await wire._receive()
    await dribble(wire, wire.encrypted() + wire.encrypted(GET % b"slow"))
    assert await wire.answer() == b"/slow"


async def dribble(wire: Wire, data: bytes) -> None:
    for byte in data:
        wire.writer.write(bytes((byte,)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(serve: Serve) -> None:
    wire = await (await serve(echo)).plain()
    last = await wire.shake(hold=True)
    wire.writer.write(last + wire.encrypted(GET % b"early"))
    assert await wire.answer() == b"/early"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_big_bodies_come_whole_both_ways(
    serve: Serve, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    wire = await (await serve(echo)).connect(context)
    body = random.Random(7).randbytes(2_500_000)
    for _ in range(2):
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert await wire.answer() == body


async def test_connections_that_take_turns_in_the_middle_of_records_do_not_mix(serve: Serve) -> None:
    serving = await serve(echo)
    rng = random.Random(11)
    wires = [await serving.connect() for _ in range(8)]
    bodies = [rng.randbytes(40_000) for _ in wires]
    left = [
        wire.encrypted(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        for wire, body in zip(wires, bodies, strict=True)
    ]
    while any(left):
        number = rng.choice([n for n, rest in enumerate(left) if rest])
        cut = rng.choice((1, 3, 100, 5_000, 17_000))
        wires[number].writer.write(left[number][:cut])
        left[number] = left[number][cut:]
        await asyncio.sleep(0.001)
    assert [await wire.answer() for wire in wires] == bodies


async def test_a_corrupt_record_ends_its_own_connection_only(serve: Serve) -> None:
    serving = await serve(echo)
    good, bad = await serving.connect(), await serving.connect()
    request = good.encrypted(GET % b"good")
    good.writer.write(request[:20])
    await asyncio.sleep(0.02)
    record = bytearray(bad.encrypted(GET % b"bad"))
    record[-1] ^= 1
    bad.writer.write(bytes(record) + b"and more of it")
    with pytest.raises(ssl.SSLError) as caught:
        await bad.read()
    assert "BAD_RECORD_MAC" in str(caught.value).upper().replace(" ", "_")
    good.writer.write(request[20:])
    assert await good.answer() == b"/good"


async def test_the_peers_end_of_tls_is_answered_with_ours_and_ends_its_stream(serve: Serve) -> None:
    ended = asyncio.Event()
    wire = await (await serve(streaming(ended))).connect()
    wire.send(GET % b"")
    await wire.until(b"first\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        wire.tls.unwrap()
    wire.send()
    assert await wire.read() == b""
    assert await asyncio.wait_for(wire.reader.read(), 5) == b""
    await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_peer_that_goes_without_the_end_of_tls_ends_its_stream(serve: Serve, abruptly: bool) -> None:
    ended = asyncio.Event()
    serving = await serve(streaming(ended))
    wire = await serving.connect()
    wire.send(GET % b"")
    await wire.until(b"first\r\n")
    if abruptly:
        linger = struct.pack("ii", 1, 0)
        wire.writer.get_extra_info("socket").setsockopt(1, 13, linger)  # SO_LINGER: a reset
    wire.writer.close()
    await asyncio.wait_for(ended.wait(), 5)
    await gone(serving)


async def gone(serving: Serving) -> None:
    async with asyncio.timeout(5):
        while serving.server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_server_says_the_end_of_tls_before_it_closes(serve: Serve) -> None:
    serving = await serve(echo)
    wire = await serving.connect()
    wire.send(b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert await wire.answer() == b"/last"
    assert await wire.read() == b""
    assert await wire.reader.read() == b""
    wire.writer.close()
    await gone(serving)


async def test_an_answer_reaches_a_peer_that_is_still_sending(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    size = 200 * 1024 * 1024
    wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(100):
        wire.send(b"x" * 65536)
        await asyncio.sleep(0)
    assert (await wire.until(b"limit is")).startswith(b"HTTP/1.1 413 ")


async def test_a_peer_that_never_ends_its_side_is_disconnected(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.apiserver.tls._LINGER_SECONDS", 0.05)
    serving = await serve(echo)
    wire = await serving.connect()
    wire.send(b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert await wire.answer() == b"/last"
    await gone(serving)


async def test_a_slow_reader_holds_up_its_stream_and_gets_all_of_it(serve: Serve) -> None:
    made = 0

    async def handle(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            nonlocal made
            for _ in range(1000):
                made += 1
                yield b"x" * 16384

        return Response(200, [], chunks()) if request.path == "/stream" else await echo(request)

    serving = await serve(handle)
    slow, quick = await serving.connect(), await serving.connect()
    slow.send(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(0.3)
    assert 0 < made < 990
    quick.send(GET % b"quick")
    assert await quick.answer() == b"/quick"
    pieces = []
    while piece := await slow.read():
        pieces.append(piece)
    data = b"".join(pieces)
    assert data.count(b"x" * 16384) == 1000
    assert data.endswith(b"0\r\n\r\n")


async def test_a_long_answer_before_the_end_of_the_connection_is_not_cut(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.apiserver.tls._LINGER_SECONDS", 0.05)
    whole = b"0123456789" * 1_000_000

    async def large(_request: Request) -> Response:
        return Response(200, [], whole)

    wire = await (await serve(large)).connect()
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(0.3)
    assert await wire.answer() == whole
    assert await wire.read() == b""


async def test_a_peer_that_never_takes_the_rest_of_an_answer_is_disconnected(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.apiserver.tls._STUCK_SECONDS", 0.05)

    async def large(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"0" * 30_000_000

        return Response(200, [], chunks())

    serving = await serve(large)
    wire = await serving.connect()
    wire.writer.transport.pause_reading()
    wire.send(GET % b"")
    async with asyncio.timeout(5):
        while not any(each._paused for each in serving.server.connections):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (connection,) = serving.server.connections
    connection._transport.close()
    await gone(serving)


async def test_pipelined_requests_over_the_bound_wait_in_the_socket_and_are_answered_in_order(
    serve: Serve,
) -> None:
    async def handle(request: Request) -> Response:
        await asyncio.sleep(0.1 if request.path == "/0" else 0)
        return await echo(request)

    wire = await (await serve(handle)).connect()
    for number in range(60):
        wire.send(GET % str(number).encode())
        await asyncio.sleep(0)
    data = await wire.until(b"/59")
    assert [word.split(b"HTTP", 1)[0] for word in data.split(b"\r\n\r\n")[1:]] == [
        b"/%d" % number for number in range(60)
    ]


@pytest.mark.parametrize(
    "first", ["GET / HTTP/1.1", "HEAD / HTTP/1.1", "POST /x HTTP/1.1", "OPTIONS * HTTP/1.1"]
)
async def test_plain_http_is_told_that_this_is_an_https_server(serve: Serve, first: str) -> None:
    wire = await (await serve(echo)).plain()
    await dribble(wire, f"{first}\r\nHost: x\r\n\r\n".encode())
    said = await asyncio.wait_for(wire.reader.read(), 5)
    assert said == b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


async def test_handshakes_that_fail_are_counted_and_others_are_not(serve: Serve) -> None:
    serving = await serve(echo)
    good = await serving.connect()
    good.send(GET % b"x")
    await good.until(b"/x")
    silent = await serving.plain()
    silent.writer.close()
    wire = await serving.plain()
    wire.writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await asyncio.wait_for(wire.reader.read(), 5)
    wire.writer.close()
    for _ in range(200):
        if (told := list(serving.server.metric_lines())[-1]).endswith(" 2"):
            break
        await asyncio.sleep(0.02)
    assert told == "apiserver_tls_handshake_errors_total 2"


async def test_garbage_is_disconnected_without_a_word_of_http(serve: Serve) -> None:
    serving = await serve(echo)
    for garbage in (
        b"SSH-2.0-x\r\n",
        b"\x00" * 100,
        b"\x16\x03\x01\x00\x05hello",
        b"PATCH / HTTP/1.1\r\n\r\n",
    ):
        wire = await serving.plain()
        wire.writer.write(garbage)
        assert b"HTTP" not in await asyncio.wait_for(wire.reader.read(), 5)
    wire = await serving.connect()
    wire.send(GET % b"fine")
    assert await wire.answer() == b"/fine"


async def test_a_handshake_that_does_not_end_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sublet.apiserver.tls._HANDSHAKE_SECONDS", 0.05)
    serving = await serve(echo)
    silent, begun = await serving.plain(), await serving.plain()
    with pytest.raises(ssl.SSLWantReadError):
        begun.tls.do_handshake()
    begun.writer.write(begun.encrypted()[:50])
    for wire in (silent, begun):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(wire.reader.readexactly(1), 5)


async def test_http_is_agreed_on_where_the_client_can_speak_more(serve: Serve, authority: Authority) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    wire = await (await serve(echo)).connect(context)
    assert wire.tls.selected_alpn_protocol() == "http/1.1"


async def test_any_name_of_the_certificate_may_be_asked_for(serve: Serve, authority: Authority) -> None:
    serving = await serve(echo)
    wire = await serving.connect(name="kubernetes.default")
    wire.send(GET % b"named")
    assert await wire.answer() == b"/named"


async def test_tls_1_1_is_refused(serve: Serve, authority: Authority) -> None:
    context = trusting(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    wire = await (await serve(echo)).plain(context)
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
        await wire.shake()


@pytest.mark.parametrize("answered", [False, True])
async def test_a_peer_that_changes_its_keys_is_followed(serve: Serve, answered: bool) -> None:
    wire = await (await serve(echo)).connect()
    wire.send(GET % b"before")
    assert await wire.answer() == b"/before"
    library = client_side(wire, "SSL_key_update", ctypes.c_void_p, ctypes.c_int)
    for _ in range(3):
        assert library(int(answered)) == 1
        wire.send(GET % b"after")
        assert await wire.answer() == b"/after"


async def test_a_peer_that_wants_to_negotiate_again_is_refused(serve: Serve, authority: Authority) -> None:
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    serving = await serve(echo)
    wire, other = await serving.connect(context), await serving.connect()
    assert client_side(wire, "SSL_renegotiate", ctypes.c_void_p)() == 1
    with pytest.raises(ssl.SSLError):
        wire.send(GET % b"again")
        await wire.read()
    other.send(GET % b"other")
    assert await other.answer() == b"/other"


def client_side(wire: Wire, name: str, *arguments: Any) -> Callable[..., int]:
    """A function of OpenSSL that Python's ssl has no name for, for the client's end of a connection."""
    library = clientcerts.library()
    assert library is not None
    function = getattr(library, name)
    function.argtypes, function.restype = arguments, ctypes.c_int
    pointer = tlsmemory._word(wire.tls._sslobj, 1)  # type: ignore[attr-defined]
    return lambda *more: int(function(pointer, *more))


async def test_an_upgraded_connection_waits_for_a_slow_reader_and_hears_of_the_peers_end(
    serve: Serve,
) -> None:
    written, ended = 0, asyncio.Event()

    async def upgrade(_request: Request) -> Response:
        async def carry(connection: Connection) -> None:
            nonlocal written
            for _ in range(1000):
                await connection.write(b"y" * 16384)
                written += 1
            assert await connection.read() == b"hello"
            assert await connection.read() == b""
            ended.set()

        return Response(101, [("Connection", "Upgrade"), ("Upgrade", "x")], upgrade=carry)

    wire = await (await serve(upgrade)).connect()
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    await asyncio.sleep(0.3)
    assert 0 < written < 990
    head, _, rest = (await wire.until(b"\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    size = len(rest)
    while size < 1000 * 16384:
        size += len(await wire.read())
    wire.send(b"hello")
    await asyncio.sleep(0.05)
    with pytest.raises(ssl.SSLWantReadError):
        wire.tls.unwrap()
    wire.send()
    await asyncio.wait_for(ended.wait(), 5)


async def test_what_one_connection_made_large_is_not_held_for_it(serve: Serve) -> None:
    async def large(_request: Request) -> Response:
        return Response(200, [], b"z" * 5_000_000)

    serving = await serve(large)
    wire = await serving.connect()
    wire.send(GET % b"")
    assert len(await wire.answer()) == 5_000_000
    (connection,) = serving.server.connections
    listener = connection._transport._listener  # type: ignore[attr-defined]
    assert (listener.incoming.pending, listener.outgoing.pending) == (0, 0)
    assert connection._transport.get_write_buffer_size() == 0
