"""Watches over WebSocket, as browsers have them, through real sockets and an independent client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from sublet.apiserver import websocketwatch
from sublet.apiserver.api import APIServer
from sublet.apiserver.server import HTTPServer
from sublet.client.client import Client
from sublet.client.exchange import Application, Request, Response, User
from sublet.kinds import protobuf
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object

CONFIG_MAPS = resource("configmaps")
PATH = "/api/v1/namespaces/default/configmaps?watch=1"


class AsAdmin:
    """The API server for a user who is known already: what is tested is not authentication."""

    def __init__(self, api: Application) -> None:
        self._api = api

    async def handle(self, request: Request) -> Response:
        request.user = User("admin", ("system:masters",))
        return await self._api.handle(request)


@pytest.fixture
async def address(api: APIServer) -> AsyncIterator[str]:
    server = HTTPServer(AsAdmin(api))
    await server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.stop(1)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_every_event_is_one_text_message(
    client: Client, address: str, http: aiohttp.ClientSession, make_config_map: Callable[..., Object]
) -> None:
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, make_config_map(name))
    async with http.ws_connect(address + PATH) as socket:
        first, second = [await socket.receive(5) for _ in range(2)]
        await client.delete(CONFIG_MAPS, "a", "default")
        third = await socket.receive(5)
    assert {message.type for message in (first, second, third)} == {aiohttp.WSMsgType.TEXT}
    events = [json.loads(message.data) for message in (first, second, third)]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
        ("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"),
    ]  # fmt: skip


async def test_protobuf_events_are_binary_messages_without_a_length(
    client: Client, address: str, http: aiohttp.ClientSession, make_config_map: Callable[..., Object]
) -> None:
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, make_config_map(name, key="value"))
    headers = {"Accept": "application/vnd.kubernetes.protobuf"}
    async with http.ws_connect(address + PATH, headers=headers) as socket:
        messages = [await socket.receive(5) for _ in range(2)]
    assert {message.type for message in messages} == {aiohttp.WSMsgType.BINARY}
    events = [protobuf.codec().decode_watch_frame(message.data) for message in messages]
    assert [(kind, obj["metadata"]["name"], obj["data"]) for kind, obj in events] == [
        ("ADDED", "a", {"key": "value"}), ("ADDED", "b", {"key": "value"}),
    ]  # fmt: skip


async def test_the_watch_ends_with_its_timeout(address: str, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(address + PATH + "&timeoutSeconds=1") as socket:
        assert (await socket.receive(5)).type == aiohttp.WSMsgType.CLOSE


async def test_a_client_that_closes_ends_the_watch(
    api: APIServer, address: str, http: aiohttp.ClientSession
) -> None:
    kind = api.kinds.stored("", "podtemplates")  # the server itself watches none
    assert kind is not None
    cache = api.registry.cache(kind)
    async with http.ws_connect(address + PATH.replace("configmaps", "podtemplates")) as socket:
        await until(lambda: cache.watchers == 1)
        await socket.close()
    await until(lambda: cache.watchers == 0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true within five seconds")


async def test_the_protocol_offered_beside_a_token_is_echoed(
    address: str, http: aiohttp.ClientSession
) -> None:
    protocols = ("base64url.bearer.authorization.k8s.io.dG9rZW4", "base64.binary.k8s.io")
    async with http.ws_connect(address + PATH, protocols=protocols) as socket:
        assert socket.protocol == "base64.binary.k8s.io"


async def test_what_cannot_be_watched_is_answered_without_an_upgrade(
    address: str, http: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(address + PATH + "&fieldSelector=nonsense%3D1")
    assert refused.value.status == 400


async def test_a_handshake_without_a_key_is_refused(address: str, http: aiohttp.ClientSession) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with http.get(address + PATH, headers=headers) as response:
        assert response.status == 400
        assert "Sec-WebSocket-Key" in (await response.json())["message"]


def test_a_chunk_of_an_http_watch_is_taken_apart_into_its_events() -> None:
    assert list(websocketwatch.messages("json", b'{"a":1}\n{"b":2}\n')) == ['{"a":1}\n', '{"b":2}\n']
    frames = b"\0\0\0\x02ab\0\0\0\x01c"
    assert list(websocketwatch.messages("protobuf", frames)) == [b"ab", b"c"]
