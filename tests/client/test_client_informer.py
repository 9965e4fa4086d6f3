"""Informers follow a real API server, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib

from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.client.informer import Informer, InformerFactory
from sublet.client.inprocess import InProcessTransport
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.selectors import parse
from sublet.machinery.status import Expired, ServiceUnavailable

MAPS = resource("configmaps")


class Faulty:
    """The in-process transport, with faults where a test wants them."""

    def __init__(self, api):
        self._inner = InProcessTransport(api, User("admin", ("system:masters",)))
        self.lists = self.watches = 0
        self.fail: list[Exception] = []
        self.cut = asyncio.Event()
        self.expire = False

    async def request(self, request):
        self.lists += 1
        if self.fail:
            raise self.fail.pop(0)
        return await self._inner.request(request)

    async def stream(self, request):
        self.watches += 1
        if self.fail:
            raise self.fail.pop(0)
        response = await self._inner.stream(request)
        response.body = self._until_cut(response.body)
        return response

    async def _until_cut(self, body):
        chunks = asyncio.Queue()

        async def pump():
            async for chunk in body:
                chunks.put_nowait(chunk)
            chunks.put_nowait(None)

        async def cut():
            await self.cut.wait()
            chunks.put_nowait(None)

        tasks = [asyncio.create_task(pump()), asyncio.create_task(cut())]
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await body.aclose()

    async def close(self):
        await self._inner.close()


@contextlib.asynccontextmanager
async def running(informer):
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced(), 5)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def make(client, name, namespace="default", **data):
    return await client.create(
        MAPS, {"metadata": {"name": name, "labels": data.pop("labels", {})}, "data": data}, namespace
    )


async def test_it_shows_what_is_there_and_what_changes(client):
    await make(client, "a")
    informer = Informer(client, MAPS, "default")
    seen = []
    informer.add_handler(lambda event, obj, old: seen.append((event, objects.name(obj), old is not None)))
    async with running(informer):
        assert informer.get("default", "a") is not None
        await make(client, "b")
        await client.patch(MAPS, "b", {"data": {"x": "1"}}, "default")
        await client.delete(MAPS, "b", "default")
        await until(lambda: ("delete", "b", True) in seen)
    mine = [entry for entry in seen if entry[1] in "ab"]
    assert mine == [("add", "a", False), ("add", "b", False), ("update", "b", True), ("delete", "b", True)]


async def test_a_late_handler_gets_an_add_for_each_object(client):
    await make(client, "a")
    informer = Informer(client, MAPS, "default", field_selector="metadata.name=a")
    async with running(informer):
        seen = []
        informer.add_handler(lambda event, obj, _old: seen.append((event, objects.name(obj))))
        assert seen == [("add", "a")]


async def test_lists_by_namespace_selector_and_index(client):
    await make(client, "a", labels={"app": "x"}, to="one")
    await make(client, "b", "kube-system", labels={"app": "x"}, to="two")
    informer = Informer(client, MAPS, label_selector="app")
    informer.add_index("to", lambda obj: [obj["data"]["to"]])
    async with running(informer):
        assert [objects.name(o) for o in informer.list("default")] == ["a"]
        assert len(informer.list(selector=parse("app=x"))) == 2
        await client.patch(MAPS, "a", {"data": {"to": "two"}}, "default")
        await until(lambda: len(informer.by_index("to", "two")) == 2)
        assert informer.by_index("to", "one") == []


async def test_an_object_that_stops_matching_is_deleted(client):
    await make(client, "a", labels={"app": "x"})
    informer = Informer(client, MAPS, label_selector="app=x")
    async with running(informer):
        await client.patch(MAPS, "a", {"metadata": {"labels": {"app": "y"}}}, "default")
        await until(lambda: not len(informer))


async def test_a_watch_that_breaks_off_resumes_where_it_was_without_listing(api, client):
    transport = Faulty(api)
    informer = Informer(Client(transport), MAPS, "default")
    async with running(informer):
        await until(lambda: transport.watches == 1)
        listed = transport.lists
        transport.cut.set()
        await asyncio.sleep(0.01)
        transport.cut.clear()
        await make(client, "missed")
        await until(lambda: informer.get("default", "missed") is not None)
        assert transport.lists == listed


async def test_an_expired_resource_version_makes_it_list_again_and_tell_the_difference(api, client):
    await make(client, "old")
    transport = Faulty(api)
    informer = Informer(Client(transport), MAPS, "default")
    seen = []
    async with running(informer):
        await until(lambda: transport.watches == 1)
        transport.fail = [Expired("too old resource version")]
        informer.add_handler(lambda event, obj, _old: seen.append((event, objects.name(obj))))
        transport.cut.set()
        await until(lambda: not transport.fail)
        transport.cut.clear()
        await client.delete(MAPS, "old", "default")
        await until(lambda: ("delete", "old") in seen)
        assert transport.lists >= 2


async def test_a_server_that_comes_late_is_waited_for(api):
    transport = Faulty(api)
    transport.fail = [ServiceUnavailable("not yet"), ServiceUnavailable("not yet")]
    informer = Informer(Client(transport), MAPS)
    async with running(informer):
        assert informer.errors == 2


async def test_a_handler_that_fails_does_not_stop_the_others(client):
    informer = Informer(client, MAPS, "default")
    seen = []

    def broken(_event, _obj, _old):
        raise RuntimeError("broken")

    informer.add_handler(broken)
    informer.add_handler(lambda event, obj, _old: seen.append(objects.name(obj)))
    async with running(informer):
        await make(client, "a")
        await until(lambda: "a" in seen)


async def test_a_recreated_object_is_a_deletion_and_an_addition(api, client):
    first = await make(client, "a")
    transport = Faulty(api)
    informer = Informer(Client(transport), MAPS, "default", field_selector="metadata.name=a")
    seen = []
    async with running(informer):
        await until(lambda: transport.watches == 1)
        informer.add_handler(lambda event, obj, _old: seen.append((event, objects.uid(obj))))
        transport.fail = [Expired("gone")]
        transport.cut.set()
        await until(lambda: not transport.fail)
        transport.cut.clear()
        await client.delete(MAPS, "a", "default")
        second = await make(client, "a")
        await until(lambda: len(seen) >= 3)
    assert seen == [
        ("add", objects.uid(first)),
        ("delete", objects.uid(first)),
        ("add", objects.uid(second)),
    ]


async def test_a_factory_shares_equal_informers_and_views_know_their_own(client):
    factory = InformerFactory(client)
    one, two = factory.view(), factory.view()
    assert one.informer(MAPS) is two.informer(MAPS)
    other = two.informer(MAPS, "default")
    assert one.asked() != two.asked()
    await factory.start()
    await asyncio.wait_for(two.synced(), 5)
    assert other.has_synced
    await factory.stop()


async def test_managed_fields_are_not_kept(client):
    await client.patch(MAPS, "a", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}},
                       "default", kind="apply", field_manager="me")  # fmt: skip
    informer = Informer(client, MAPS, "default")
    async with running(informer):
        assert "managedFields" not in informer.get("default", "a")["metadata"]
