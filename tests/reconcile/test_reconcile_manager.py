"""The manager starts each controller when its own informers are there, and starts again what fails."""

from __future__ import annotations

import asyncio
import random

import pytest

from sublet.client.events import EventRecorder
from sublet.client.informer import InformerFactory
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import SystemClock
from sublet.machinery.kind import Resource
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Manager, Registration

NAMESPACES = resource("namespaces")


@pytest.fixture
async def informers(client):
    factory = InformerFactory(client)
    yield factory
    await factory.stop()


def manager(client, informers, *registrations):
    def context_for(registration):
        return Context(
            client, informers, EventRecorder(client, registration.name), SystemClock(), random.Random(1)
        )

    return Manager(registrations, context_for)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_controller_sees_what_is_there_once_its_informers_have_synced(client, informers):
    seen = []

    def setup(context):
        watched = context.informers.informer(NAMESPACES)

        async def reconcile(key):
            assert watched.has_synced
            seen.append(key)

        controller = Controller("test", reconcile)
        watched.add_handler(controller.enqueue_object)
        return controller

    running = manager(client, informers, Registration("test", setup))
    await running.start()
    await until(lambda: "default" in seen)
    await client.create(NAMESPACES, {"metadata": {"name": "new"}})
    await until(lambda: "new" in seen)
    await running.stop()


async def test_a_kind_that_is_not_served_holds_only_who_asked_for_it(client, informers):
    missing = Resource("example.com", "v1", "things", "Thing", True)
    started = []

    class Works:
        def __init__(self, name):
            self.name = name

        async def run(self):
            started.append(self.name)
            await asyncio.Event().wait()

    def blocked(context):
        context.informers.informer(missing)
        return Works("blocked")

    def free(context):
        context.informers.informer(NAMESPACES)
        return [Works("free"), Works("free too")]

    running = manager(client, informers, Registration("a", blocked), Registration("b", free))
    await running.start()
    await until(lambda: len(started) == 2)
    assert started == ["free", "free too"]
    assert running.running == {"b"}
    await running.stop()


async def test_what_fails_starts_again(client, informers):
    starts = []

    class Fails:
        async def run(self):
            starts.append(1)
            if len(starts) == 1:
                raise RuntimeError("broken")
            await asyncio.Event().wait()

    running = manager(client, informers, Registration("a", lambda _context: Fails()))
    await running.start()
    await until(lambda: len(starts) == 2)
    await running.stop()


async def test_an_owner_is_enqueued_for_what_it_controls():
    async def reconcile(_key):
        raise AssertionError("not run here")

    controller = Controller("test", reconcile)
    owner = {"metadata": {"name": "rs", "uid": "u"}}
    reference = objects.owner_reference(owner, resource("replicasets.apps"))
    owned = {"metadata": {"name": "p", "namespace": "n", "ownerReferences": [reference]}}
    controller.enqueue_controller("ReplicaSet")("add", owned, None)
    controller.enqueue_controller("Job")("add", owned, None)
    assert len(controller.queue) == 1
    assert await controller.queue.get() == "n/rs"


async def test_a_controller_that_cannot_be_set_up_keeps_no_other_from_running(client, informers):
    ran = asyncio.Event()

    class Runs:
        async def run(self):
            ran.set()

    def broken(_context):
        raise ValueError("no such setting")

    running = manager(
        client, informers, Registration("broken", broken), Registration("whole", lambda _c: Runs())
    )
    await running.start()
    await until(ran.is_set)
    assert running.running == {"whole"}
    await running.stop()


def values(running, name):
    """Label ``name`` -> value of one metric."""
    lines = [line for line in running.lines() if line.startswith(f"{name}{{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


async def test_metrics_tell_of_work_that_does_not_end(client, informers):
    begun, end = asyncio.Event(), asyncio.Event()
    made = []

    def setup(_context):
        async def reconcile(_key):
            begun.set()
            await end.wait()

        made.append(Controller("deployment-controller", reconcile, workers=2))
        return made

    running = manager(client, informers, Registration("deployment-controller", setup))
    await running.start()
    try:
        for key in ("a", "b", "c"):
            made[0].enqueue(key)
        await asyncio.wait_for(begun.wait(), 5)
        await until(lambda: len(made[0].unfinished()) == 2)
        await asyncio.sleep(0.02)
        longest = values(running, "workqueue_longest_running_processor_seconds")["deployment"]
        together = values(running, "workqueue_unfinished_work_seconds")["deployment"]
        assert 0.02 <= longest < together
        assert values(running, "workqueue_depth") == {"deployment": 1}
        end.set()
        await until(lambda: made[0].reconciled == 3 and not made[0].unfinished())
        assert values(running, "workqueue_unfinished_work_seconds") == {"deployment": 0}
    finally:
        await running.stop()


async def test_the_number_of_workers_may_be_set_by_the_controllers_name(client, informers):
    made = Controller("test", None, workers=1)
    inner = Controller("inner", None)

    class Holder:
        controllers = (inner,)

        async def run(self):
            await asyncio.Event().wait()

    def context_for(registration):
        return Context(client, informers, EventRecorder(client, "t"), SystemClock(), random.Random(1))

    registrations = [Registration("test", lambda _c: made), Registration("holder", lambda _c: Holder())]
    running = Manager(registrations, context_for, {"test": 7, "holder": 3})
    await running.start()
    try:
        assert (made.workers, inner.workers) == (7, 3)
    finally:
        await running.stop()


async def test_it_names_the_controllers_that_failed_until_they_run_again(client, informers):
    class Fails:
        name = "fails"

        async def run(self):
            raise RuntimeError("out of luck")

    def broken(_context):
        raise ValueError("cannot be set up")

    running = manager(
        client, informers, Registration("fails", lambda _context: Fails()), Registration("broken", broken)
    )
    await running.start()
    await until(lambda: "fails" in running.failed)
    assert running.failed == {"broken": "cannot be set up", "fails": "out of luck"}
    await running.stop()
    assert not running.failed
