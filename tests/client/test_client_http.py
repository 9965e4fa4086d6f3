"""The HTTP transport against a real server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
import sys

import pytest
from aiohttp import web

from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess, ExecPlugin
from sublet.kinds.resources import resource
from sublet.machinery.status import (
    Expired,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    not_found,
)

PODS = resource("pods")


@contextlib.asynccontextmanager
async def serving(handler):
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def client_of(handler, **access):
    async with serving(handler) as url:
        client = Client(HTTPTransport(ClusterAccess(url, **access)), "test/1")
        try:
            yield client
        finally:
            await client.close()


async def test_a_status_answer_is_raised_as_its_error():
    async def handler(_request):
        return web.json_response(not_found("", "pods", "x").to_object(), status=404)

    async with client_of(handler) as client:
        with pytest.raises(NotFound, match='pods "x" not found') as caught:
            await client.get(PODS, "x", "default")
    assert caught.value.kind == "pods"


async def test_an_answer_that_is_no_status_is_raised_with_its_text():
    async def handler(_request):
        return web.Response(status=503, text="upstream is away")

    async with client_of(handler) as client:
        with pytest.raises(ServiceUnavailable, match="upstream is away"):
            await client.get(PODS, "x", "default")


async def test_a_server_that_is_not_there_is_unavailable_and_named():
    client = Client(HTTPTransport(ClusterAccess("http://127.0.0.1:1")))
    with pytest.raises(ServiceUnavailable, match=r"the server at 127\.0\.0\.1:1 cannot be reached"):
        await client.get(PODS, "x", "default")
    await client.close()


async def test_paths_and_queries_go_out_as_they_are():
    seen = []

    async def handler(request):
        seen.append((request.raw_path, request.headers["user-agent"]))
        return web.json_response({"kind": "PodList", "items": None, "metadata": {}})

    async with client_of(handler) as client:
        assert (await client.list(PODS, "a", label_selector="x in (1,2)"))["items"] == []
    assert seen == [("/api/v1/namespaces/a/pods?labelSelector=x+in+%281%2C2%29", "test/1")]


async def test_a_watch_yields_events_and_raises_the_error_event():
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        event = {"type": "ADDED", "object": {"metadata": {"name": "a" * 100}}}
        whole = json.dumps(event).encode() + b"\n"
        error = {"type": "ERROR", "object": Expired("too old resource version").to_object()}
        await response.write(whole[:20])
        await asyncio.sleep(0.01)
        await response.write(whole[20:] + json.dumps(error).encode() + b"\n")
        return response

    async with client_of(handler) as client:
        events = client.watch(PODS)
        assert (await anext(events)).object["metadata"]["name"] == "a" * 100
        with pytest.raises(Expired, match="too old"):
            await anext(events)


async def test_a_watch_that_is_left_closes_its_connection():
    gone = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"BOOKMARK","object":{}}\n')
        try:
            while True:
                await asyncio.sleep(0.01)
                await response.write(b"\n")
        except (ConnectionResetError, asyncio.CancelledError):
            gone.set()
            raise
        return response

    async with client_of(handler) as client, contextlib.aclosing(client.watch(PODS)) as events:
        await anext(events)
        await events.aclose()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_token_file_is_read_again_when_the_server_refuses_its_token(tmp_path):
    file = tmp_path / "token"
    file.write_text("old")

    async def handler(request):
        if request.headers.get("authorization") != "Bearer new":
            file.write_text("new\n")
            return web.json_response(Unauthorized().to_object(), status=401)
        return web.json_response({"kind": "Pod", "metadata": {"name": "x"}})

    async with client_of(handler, token_file=str(file)) as client:
        assert (await client.get(PODS, "x", "default"))["metadata"]["name"] == "x"


async def test_an_exec_plugin_gives_the_token(tmp_path):
    plugin = tmp_path / "login"
    plugin.write_text(
        f"#!{sys.executable}\nimport json, os\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "print(json.dumps({**info, 'status': {'token': os.environ['WHO']}}))\n"
    )
    plugin.chmod(stat.S_IRWXU)

    async def handler(request):
        return web.json_response({"metadata": {"name": request.headers["authorization"]}})

    access = ExecPlugin(str(plugin), env={"WHO": "me"})
    async with client_of(handler, exec_plugin=access) as client:
        assert (await client.get(PODS, "x", "default"))["metadata"]["name"] == "Bearer me"


async def test_an_exec_plugin_that_cannot_run_is_named_with_its_hint():
    async def handler(_request):
        return web.json_response({})

    plugin = ExecPlugin("/nowhere/login", install_hint="apt install login")
    async with client_of(handler, exec_plugin=plugin) as client:
        with pytest.raises(Unauthorized, match=r"/nowhere/login cannot run: .* \(apt install login\)"):
            await client.get(PODS, "x", "default")


async def test_a_busy_server_is_asked_again_when_it_says_so():
    calls = []

    async def handler(_request):
        calls.append(1)
        if len(calls) < 3:
            return web.Response(status=429, text="Too many requests", headers={"Retry-After": "0"})
        return web.json_response({"metadata": {"name": "x"}})

    async with client_of(handler) as client:
        assert (await client.get(PODS, "x", "default"))["metadata"]["name"] == "x"


async def test_a_budget_that_refuses_an_eviction_is_not_asked_again():
    calls = []

    async def handler(_request):
        calls.append(1)
        body = TooManyRequests("Cannot evict pod", retry_after=1).to_object()
        return web.json_response(body, status=429, headers={"Retry-After": "0"})

    async with client_of(handler) as client:
        with pytest.raises(TooManyRequests, match="Cannot evict pod"):
            await client.create(PODS, {}, "default", name="x", subresource="eviction")
    assert len(calls) == 1
