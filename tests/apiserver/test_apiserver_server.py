"""The HTTP server on real sockets: what it takes, what it refuses, and in what order it answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sublet.apiserver.server import HTTPServer, ListenError
from sublet.apiserver.shutdown import ShuttingDown
from sublet.client.exchange import Connection, Request, Response

Handle = Callable[[Request], Awaitable[Response]]


class Application:
    """Answers with what the test's function says."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def handle(self, request: Request) -> Response:
        return await self._handle(request)


async def echo(request: Request) -> Response:
    said = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "body": request.body.decode(),
    }
    return Response(200, [("Content-Type", "application/json")], json.dumps(said).encode())


class Peer:
    """A raw client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            chunks = []
            while size := int(await self.reader.readline(), 16):
                chunks.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            body = b"".join(chunks)
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 5) == b""


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handle], Awaitable[Callable[[], Awaitable[Peer]]]]]:
    servers: list[HTTPServer] = []
    peers: list[Peer] = []

    async def start(handle: Handle) -> Callable[[], Awaitable[Peer]]:
        server = HTTPServer(Application(handle))
        await server.start()
        servers.append(server)

        async def connect() -> Peer:
            peer = Peer(*await asyncio.open_connection("127.0.0.1", server.port))
            peers.append(peer)
            return peer

        connect.server = server  # type: ignore[attr-defined]
        return connect

    yield start
    for peer in peers:
        peer.writer.close()
    for server in servers:
        await server.stop(0.2)


async def test_answers_a_request_and_keeps_the_connection(serve) -> None:
    peer = await (await serve(echo))()
    for n in range(2):
        peer.send(f"GET /a%20b?x={n} HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await peer.response()
        assert status == 200
        assert json.loads(body) == {"method": "GET", "path": "/a%20b", "query": f"x={n}", "body": ""}
        assert "connection" not in headers


async def test_pipelined_requests_are_answered_in_order_though_the_first_is_slow(serve) -> None:
    async def slow_first(request: Request) -> Response:
        if request.path == "/1":
            await asyncio.sleep(0.05)
        return await echo(request)

    peer = await (await serve(slow_first))()
    peer.send("".join(f"GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(1, 30)))
    answered = [json.loads((await peer.response())[2])["path"] for _ in range(1, 30)]
    assert answered == [f"/{n}" for n in range(1, 30)]


async def test_chunked_bodies_arrive_whole(serve) -> None:
    peer = await (await serve(echo))()
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await asyncio.sleep(0.01)
    peer.send("6\r\n world\r\n0\r\n\r\n")
    assert json.loads((await peer.response())[2])["body"] == "hello world"


@pytest.mark.parametrize(
    "head",
    ["Content-Length: 3145729\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n300001\r\n" + "x" * 0x300001],
)
async def test_a_body_over_three_mebibytes_is_refused_with_413(serve, head: str) -> None:
    peer = await (await serve(echo))()
    peer.send("POST / HTTP/1.1\r\nHost: x\r\n" + head)
    status, _, body = await peer.response()
    assert status == 413
    assert json.loads(body)["message"] == "Request entity too large: limit is 3145728"


async def test_expect_continue_is_told_to_go_on(serve) -> None:
    peer = await (await serve(echo))()
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send("hi")
    assert json.loads((await peer.response())[2])["body"] == "hi"


@pytest.mark.parametrize(
    "bad",
    [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET /x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: 1\r\n Impersonate-User: root\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: 1\nImpersonate-User: root\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: 1\rImpersonate-User: root\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: 1\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nImpersonate-User: a\r\nImpersonate-User: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Remote-User: a\r\nX-Remote-User: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)  # fmt: skip
async def test_ambiguous_or_malformed_requests_are_refused_and_the_connection_closed(serve, bad: str) -> None:
    asked: list[str] = []

    async def record(request: Request) -> Response:
        asked.append(request.path)
        return await echo(request)

    peer = await (await serve(record))()
    peer.send(bad)
    assert (await peer.response())[0] == 400
    assert await peer.closed()
    assert asked == []


async def test_trailers_are_no_headers(serve) -> None:
    seen: list[Request] = []

    async def record(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    peer = await (await serve(record))()
    head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.send(head + "2\r\nhi\r\n0\r\nImpersonate-User: root\r\nX-Remote-User: root\r\n\r\n")
    assert (await peer.response())[0] == 200
    assert seen[0].body == b"hi"
    assert set(seen[0].headers) == {"host", "transfer-encoding"}
    peer.send("GET / HTTP/1.1\r\nHost: x\r\nX: 1\r\n\r\n")
    await peer.response()
    assert seen[1].headers["x"] == "1"


async def test_endless_trailers_are_refused(serve) -> None:
    peer = await (await serve(echo))()
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")
    await asyncio.sleep(0.05)
    peer.send("a" * 140_000)
    assert (await peer.response())[0] == 400


async def test_a_body_in_small_chunks_is_taken(serve) -> None:
    peer = await (await serve(echo))()
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        peer.send("1\r\na\r\n" * 500)
        await asyncio.sleep(0)
    peer.send("0\r\n\r\n")
    assert json.loads((await peer.response())[2])["body"] == "a" * 100_000


async def test_a_long_body_that_arrives_in_one_piece_after_its_headers_is_taken(serve) -> None:
    connect = await serve(echo)
    peer = await connect()
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    await asyncio.sleep(0.05)
    (connection,) = connect.server.connections
    connection.data_received(b"a" * 200_000)  # as TLS hands it over: up to a quarter mebibyte at once
    status, _, body = await peer.response()
    assert status == 200 and len(json.loads(body)["body"]) == 200_000


async def test_endless_headers_are_refused_with_431(serve) -> None:
    peer = await (await serve(echo))()
    peer.send("GET / HTTP/1.1\r\nX: " + "a" * 140_000)
    assert (await peer.response())[0] == 431


async def test_repeated_impersonation_groups_are_joined_by_newlines(serve) -> None:
    seen: dict[str, str] = {}

    async def record(request: Request) -> Response:
        seen.update(request.headers)
        return Response(200)

    peer = await (await serve(record))()
    peer.send("GET / HTTP/1.1\r\nImpersonate-Group: a,b\r\nimpersonate-group: c\r\nX: 1\r\nX: 2\r\n\r\n")
    await peer.response()
    assert seen["impersonate-group"] == "a,b\nc"
    assert seen["x"] == "1, 2"


async def test_large_bodies_are_compressed_where_accepted(serve) -> None:
    async def large(_request: Request) -> Response:
        return Response(200, [], b"0123456789" * 50_000)

    peer = await (await serve(large))()
    peer.send("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    _, headers, body = await peer.response()
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == b"0123456789" * 50_000
    assert headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (None, ""),
        ("deflate, , gzip,", "gzip"),
        ("gzip;q=1.0", ""),
        ("gzip;q=0", ""),
        ("x-gzip, br", ""),
        ("*", ""),
    ],
)
async def test_only_the_plain_word_gzip_asks_for_it(serve, accepted: str | None, encoding: str) -> None:
    async def large(_request: Request) -> Response:
        return Response(200, [], bytes(128 * 1024 + 1))

    peer = await (await serve(large))()
    peer.send(
        f"GET / HTTP/1.1\r\nHost: x\r\n{f'Accept-Encoding: {accepted}' if accepted else 'X: y'}\r\n\r\n"
    )
    _, headers, body = await peer.response()
    assert headers.get("content-encoding", "") == encoding
    assert (len(body) < 1024) == bool(encoding)


async def test_up_to_128_kib_go_out_as_they_are(serve) -> None:
    async def small(_request: Request) -> Response:
        return Response(200, [], bytes(128 * 1024))

    peer = await (await serve(small))()
    peer.send("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    _, headers, body = await peer.response()
    assert "content-encoding" not in headers
    assert len(body) == 128 * 1024


async def test_a_slow_reader_holds_up_its_own_stream_only(serve) -> None:
    made = 0

    async def handle(request: Request) -> Response:
        if request.path != "/stream":
            return await echo(request)

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal made
            for _ in range(1000):
                made += 1
                yield b"x" * 16384

        return Response(200, [], chunks())

    connect = await serve(handle)
    slow, quick = await connect(), await connect()
    slow.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.2)
    assert 0 < made < 990
    quick.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(quick.response(), 2))[0] == 200
    assert len((await slow.response())[2]) == 1000 * 16384


async def test_a_large_body_waits_for_a_slow_reader_and_comes_whole(serve) -> None:
    whole = b"0123456789" * 1_000_000

    async def large(request: Request) -> Response:
        return Response(200, [], whole) if request.path == "/large" else await echo(request)

    connect = await serve(large)
    slow, quick = await connect(), await connect()
    slow.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    quick.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(quick.response(), 2))[0] == 200
    (connection,) = [each for each in connect.server.connections if not each.idle]
    assert connection._transport.get_write_buffer_size() < 5_000_000
    assert (await slow.response())[2] == whole
    slow.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await slow.response())[0] == 200


async def test_a_stream_is_closed_when_the_client_goes(serve) -> None:
    closed = asyncio.Event()

    async def handle(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.sleep(60)
            finally:
                closed.set()

        return Response(200, [], chunks())

    peer = await (await serve(handle))()
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await peer.reader.readuntil(b"first")
    peer.writer.close()
    await asyncio.wait_for(closed.wait(), 2)


async def test_stopping_ends_streams_with_their_last_chunk(serve) -> None:
    async def handle(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(60)

        return Response(200, [], chunks())

    connect = await serve(handle)
    peer = await connect()
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await peer.reader.readuntil(b"first\r\n")
    await connect.server.stop(2)
    assert await peer.reader.read() == b"0\r\n\r\n"


async def test_an_upgraded_connection_passes_bytes_both_ways(serve) -> None:
    async def handle(request: Request) -> Response:
        assert request.upgradable

        async def shout(connection: Connection) -> None:
            while data := await connection.read():
                await connection.write(data.upper())

        return Response(101, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")], upgrade=shout)

    peer = await (await serve(handle))()
    peer.send("POST /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearly ")
    head = await peer.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert await peer.reader.readexactly(6) == b"EARLY "
    peer.send("late")
    assert await peer.reader.readexactly(4) == b"LATE"
    peer.writer.write_eof()
    assert await peer.closed()


async def test_a_taken_port_is_named_with_the_way_out(serve) -> None:
    connect = await serve(echo)
    other = HTTPServer(Application(echo), port=connect.server.port)
    with pytest.raises(ListenError, match=rf"port {connect.server.port} is in use .* choose another port"):
        await other.start()


async def test_serves_on_a_unix_socket_that_only_the_owner_may_use(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    server = HTTPServer(Application(echo), path=path)
    await server.start()
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        peer = Peer(*await asyncio.open_unix_connection(path))
        peer.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert json.loads((await peer.response())[2])["path"] == "/x"
        peer.writer.close()
    finally:
        await server.stop(1)
    assert not path.exists()


async def test_an_exception_in_the_application_becomes_500_and_the_server_lives(serve) -> None:
    async def fail(_request: Request) -> Response:
        raise RuntimeError("boom")

    connect = await serve(fail)
    for _ in range(2):
        peer = await connect()
        peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await peer.response())[0] == 500


async def test_however_the_bytes_are_split_the_answers_are_the_same(serve, rng: random.Random) -> None:
    requests = (
        b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
        b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
        b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    connect = await serve(echo)
    for _ in range(30):
        peer = await connect()
        cuts = sorted(rng.sample(range(1, len(requests)), rng.randrange(1, 12)))
        for start, end in zip([0, *cuts], [*cuts, len(requests)], strict=True):
            peer.send(requests[start:end])
            await asyncio.sleep(0)
        bodies = [json.loads((await peer.response())[2]) for _ in range(3)]
        assert [(b["path"], b["body"]) for b in bodies] == [("/a", ""), ("/b", "hello"), ("/c", "abc")]
        peer.writer.close()


async def test_garbage_is_refused_and_others_are_still_served(serve, rng: random.Random) -> None:
    connect = await serve(echo)
    for _ in range(40):
        peer = await connect()
        peer.send(rng.randbytes(rng.randrange(1, 400)))
        peer.send(b"\r\n\r\n")
        peer.writer.write_eof()
        await asyncio.wait_for(peer.reader.read(), 5)
    peer = await connect()
    peer.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.response())[0] == 200


async def test_a_peer_that_never_finishes_its_request_is_disconnected(
    serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.apiserver.protocol._HEAD_SECONDS", 0.05)
    monkeypatch.setattr("sublet.apiserver.server._SWEEP_SECONDS", 0.02)
    peer = await (await serve(echo))()
    peer.send("GET / HTTP/1.1\r\nHost:")
    status, _, _ = await asyncio.wait_for(peer.response(), 3)
    assert status == 408
    assert await peer.closed()


async def test_stopping_waits_for_an_answer_and_ends_streams_and_upgraded_connections_first(serve) -> None:
    release = asyncio.Event()

    async def handle(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(60)

        async def hold(connection: Connection) -> None:
            while await connection.read():
                pass

        if request.path == "/stream":
            return Response(200, [], chunks())
        if request.path == "/exec":
            return Response(101, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")], upgrade=hold)
        await release.wait()
        return Response(200, [], b"done")

    connect = await serve(handle)
    stream, upgraded, slow = await connect(), await connect(), await connect()
    stream.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    await stream.reader.readuntil(b"first\r\n")
    upgraded.send("POST /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
    await upgraded.reader.readuntil(b"\r\n\r\n")
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(connect.server.stop(30))
    assert await stream.reader.read() == b"0\r\n\r\n"
    assert await upgraded.closed()
    assert not stopping.done()
    release.set()
    assert (await slow.response())[2] == b"done"
    await asyncio.wait_for(stopping, 5)


async def test_a_server_that_refers_elsewhere_closes_each_connection_with_its_next_answer(serve) -> None:
    connect = await serve(echo)
    old = await connect()
    old.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await old.response())[0] == 200
    connect.server.refer(ShuttingDown(connect.server.application))
    new = await connect()
    for peer, path, expected in ((old, "/2", 429), (new, "/livez", 200)):
        peer.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await peer.response()
        assert (status, headers["connection"]) == (expected, "close")
        if status == 429:
            assert headers["retry-after"] == "5"
            assert body == b"The apiserver is shutting down, please try again later.\n"
        assert await peer.closed()
    assert await connect.server.answered(1)


async def test_many_streams_are_ended_over_the_time_that_is_given(serve) -> None:
    async def handle(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(60)

        return Response(200, [], chunks())

    connect = await serve(handle)
    peers = [await connect() for _ in range(60)]
    for peer in peers:
        peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.reader.readuntil(b"first\r\n")
    begun = asyncio.get_running_loop().time()
    await connect.server.stop(5, streams=0.2)
    assert asyncio.get_running_loop().time() - begun > 0.15
    for peer in peers:
        assert await peer.reader.read() == b"0\r\n\r\n"


async def test_requests_that_come_during_a_stream_are_answered_after_it_however_they_are_split(
    serve, rng: random.Random
) -> None:
    go_on = asyncio.Event()

    async def handle(request: Request) -> Response:
        if request.path != "/stream":
            return await echo(request)

        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await go_on.wait()
            yield b"last"

        return Response(200, [], chunks())

    peer = await (await serve(handle))()
    one = "POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    rest = one.format("a") + "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + one.format("b")
    cut = rng.randrange(len(rest))
    peer.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + rest[:cut])
    await peer.reader.readuntil(b"first\r\n")
    for character in rest[cut:]:
        peer.send(character)
        await asyncio.sleep(0)
    go_on.set()
    assert await peer.reader.readuntil(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"
    assert json.loads((await peer.response())[2])["path"] == "/a"
    assert (await peer.response())[2] == b"firstlast"
    assert json.loads((await peer.response())[2])["path"] == "/b"


async def test_a_stream_of_http_1_0_has_no_chunks_and_ends_with_the_connection(serve) -> None:
    async def handle(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            yield b"last"

        return Response(200, [], chunks())

    peer = await (await serve(handle))()
    peer.send("GET /stream HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = (await asyncio.wait_for(peer.reader.read(), 5)).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"firstlast"
