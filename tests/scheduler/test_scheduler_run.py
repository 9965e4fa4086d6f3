"""The scheduler against a real API server."""

from __future__ import annotations

import asyncio
import random

import pytest

from sublet.client.events import EVENTS
from sublet.client.eventseries import SeriesRecorder
from sublet.client.informer import InformerFactory
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import SystemClock
from sublet.scheduler.scheduler import Scheduler

PODS, NODES = resource("pods"), resource("nodes")
CLAIMS, CLASSES = resource("persistentvolumeclaims"), resource("storageclasses.storage.k8s.io")


@pytest.fixture
async def scheduler(client):
    await client.create(resource("serviceaccounts"), {"metadata": {"name": "default"}}, "default")
    informers = InformerFactory(client)
    made = Scheduler(client, informers, SeriesRecorder(client, "here"), SystemClock(), random.Random(1))
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await informers.stop()


async def node(client, name, cpu="4", **labels):
    await client.create(
        NODES, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}}
    )
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    await client.patch(NODES, name, {"status": {"allocatable": allocatable}}, subresource="status")
    found = await client.get(NODES, name)
    found["spec"].pop("taints", None)  # what the node lifecycle controller does once a node is ready
    await client.update(NODES, found)


async def pod(client, name, cpu="1", **spec):
    container = {"name": "c", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}
    wanted = {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
    return await client.create(PODS, wanted, "default")


async def eventually(client, name, holds, resource_of=PODS, seconds=8.0):
    """The object once ``holds`` of it."""
    async with asyncio.timeout(seconds):
        while True:
            found = await client.get(resource_of, name, "default" if resource_of.namespaced else "")
            if holds(found):
                return found
            await asyncio.sleep(0.01)


async def known(scheduler, name):
    """Returns once the scheduler knows a node, ready for pods."""
    async with asyncio.timeout(8):
        while (found := scheduler.cache.nodes.get(name)) is None or found.taints:  # noqa: ASYNC110 - not told
            await asyncio.sleep(0.01)


def on(name):
    return lambda found: found["spec"].get("nodeName") == name


async def reported(client, reason):
    """The events of that reason, once there are some."""
    async with asyncio.timeout(8.0):
        while True:
            found = (await client.list(EVENTS, "default", field_selector=f"reason={reason}"))["items"]
            if found:
                return found
            await asyncio.sleep(0.01)


async def test_a_pod_gets_a_node_and_an_event_says_so(client, scheduler):
    await node(client, "a")
    await pod(client, "p")
    found = await eventually(client, "p", on("a"))
    assert objects.is_true(found, "PodScheduled")
    (event,) = await reported(client, "Scheduled")
    assert event["message"] == "Successfully assigned default/p to a"
    assert (event["action"], event["source"], event.get("count")) == ("Binding", {}, None)
    assert (event["reportingComponent"], event["reportingInstance"]) == (
        "default-scheduler",
        "default-scheduler-here",
    )


async def test_the_steps_of_a_pod_are_measured(client, scheduler):
    await pod(client, "a")
    await eventually(client, "a", lambda found: found["status"].get("conditions"))
    await node(client, "one")
    await eventually(client, "a", lambda found: found["spec"].get("nodeName"))
    async with asyncio.timeout(5):
        while True:
            if scheduler.scheduled:
                break
            await asyncio.sleep(0.01)
    found = "\n".join(scheduler.lines())
    name, labels = "scheduler_framework_extension_point_duration_seconds_count", 'profile="default-scheduler"'
    for point in ("PreFilter", "Filter", "Score", "Reserve", "PreBind", "Bind"):
        assert f'{name}{{extension_point="{point}",{labels},status="Success"}} 1' in found
    assert 'scheduler_queue_incoming_pods_total{event="UnscheduledPodAdd",queue="active"} 1' in found
    assert 'scheduler_cache_size{type="pods"} 1' in found


async def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_a_node_comes(client, scheduler):
    await node(client, "a", cpu="1")
    await known(scheduler, "a")
    await pod(client, "p", cpu="2")
    found = await eventually(client, "p", lambda p: objects.condition(p, "PodScheduled"))
    condition = objects.condition(found, "PodScheduled")
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"].startswith(
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
    )
    await node(client, "b", cpu="4")
    await eventually(client, "p", on("b"))


async def test_a_deleted_pod_makes_room_for_one_that_waits(client, scheduler):
    await node(client, "a", cpu="1")
    await known(scheduler, "a")
    await pod(client, "first")
    await eventually(client, "first", on("a"))
    await pod(client, "second")
    await eventually(client, "second", lambda p: objects.condition(p, "PodScheduled"))
    await client.delete(PODS, "first", "default", grace=0)
    await eventually(client, "second", on("a"))


async def test_a_pod_is_tried_again_when_it_learns_the_name_of_a_claim_that_was_there_before(
    client, scheduler
):
    claims = resource("resourceclaims.resource.k8s.io")
    await node(client, "a")
    source = {"name": "gpu", "resourceClaimTemplateName": "one"}
    waiting = await pod(client, "p", resourceClaims=[source])
    await eventually(client, "p", lambda p: objects.condition(p, "PodScheduled"))
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": objects.uid(waiting), "controller": True}
    metadata = {"name": "p-gpu", "ownerReferences": [owner]}
    request = {"name": "r", "exactly": {"deviceClassName": "none", "allocationMode": "All"}}
    await client.create(resource("deviceclasses.resource.k8s.io"), {"metadata": {"name": "none"}, "spec": {}})
    spec = {"devices": {"requests": [request]}}
    await client.create(claims, {"metadata": metadata, "spec": spec}, "default")

    def tried_since_the_claim_came(_found):
        queued = scheduler.queue.get(objects.uid(waiting))
        return queued is not None and queued.attempts >= 2 and queued.place == "unschedulable"

    await eventually(client, "p", tried_since_the_claim_came)
    learnt = {"status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu"}]}}
    await client.patch(PODS, "p", learnt, "default", subresource="status")
    await eventually(
        client, "p", lambda p: "cannot allocate" in (objects.condition(p, "PodScheduled") or {})["message"]
    )


async def test_pods_of_other_schedulers_and_gated_ones_are_left_alone(client, scheduler):
    await node(client, "a")
    await pod(client, "other", schedulerName="mine")
    await pod(client, "gated", schedulingGates=[{"name": "example.com/wait"}])
    await pod(client, "plain")
    await eventually(client, "plain", on("a"))
    for name in ("other", "gated"):
        assert "nodeName" not in (await client.get(PODS, name, "default"))["spec"]
    await client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
    await eventually(client, "gated", on("a"))


async def test_a_more_important_pod_removes_a_less_important_one(client, scheduler):
    priorities = resource("priorityclasses.scheduling.k8s.io")
    for name, value in (("low", 1), ("high", 1000)):
        await client.create(priorities, {"metadata": {"name": name}, "value": value})
    await node(client, "a", cpu="1")
    await known(scheduler, "a")
    await pod(client, "victim", priorityClassName="low", terminationGracePeriodSeconds=0)
    await eventually(client, "victim", on("a"))
    await pod(client, "important", priorityClassName="high")
    await eventually(client, "important", on("a"))
    names = [objects.name(p) for p in (await client.list(PODS, "default"))["items"]]
    assert names == ["important"]
    name = "scheduler_pod_scheduling_attempts"
    async with asyncio.timeout(5):
        while f"{name}_count 2" not in scheduler.lines():  # noqa: ASYNC110 - counted, not told
            await asyncio.sleep(0.01)
    counted = [*scheduler.lines()]
    assert f'{name}_bucket{{le="1"}} 1' in counted and "scheduler_preemption_victims_sum 1" in counted
    assert "scheduler_preemption_attempts_total 0" not in counted


async def test_a_claim_that_waits_for_a_consumer_gets_the_chosen_node_and_holds_the_pod_until_bound(
    client, scheduler
):
    await node(client, "a")
    await client.create(
        CLASSES,
        {
            "metadata": {"name": "local-path"},
            "provisioner": "sublet.dev/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local-path",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    await client.create(CLAIMS, {"metadata": {"name": "data"}, "spec": spec}, "default")
    await pod(client, "p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
    key = "volume.kubernetes.io/selected-node"
    claim = await eventually(
        client, "data", lambda c: (c["metadata"].get("annotations") or {}).get(key), CLAIMS
    )
    assert claim["metadata"]["annotations"][key] == "a"
    assert "nodeName" not in (await client.get(PODS, "p", "default"))["spec"]
    volume = {
        "metadata": {"name": "pv"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local-path",
            "hostPath": {"path": "/tmp/x"},
        },
    }
    await client.create(resource("persistentvolumes"), volume)
    await client.patch(CLAIMS, "data", {"spec": {"volumeName": "pv"}}, "default")
    await client.patch(CLAIMS, "data", {"status": {"phase": "Bound"}}, "default", subresource="status")
    await eventually(client, "p", on("a"))


async def test_many_pods_are_spread_and_none_is_placed_twice_or_too_many(client, scheduler):
    for name in ("a", "b", "c", "d"):
        await node(client, name, cpu="10")
    await asyncio.gather(*(pod(client, f"p{n}") for n in range(45)))
    async with asyncio.timeout(10):
        while scheduler.scheduled < 40:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    placed = [p["spec"].get("nodeName") for p in (await client.list(PODS, "default"))["items"]]
    assert {name: placed.count(name) for name in "abcd"} == dict.fromkeys("abcd", 10)
    assert placed.count(None) == 5
