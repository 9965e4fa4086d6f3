"""Which waiting pod comes next, and what brings back one that did not fit."""

from __future__ import annotations

import asyncio

import pytest

from sublet.scheduler import queue as scheduling_queue
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.queue import SchedulingQueue


class _Clock:
    time = 0.0

    def now(self):
        return self.time

    def monotonic(self):
        return self.time


@pytest.fixture
def clock():
    return _Clock()


@pytest.fixture
def queue(clock):
    made = SchedulingQueue(clock)
    yield made
    made.close()


def pod(name, priority=0, gates=()):
    return PodInfo(
        {
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"priority": priority, "schedulingGates": list(gates)},
        }
    )


async def test_the_most_important_comes_first_then_the_oldest(queue, clock):
    for name, priority in (("old", 0), ("young", 0), ("important", 5)):
        clock.time += 1
        queue.update(pod(name, priority))
    assert [(await queue.pop()).info.name for _ in range(3)] == ["important", "old", "young"]


async def test_a_pod_that_was_removed_never_comes(queue):
    queue.update(pod("a"))
    queue.remove("a")
    queue.update(pod("b"))
    assert (await queue.pop()).info.name == "b"


async def test_only_an_event_it_waits_for_brings_an_unschedulable_pod_back(queue, clock):
    queue.update(pod("a"))
    queued = await queue.pop()
    queue.unschedulable(queued, frozenset({"node added"}))
    clock.time += 60
    queue.move("pod deleted")
    assert queue.counts()["unschedulable"] == 1
    queue.move("node added")
    assert (await queue.pop()).attempts == 2


async def test_it_counts_what_brings_pods_to_which_place(queue, clock):
    queue.update(pod("a", gates=[{"name": "g"}]))
    queue.update(pod("a", gates=[{"name": "g"}]))
    queue.update(pod("a"))
    queue.unschedulable(await queue.pop(), frozenset({"NodeAdd"}))
    queue.move("NodeAdd")
    clock.time += 2
    queue._tick()
    assert dict(queue.incoming) == {
        ("UnscheduledPodAdd", "gated"): 1,
        ("UnscheduledPodUpdate", "active"): 1,
        ("ScheduleAttemptFailure", "unschedulable"): 1,
        ("NodeAdd", "backoff"): 1,
        ("BackoffComplete", "active"): 1,
    }


async def test_a_pod_that_failed_just_now_waits_out_its_backoff(queue, clock):
    queue.update(pod("a"))
    queue.unschedulable(await queue.pop(), frozenset())
    queue.move("anything")
    assert queue.counts()["backoff"] == 1
    clock.time += 2
    queue._tick()
    assert (await queue.pop()).info.name == "a"


async def test_backoff_doubles_up_to_ten_seconds(queue):
    queue.update(pod("a"))
    queued = await queue.pop()
    found = []
    for attempts in (1, 2, 3, 4, 5, 50):
        queued.attempts = attempts
        found.append(queue.backoff(queued))
    assert found == [1, 2, 4, 8, 10, 10]


async def test_a_pod_nothing_helps_is_tried_again_after_five_minutes(queue, clock):
    queue.update(pod("a"))
    queue.unschedulable(await queue.pop(), frozenset({"never"}))
    clock.time += scheduling_queue.UNSCHEDULABLE_SECONDS + 1
    queue._tick()
    assert (await queue.pop()).info.name == "a"


async def test_a_gated_pod_waits_until_its_gates_are_gone(queue):
    queue.update(pod("a", gates=[{"name": "quota"}]))
    queue.move("node added")
    assert queue.counts()["gated"] == 1
    queue.update(pod("a"))
    assert (await queue.pop()).info.name == "a"


async def test_a_changed_spec_brings_an_unschedulable_pod_back_and_a_changed_status_does_not(queue, clock):
    queue.update(pod("a"))
    queue.unschedulable(await queue.pop(), frozenset({"never"}))
    clock.time += 60
    queue.update(pod("a"), relevant=False)
    assert queue.counts()["unschedulable"] == 1
    queue.update(pod("a"), relevant=True)
    assert queue.counts()["active"] == 1


async def test_pop_waits_for_a_pod(queue):
    popped = asyncio.create_task(queue.pop())
    await asyncio.sleep(0)
    queue.update(pod("late"))
    assert (await asyncio.wait_for(popped, 1)).info.name == "late"
