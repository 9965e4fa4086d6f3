"""Hollow nodes against a real API server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import NotFound
from sublet.node.hollow import Addresses, HollowNodes, HollowSettings, names
from sublet.node.hollow_events import Budget
from sublet.node.hollow_registration import LEASE_NAMESPACE

PODS, NODES, LEASES = resource("pods"), resource("nodes"), resource("leases.coordination.k8s.io")
EVENTS = resource("events")


@pytest.fixture
async def hollow(client):
    await client.create(resource("serviceaccounts"), {"metadata": {"name": "default"}}, "default")
    settings = HollowSettings(
        names=names(2), lease_seconds=1, capacity={"cpu": "2", "memory": "4Gi", "pods": "20"}
    )
    made = HollowNodes(client, settings)
    task = asyncio.create_task(made.run())
    await asyncio.wait_for(made.registered.wait(), 5)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def pod(client, name, node="hollow-0", port=None, annotations=None, finalizers=(), **spec):
    container = {"name": "c", "image": spec.pop("image", "busybox")}
    if port:
        container["ports"] = [{"containerPort": port, "hostPort": port}]
    metadata = {"name": name, "annotations": annotations or {}, "finalizers": list(finalizers)}
    wanted = {"metadata": metadata, "spec": {"nodeName": node, "containers": [container], **spec}}
    return await client.create(PODS, wanted, "default")


async def phase(client, name, wanted, seconds=5.0):
    async with asyncio.timeout(seconds):
        while True:
            found = await client.get(PODS, name, "default")
            if (found.get("status") or {}).get("phase") == wanted:
                return found
            await asyncio.sleep(0.01)


async def gone(client, name, seconds=5.0):
    async with asyncio.timeout(seconds):
        while True:
            try:
                await client.get(PODS, name, "default")
            except NotFound:
                return
            await asyncio.sleep(0.01)


async def test_nodes_are_ready_and_their_leases_are_renewed(client, hollow):
    node = await client.get(NODES, "hollow-1")
    assert objects.is_true(node, "Ready")
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.240.0.2"}
    lease = await client.get(LEASES, "hollow-1", LEASE_NAMESPACE)
    assert objects.owners(lease)[0]["uid"] == objects.uid(node)
    await asyncio.sleep(0.8)
    later = await client.get(LEASES, "hollow-1", LEASE_NAMESPACE)
    assert later["spec"]["renewTime"] > lease["spec"]["renewTime"]


async def test_a_pod_bound_to_it_runs_with_an_address_of_its_own(client, hollow):
    await pod(client, "a")
    await pod(client, "b", "hollow-1")
    one, two = await phase(client, "a", "Running"), await phase(client, "b", "Running")
    assert objects.is_true(one, "Ready")
    assert one["status"]["podIP"] != two["status"]["podIP"]
    assert two["status"]["hostIP"] == "10.240.0.2"
    assert one["status"]["observedGeneration"] == one["metadata"]["generation"]


async def test_a_pod_of_another_node_is_left_alone(client, hollow):
    await pod(client, "other", "elsewhere")
    await pod(client, "mine")
    await phase(client, "mine", "Running")
    assert (await client.get(PODS, "other", "default"))["status"]["phase"] == "Pending"


async def test_a_taken_host_port_makes_the_second_pod_fail(client, hollow):
    await pod(client, "first", port=8080)
    await phase(client, "first", "Running")
    await pod(client, "second", port=8080)
    failed = await phase(client, "second", "Failed")
    assert failed["status"]["reason"] == "NodePorts"
    await pod(client, "third", "hollow-1", port=8080)
    await phase(client, "third", "Running")
    await client.delete(PODS, "first", "default")
    await gone(client, "first")
    await pod(client, "fourth", port=8080)
    await phase(client, "fourth", "Running")


async def test_an_extended_resource_that_others_report_is_not_its_to_judge(client, hollow):
    resources = {"requests": {"example.com/dongle": "2"}, "limits": {"example.com/dongle": "2"}}
    container = {"name": "c", "image": "busybox", "resources": resources}
    await pod(client, "dongle", containers=[container])
    await phase(client, "dongle", "Running")


async def test_a_deleted_pod_takes_a_moment_to_stop_and_its_room_is_free(client, hollow):
    await pod(client, "a")
    await phase(client, "a", "Running")
    await client.delete(PODS, "a", "default")
    going = await client.get(PODS, "a", "default")
    assert objects.is_deleting(going) and going["status"]["phase"] == "Running"
    await gone(client, "a")
    async with asyncio.timeout(5):  # the node hears of it after everybody else may know
        while hollow._stopping or any(each._held for each in hollow._addresses.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_pod_that_is_deleted_by_force_does_not_wait_for_its_containers(client, hollow):
    hollow._settings = replace(hollow._settings, stop_seconds=60.0)
    await pod(client, "a")
    await phase(client, "a", "Running")
    await client.delete(PODS, "a", "default")
    await client.delete(PODS, "a", "default", grace=0)
    await gone(client, "a")


async def test_a_pod_with_a_finalizer_ends_and_stays(client, hollow):
    await pod(client, "a", finalizers=["example.com/hold"])
    await phase(client, "a", "Running")
    await client.delete(PODS, "a", "default")
    ended = await phase(client, "a", "Failed")
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    await client.patch(PODS, "a", {"metadata": {"finalizers": None}}, "default")
    await gone(client, "a")


async def test_annotations_make_a_pod_end(client, hollow):
    await pod(client, "a", annotations={"sublet.dev/hollow-run-seconds": "0"}, restartPolicy="Never")
    await phase(client, "a", "Succeeded")
    await pod(client, "b", annotations={"sublet.dev/hollow-exit-code": "2"}, restartPolicy="Never")
    await phase(client, "b", "Failed")


async def test_an_image_that_cannot_be_pulled_keeps_the_pod_waiting(client, hollow):
    await pod(client, "a", image="webserver:404")
    async with asyncio.timeout(5):
        while not (found := await client.get(PODS, "a", "default"))["status"].get("containerStatuses"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert found["status"]["phase"] == "Pending"
    assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"


async def told(client, name, count, seconds=5.0):
    """(type, reason, place, message) of each event of a pod once there are so many, in their order."""
    async with asyncio.timeout(seconds):
        while True:
            found = (await client.list(EVENTS, "default"))["items"]
            found = [each for each in found if each["involvedObject"]["name"] == name]
            if len(found) >= count:
                break
            await asyncio.sleep(0.01)
    found.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
    return [
        (each["type"], each["reason"], each["involvedObject"].get("fieldPath"), each["message"])
        for each in found
    ]


async def test_what_happens_to_containers_is_told_by_events(client, hollow):
    await pod(client, "a")
    await phase(client, "a", "Running")
    where = "spec.containers{c}"
    begun = [
        ("Normal", "Pulled", where, 'Container image "busybox" already present on machine'),
        ("Normal", "Created", where, "Container created: c"),
        ("Normal", "Started", where, "Container started: c"),
    ]
    assert await told(client, "a", 3) == begun
    await client.delete(PODS, "a", "default")
    assert await told(client, "a", 4) == [*begun, ("Normal", "Killing", where, "Stopping container c")]
    (event, *_) = (await client.list(EVENTS, "default"))["items"]
    assert event["source"] == {"component": "kubelet", "host": "hollow-0"}


async def test_of_a_container_that_ends_at_once_is_told_once(client, hollow):
    await pod(client, "a", annotations={"sublet.dev/hollow-run-seconds": "0"}, restartPolicy="Never")
    await phase(client, "a", "Succeeded")
    await told(client, "a", 3)
    await hollow._events.flush()
    found = (await client.list(EVENTS, "default"))["items"]
    assert [(each["reason"], each["count"]) for each in found] == [
        ("Pulled", 1),
        ("Created", 1),
        ("Started", 1),
    ]


async def test_an_image_that_cannot_be_pulled_is_told_by_events(client, hollow):
    await pod(client, "a", image="webserver:404")
    found = await told(client, "a", 5)
    error = 'failed to pull and unpack image "webserver:404": not found'
    assert [(kind, reason, message) for kind, reason, _, message in found] == [
        ("Normal", "Pulling", 'Pulling image "webserver:404"'),
        ("Warning", "Failed", f'Failed to pull image "webserver:404": {error}'),
        ("Warning", "Failed", "Error: ErrImagePull"),
        ("Normal", "BackOff", 'Back-off pulling image "webserver:404"'),
        ("Warning", "Failed", "Error: ImagePullBackOff"),
    ]


class StoppedClock(SystemClock):
    at = 1000.0

    def monotonic(self):
        return self.at


def test_all_hollow_nodes_together_write_no_more_events_than_one_kubelet():
    clock = StoppedClock()
    budget = Budget(clock)
    assert sum(budget.take() for _ in range(500)) == 100
    clock.at += 1.0
    assert sum(budget.take() for _ in range(500)) == 50


async def test_a_deadline_ends_a_pod(client, hollow):
    await pod(client, "a", activeDeadlineSeconds=1)
    failed = await phase(client, "a", "Failed")
    assert failed["status"]["reason"] == "DeadlineExceeded"


async def test_a_status_that_others_patch_stays_and_readiness_follows_it(client, hollow):
    await pod(client, "a", readinessGates=[{"conditionType": "example.com/ready"}])
    found = await phase(client, "a", "Running")
    assert not objects.is_true(found, "Ready")
    condition = {"type": "example.com/ready", "status": "True"}
    patch = {"status": {"conditions": [condition]}}
    await client.patch(PODS, "a", patch, "default", kind="strategic", subresource="status")
    async with asyncio.timeout(5):
        while not objects.is_true(await client.get(PODS, "a", "default"), "Ready"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert "reason" not in objects.condition(await client.get(PODS, "a", "default"), "Ready")


async def seen(client, name, generation, seconds=20.0):
    """The pod once its node has seen this generation."""
    async with asyncio.timeout(seconds):
        while True:
            found = await client.get(PODS, name, "default")
            if found["status"].get("observedGeneration") == generation:
                return found
            await asyncio.sleep(0.01)


async def test_each_of_five_hundred_specifications_is_seen(client, hollow):
    await pod(client, "a")
    await phase(client, "a", "Running")
    for number in range(500):
        image = {"op": "replace", "path": "/spec/containers/0/image", "value": f"busybox:{number}"}
        await client.patch(PODS, "a", [image], "default", kind="json")
    found = await seen(client, "a", 501)
    assert found["status"]["containerStatuses"][0]["image"] == "busybox:499"


async def test_a_resize_is_done_as_asked_for_without_a_restart(client, hollow):
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}
    await pod(client, "a", containers=[{"name": "c", "image": "busybox", "resources": resources}])
    running = await phase(client, "a", "Running")
    assert running["status"]["containerStatuses"][0]["resources"] == resources
    more = {"requests": {"cpu": "150m"}, "limits": {"cpu": "300m"}}
    patch = {"spec": {"containers": [{"name": "c", "resources": more}]}}
    await client.patch(PODS, "a", patch, "default", kind="strategic", subresource="resize")
    status = (await seen(client, "a", 2))["status"]["containerStatuses"][0]
    assert (status["resources"], status["allocatedResources"]) == (more, {"cpu": "150m"})
    assert status["restartCount"] == 0


async def test_an_ephemeral_container_runs_beside_the_others(client, hollow):
    await pod(client, "a")
    await phase(client, "a", "Running")
    debug = {"name": "debug", "image": "busybox", "targetContainerName": "c"}
    patch = {"spec": {"ephemeralContainers": [debug]}}
    await client.patch(PODS, "a", patch, "default", kind="strategic", subresource="ephemeralcontainers")
    status = (await seen(client, "a", 2))["status"]
    assert "running" in status["ephemeralContainerStatuses"][0]["state"]
    assert "running" in status["containerStatuses"][0]["state"]


async def test_a_pod_that_runs_is_not_written_again(client, hollow):
    await pod(client, "a")
    before = await phase(client, "a", "Running")
    hollow._controller.enqueue("default/a")
    await asyncio.sleep(0.2)
    after = await client.get(PODS, "a", "default")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_node_that_was_deleted_registers_again(client, hollow):
    await client.delete(NODES, "hollow-0")
    await client.delete(LEASES, "hollow-0", LEASE_NAMESPACE)
    hollow._registrations[0]._written = -1e9
    async with asyncio.timeout(5):
        while True:
            try:
                node = await client.get(NODES, "hollow-0")
                if objects.is_true(node, "Ready"):
                    return
            except NotFound:
                pass
            await asyncio.sleep(0.02)


async def test_a_second_process_takes_over_running_pods_as_they_are(client, hollow):
    await pod(client, "a", port=9000)
    before = await phase(client, "a", "Running")
    again = HollowNodes(client, hollow._settings)
    task = asyncio.create_task(again.run())
    await asyncio.wait_for(again.registered.wait(), 5)
    async with asyncio.timeout(5):
        while objects.uid(before) not in again.nodes["hollow-0"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    after = await client.get(PODS, "a", "default")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert after["status"] == before["status"]


def test_addresses_are_used_once_and_again_when_free():
    addresses = Addresses("10.0.0.0/30")
    assert (addresses.of("a"), addresses.of("b"), addresses.of("a")) == ("10.0.0.1", "10.0.0.2", "10.0.0.1")
    with pytest.raises(OverflowError, match=r"no pod address is left in 10\.0\.0\.0/30"):
        addresses.of("c")
    addresses.release("a")
    assert addresses.of("c") == "10.0.0.1"
