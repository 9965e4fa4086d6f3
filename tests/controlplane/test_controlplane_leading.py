"""Where several processes share a store, the controllers and the scheduler of one of them work."""

from __future__ import annotations

import asyncio
import random

import pytest

from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.controlplane.controlling import Controlling
from sublet.kinds.resources import resource
from sublet.machinery.clock import SystemClock


@pytest.fixture
async def plane(tmp_path):
    made = ControlPlane(Assembly(tmp_path, store_url="memory://", leader_elect=True))
    await made.start()
    yield made
    await made.stop()


def other(plane):
    """The controllers of another process on the same store."""
    return Controlling(plane.assembly, plane.api, plane.pki, SystemClock(), random.Random(7))


async def until(check, seconds=15.0):
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110  # another task's state
            await asyncio.sleep(0.02)


async def test_one_leads_and_the_other_takes_over_when_it_stops(plane):
    first = plane._controlling
    await until(lambda: first.leads)
    second = other(plane)
    await second.start()
    try:
        await asyncio.sleep(0.5)
        assert first.leads and not second.leads
        await first.stop()
        await until(lambda: second.leads)
        deployment = {
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "busybox"}]},
                },
            },
        }
        client = plane.client()
        await client.create(resource("deployments.apps"), deployment, "default")
        async with asyncio.timeout(15):
            while not (await client.list(resource("pods"), "default"))["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await second.stop()


async def test_the_lease_names_who_leads(plane):
    await until(lambda: plane._controlling.leads)
    lease = await plane.client().get(
        resource("leases.coordination.k8s.io"), "kube-controller-manager", "kube-system"
    )
    assert lease["spec"]["holderIdentity"]
    assert lease["spec"]["leaseDurationSeconds"] == 15


async def test_alone_no_lease_is_written(tmp_path):
    made = ControlPlane(Assembly(tmp_path, store_url="memory://"))
    await made.start()
    try:
        leases = await made.client().list(resource("leases.coordination.k8s.io"), "kube-system")
        assert not [x for x in leases["items"] if x["metadata"]["name"] == "kube-controller-manager"]
    finally:
        await made.stop()
