"""Requests on connections of their own: streams, upgrades, and what a node agent is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from sublet.client import proxied, tunnel
from sublet.client.exchange import Request
from sublet.client.kubeconfig import ClusterAccess
from sublet.client.nodestreams import agent_address, agent_request, proxy_target
from sublet.machinery.status import BadRequest, ServiceUnavailable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await handler(reader, writer, head)
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


class Pipe:
    """The caller's side of an upgraded connection."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = b""
        self.closed = False

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        self.sent += data

    def write_eof(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


async def body(response: Any) -> bytes:
    return await tunnel.whole(response)


async def test_own_credentials_replace_the_requests() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with server(handler) as url:
        request = Request(
            "GET",
            "/x",
            "a=b",
            {"authorization": "Bearer secret", "impersonate-user": "root", "accept": "*/*"},
        )
        response = await tunnel.forward(ClusterAccess(url + "/prefix", token="mine"), request)
        assert await body(response) == b"ok"
    text = heads[0].decode().lower()
    assert text.startswith("get /prefix/x?a=b http/1.1")
    assert "bearer mine" in text
    assert "secret" not in text
    assert "impersonate" not in text
    assert "accept: */*" in text


async def test_chunked_answers_arrive_as_they_come() -> None:
    first = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await first.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with server(handler) as url:
        response = await tunnel.forward(ClusterAccess(url), Request("GET", "/"))
        assert not isinstance(response.body, bytes)
        chunks = response.body.__aiter__()
        assert await anext(chunks) == b"one"
        first.set()
        assert await anext(chunks) == b"two"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_an_answer_cut_short_is_an_error() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\none")

    async with server(handler) as url:
        response = await tunnel.forward(ClusterAccess(url), Request("GET", "/"))
        with pytest.raises(ServiceUnavailable, match="in the middle"):
            await body(response)


async def test_an_upgrade_passes_bytes_both_ways_until_the_server_closes() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        heads.append(head)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\nhello ")
        writer.write((await reader.read(100)).upper())
        await writer.drain()

    async with server(handler) as url:
        headers = {"upgrade": "SPDY/3.1", "connection": "upgrade", "x-stream-protocol-version": "v4\nv3"}
        response = await tunnel.forward(ClusterAccess(url), Request("POST", "/exec", "", headers))
        assert (response.status, response.header("upgrade")) == (101, "SPDY/3.1")
        assert response.upgrade is not None
        pipe = Pipe()
        pipe.incoming.put_nowait(b"world")
        await asyncio.wait_for(response.upgrade(pipe), 5)
    assert pipe.sent == b"hello WORLD"
    assert pipe.closed
    assert heads[0].lower().count(b"x-stream-protocol-version") == 2


async def test_a_refused_upgrade_is_the_servers_answer() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno")

    async with server(handler) as url:
        request = Request("GET", "/", "", {"upgrade": "websocket", "connection": "upgrade"})
        response = await tunnel.forward(ClusterAccess(url), request)
        assert (response.status, await body(response)) == (403, b"no")


async def test_nobody_listening_is_told_with_the_address() -> None:
    with pytest.raises(ServiceUnavailable, match=r"cannot reach 127\.0\.0\.1:9"):
        await tunnel.forward(ClusterAccess("http://127.0.0.1:9"), Request("GET", "/"))


async def test_headers_cannot_smuggle_others() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None: ...

    async with server(handler) as url:
        with pytest.raises(BadRequest):
            await tunnel.forward(ClusterAccess(url), Request("GET", "/", "", {"a": "b\r\nX-Evil: 1"}))


POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "d"},
    "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
    "status": {"podIP": "10.1.0.2"},
}


@pytest.mark.parametrize(
    ("subresource", "query", "expected"),
    [
        ("log", "container=c&follow=true&pretty=1&tailLines=3", ("/containerLogs/d/p/c", "follow=true&tailLines=3")),
        ("log", "", ("/containerLogs/d/p/c", "")),
        ("exec", "container=c&command=ls&command=-l&stdin=true&stdout=true&tty=false",
         ("/exec/d/p/c", "command=ls&command=-l&input=1&output=1")),
        ("attach", "container=c&stdout=true&stderr=true&tty=true", ("/attach/d/p/c", "output=1&error=1&tty=1")),
        ("portforward", "ports=80&ports=81", ("/portForward/d/p", "port=80&port=81")),
    ],
)  # fmt: skip
def test_subresources_in_the_words_of_a_kubelet(
    subresource: str, query: str, expected: tuple[str, str]
) -> None:
    assert agent_request(POD, subresource, query) == expected


def test_a_container_must_be_named_where_there_are_several() -> None:
    pod = {**POD, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    with pytest.raises(BadRequest, match=r"choose one of: \[a b\]"):
        agent_request(pod, "exec", "command=ls")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p", "http://10.1.0.2:8080"),
        ("p:81", "http://10.1.0.2:81"),
        ("p:web", "http://10.1.0.2:8080"),
        ("https:p:443", "https://10.1.0.2:443"),
        (":p:web", "http://10.1.0.2:8080"),
    ],
)
def test_proxied_ports_by_number_and_name(name: str, expected: str) -> None:
    path = proxied.split(f"/api/v1/namespaces/d/pods/{name}/proxy/a%20b/proxy")
    assert path is not None
    assert (proxy_target(POD, path), path.target) == (expected, "/a%20b/proxy")


def test_ports_and_addresses_that_cannot_be_meant_are_refused() -> None:
    path = proxied.split("/api/v1/namespaces/d/pods/p:none/proxy/")
    assert path is not None
    with pytest.raises(BadRequest, match="no port named"):
        proxy_target(POD, path)
    with pytest.raises(BadRequest, match="address not allowed"):
        proxy_target({**POD, "status": {"podIP": "127.0.0.1"}}, replace(path, port="80"))


def test_the_agents_address_is_the_nodes_internal_one() -> None:
    node = {
        "metadata": {"name": "n"},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "h"},
                {"type": "InternalIP", "address": "192.0.2.4"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
        },
    }
    assert agent_address(node) == "https://192.0.2.4:10251"
    with pytest.raises(ServiceUnavailable):
        agent_address({"metadata": {"name": "n"}})
