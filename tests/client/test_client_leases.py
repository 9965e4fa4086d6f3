"""Leader election: one at a time, and the next one when the first is gone."""

from __future__ import annotations

import asyncio

import pytest

from sublet.client.leases import LEASES, LeaderElection, LeadershipLost
from sublet.machinery.status import StatusError

FAST = {"lease_seconds": 1.2, "renew_seconds": 0.4, "retry_seconds": 0.05}


def candidate(client, name):
    return LeaderElection(client, "kube-system", "boss", name, **FAST)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def forever():
    await asyncio.Event().wait()


async def test_only_one_leads_and_the_other_follows_when_it_stops(client):
    one, two = candidate(client, "one"), candidate(client, "two")
    first = asyncio.create_task(one.run(forever))
    await until(lambda: one.is_leader)
    second = asyncio.create_task(two.run(forever))
    await asyncio.sleep(0.2)
    assert not two.is_leader
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await until(lambda: two.is_leader)
    lease = await client.get(LEASES, "boss", "kube-system")
    assert lease["spec"]["holderIdentity"] == "two"
    assert lease["spec"]["leaseTransitions"] >= 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_a_silent_leader_is_replaced_after_the_lease_has_run_out(client):
    await client.create(
        LEASES,
        {"metadata": {"name": "boss"}, "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1}},
        "kube-system",
    )
    one = candidate(client, "one")
    task = asyncio.create_task(one.run(forever))
    await asyncio.sleep(0.5)
    assert not one.is_leader
    await until(lambda: one.is_leader)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_work_that_ends_ends_the_leadership(client):
    one = candidate(client, "one")

    async def work():
        assert one.is_leader

    await one.run(work)
    assert not one.is_leader
    assert (await client.get(LEASES, "boss", "kube-system"))["spec"]["holderIdentity"] == ""


async def test_a_leader_whose_lease_was_taken_stops_working(client):
    one = candidate(client, "one")
    cancelled = asyncio.Event()

    async def work():
        try:
            await forever()
        finally:
            cancelled.set()

    task = asyncio.create_task(one.run(work))
    await until(lambda: one.is_leader)
    while True:
        try:
            await client.patch(LEASES, "boss", {"spec": {"holderIdentity": "thief"}}, "kube-system")
            break
        except StatusError:
            continue
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(task, 5)
    assert cancelled.is_set()


def test_times_that_make_no_sense_are_refused(client):
    with pytest.raises(ValueError, match="lease_seconds > renew_seconds"):
        LeaderElection(client, "n", "n", "i", lease_seconds=1, renew_seconds=2)
