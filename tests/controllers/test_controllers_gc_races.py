"""What the garbage collector must not miss: owners it never saw, watches that break, starts and restarts under load."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from controllers_cluster import running

from sublet.client.events import EventRecorder
from sublet.client.informer import InformerFactory
from sublet.controllers.garbage_collector.collector import GarbageCollector
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import SystemClock
from sublet.reconcile.manager import Context
from sublet.reconcile.metadata import MetadataWatch

CONFIGMAPS, SECRETS = resource("configmaps"), resource("secrets")
DEPLOYMENTS, SETS = resource("deployments.apps"), resource("replicasets.apps")
ROUNDS = 40 if os.environ.get("SUBLET_SOAK") else 6
LABELS = {"app": "web"}


@pytest.fixture
async def still() -> AsyncIterator[Any]:
    """An API server and no controller."""
    async with running(set(), 0) as found:
        await found.namespace()
        yield found


def collector(cluster: Any, rng: Any, informers: InformerFactory) -> GarbageCollector:
    events = EventRecorder(cluster.client, "garbage-collector")
    return GarbageCollector(Context(cluster.client, informers, events, SystemClock(), rng))


async def owned(cluster: Any) -> Any:
    """ConfigMap ``owner`` and Secret ``dependent``."""
    owner = await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "test")
    reference = objects.owner_reference(owner, CONFIGMAPS, controller=False)
    metadata = {"name": "dependent", "ownerReferences": [reference]}
    return await cluster.client.create(SECRETS, {"metadata": metadata}, "test")


async def test_an_owner_deleted_before_its_watch_began_takes_its_dependents_along(
    still: Any, rng: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.controllers.garbage_collector.collector._LOOK_AGAIN", 0.1)
    monkeypatch.setattr("sublet.controllers.garbage_collector.collector._SYNC", 0.1)
    dependent = await owned(still)
    informers = InformerFactory(still.client)
    informers.informer(CONFIGMAPS)  # held, so the collector follows it, but it does not run yet
    found = collector(still, rng, informers)
    task = asyncio.create_task(found.run())
    try:
        await eventually(lambda: has(found, objects.uid(dependent)))
        await asyncio.sleep(0.3)
        await still.client.delete(CONFIGMAPS, "owner", "test", propagation="Background")
        await informers.start()
        await eventually(lambda: none(still, "secrets"))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await informers.stop()


async def has(found: GarbageCollector, uid: str) -> bool:
    return uid in found.graph.nodes and found._deletions.reconciled > 0


async def none(cluster: Any, plural: str) -> bool:
    return not await cluster.items(plural)


async def test_a_watch_that_breaks_in_any_way_goes_on(still: Any, eventually: Any) -> None:
    """Whatever comes instead of events: the watch lists again and has missed nothing."""
    seen: set[str] = set()

    class Sink:
        broken = True

        def seen(self, _resource: Any, obj: Any) -> None:
            if obj["metadata"]["name"] == "breaks" and self.broken:
                self.broken = False
                raise TypeError("not what was expected")
            seen.add(obj["metadata"]["name"])

        def deleted(self, _resource: Any, _obj: Any) -> None: ...

        def listed(self, _resource: Any, _uids: set[str]) -> None: ...

    watch = MetadataWatch(still.client, CONFIGMAPS, Sink())
    task = asyncio.create_task(watch.run())
    try:
        await asyncio.wait_for(watch.tried.wait(), 5)
        for name in ("breaks", "after"):
            await still.client.create(CONFIGMAPS, {"metadata": {"name": name}}, "test")

        async def both() -> bool:
            return seen >= {"breaks", "after"}

        await eventually(both)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def deployment(replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    return {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}


async def test_deployments_deleted_at_any_moment_leave_nothing(rng: Any, eventually: Any) -> None:
    """Created and deleted while the controllers start, while ReplicaSets appear, and while watches are cut."""
    for number in range(ROUNDS):
        async with running(None, 1) as cluster:
            await cluster.namespace()
            await asyncio.gather(*(live(cluster, f"web-{number}-{n}", rng) for n in range(8)))

            async def empty(found: Any = cluster) -> bool:
                return await none(found, "replicasets.apps") and await none(found, "pods")

            await eventually(empty, 15.0)
            assert not await cluster.items("deployments.apps")


async def live(cluster: Any, name: str, rng: Any) -> None:
    """One Deployment's life of up to half a second, with a new template on the way."""
    await asyncio.sleep(rng.random() * 0.1)
    await cluster.make("deployments.apps", name, deployment(rng.randint(0, 3)))
    await asyncio.sleep(rng.random() * 0.2)
    if rng.random() < 0.5:
        template = {"spec": {"containers": [{"name": "c", "image": f"nginx:{rng.randint(1, 9)}"}]}}
        await cluster.client.patch(
            DEPLOYMENTS, name, {"spec": {"template": template}}, "test", kind="strategic"
        )
        await asyncio.sleep(rng.random() * 0.2)
    await cluster.client.delete(DEPLOYMENTS, name, "test")


async def test_deployments_deleted_while_a_control_plane_starts_again_leave_nothing(
    tmp_path: Path, rng: Any, eventually: Any
) -> None:
    """The controllers have seen nothing yet when the owners go: whatever they list first is not the whole truth."""
    names: list[str] = []
    for number in range(max(2, ROUNDS // 3)):
        plane = ControlPlane(Assembly(data_dir=tmp_path, scheduler=False), rng=rng)
        await plane.start()
        try:
            client = plane.client(user_agent="test")
            for name in names:
                await asyncio.sleep(rng.random() * 0.05)
                await client.delete(DEPLOYMENTS, name, "default")
            await eventually(lambda c=client: bare(c), 20.0)
            names = [f"web-{number}-{n}" for n in range(6)]
            for name in names:
                made = {"metadata": {"name": name}, "spec": deployment(1)}
                await client.create(DEPLOYMENTS, made, "default")
            await eventually(lambda c=client: counted(c, 6), 20.0)
        finally:
            await plane.stop()


async def bare(client: Any) -> bool:
    return not any([(await client.list(r, "default"))["items"] for r in (SETS, resource("pods"))])


async def counted(client: Any, wanted: int) -> bool:
    return len((await client.list(resource("pods"), "default"))["items"]) == wanted


async def test_an_owner_that_is_absent_elsewhere_is_not_absent_where_it_is(
    still: Any, rng: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names another namespace's object as owner loses the dependent, and does not take others' along."""
    monkeypatch.setattr("sublet.controllers.garbage_collector.collector._SYNC", 0.1)
    await still.namespace("elsewhere")
    informers = InformerFactory(still.client)
    informers.informer(CONFIGMAPS)  # held, but not running: the graph never knows the owner
    owner = await still.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "test")
    reference = objects.owner_reference(owner, CONFIGMAPS, controller=False)
    found = collector(still, rng, informers)

    async def make(namespace: str) -> Any:
        metadata = {"name": "dependent", "ownerReferences": [reference]}
        return await still.client.create(SECRETS, {"metadata": metadata}, namespace)

    await make("elsewhere")
    task = asyncio.create_task(found.run())
    try:

        async def gone() -> bool:
            return not await still.items("secrets", "elsewhere")

        await eventually(gone)
        mine = await make("test")
        await eventually(lambda: looked_at(found, objects.uid(mine)))
        assert await still.items("secrets", "test")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def looked_at(found: GarbageCollector, uid: str) -> bool:
    before = found._deletions.reconciled
    return uid in found.graph.nodes and not len(found._deletions.queue) and before > 1
