"""The control loop: never twice for one key, and nothing ends it."""

from __future__ import annotations

import asyncio
import contextlib

from sublet.machinery.status import Conflict
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result


@contextlib.asynccontextmanager
async def running(controller):
    task = asyncio.create_task(controller.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_key_that_fails_is_tried_again_and_the_others_go_on():
    seen = []

    async def reconcile(key):
        seen.append(key)
        if seen.count("bad") < 3 and key == "bad":
            raise RuntimeError("broken")

    controller = Controller("test", reconcile)
    async with running(controller):
        controller.enqueue("bad")
        controller.enqueue("good")
        await until(lambda: seen.count("bad") == 3)
    assert "good" in seen
    assert controller.errors == 2


async def test_a_conflict_is_tried_again_without_counting_as_an_error():
    seen = []

    async def reconcile(key):
        seen.append(key)
        if len(seen) == 1:
            raise Conflict("modified")

    controller = Controller("test", reconcile)
    async with running(controller):
        controller.enqueue("a")
        await until(lambda: len(seen) == 2)
    assert controller.errors == 0


async def test_one_key_is_never_in_two_workers():
    active, most, together = set(), [], []

    async def reconcile(key):
        together.extend([key] if key in active else [])
        active.add(key)
        most.append(len(active))
        await asyncio.sleep(0.002)
        active.remove(key)

    controller = Controller("test", reconcile, workers=4)
    async with running(controller):
        for _ in range(100):
            for key in ("a", "b", "c"):
                controller.enqueue(key)
            await asyncio.sleep(0.001)
            if len(most) > 5 and max(most) == 3:
                break
    assert max(most) == 3
    assert not together


async def test_a_result_brings_the_key_back():
    seen = []

    async def reconcile(key):
        seen.append(key)
        return Result(requeue_after=0.005) if len(seen) < 3 else None

    controller = Controller("test", reconcile)
    async with running(controller):
        controller.enqueue("a")
        await until(lambda: len(seen) == 3)
