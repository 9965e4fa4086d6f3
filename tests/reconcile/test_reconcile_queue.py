"""Keys in the queue: once at a time, in order, later when they fail."""

from __future__ import annotations

import asyncio

from sublet.reconcile.queue import Queue


async def test_a_key_added_twice_comes_once():
    queue = Queue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_it_is_worked_on_comes_back_when_that_is_done():
    queue = Queue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert await queue.get() == "a"


async def test_of_two_delays_the_shorter_counts():
    queue = Queue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_failures_double_the_delay_until_success_is_told():
    queue = Queue(base_delay=10)
    loop = asyncio.get_running_loop()
    for expected in (10, 20, 40):
        queue.add_rate_limited("a")
        timer = queue._timers.pop("a")
        assert abs(timer.when() - loop.time() - expected) < 1
        timer.cancel()
    queue.forget("a")
    assert queue.failures("a") == 0


async def test_a_waiter_that_is_cancelled_does_not_swallow_a_key():
    queue = Queue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
