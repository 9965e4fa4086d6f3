"""Claims for devices, from a pod's template to the device given back, with the scheduler."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from controllers_cluster import Cluster, until

from sublet.client.eventseries import SeriesRecorder
from sublet.client.informer import InformerFactory
from sublet.controllers.device_taint_eviction import goes_at
from sublet.kinds.resources import resource
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import NotFound
from sublet.scheduler.catalog import profiles
from sublet.scheduler.configuration import SchedulerSettings
from sublet.scheduler.scheduler import Scheduler

CLAIMS = resource("resourceclaims.resource.k8s.io")
DRIVER = "gpu.example.com"


@pytest.fixture
async def devices(cluster: Cluster):
    """One device on node-1, its class and a template; pods of scheduler ``devices`` are scheduled."""
    selectors = [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]
    await cluster.make("deviceclasses.resource.k8s.io", "gpu", {"selectors": selectors}, "")
    spec = {
        "driver": DRIVER, "nodeName": "node-1", "devices": [{"name": "gpu-0"}],
        "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1},
    }  # fmt: skip
    await cluster.make("resourceslices.resource.k8s.io", "slice", spec, "")
    wanted = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    await cluster.make("resourceclaimtemplates.resource.k8s.io", "one", {"spec": wanted})
    user = cluster.api.client_as(_user("system:kube-scheduler"), "kube-scheduler")
    informers = InformerFactory(user)
    settings = SchedulerSettings(profiles([{"schedulerName": "devices"}]))
    made = Scheduler(
        user, informers, SeriesRecorder(user, "s"), SystemClock(), random.Random(1), settings=settings
    )
    task = asyncio.create_task(made.run())
    yield cluster
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await informers.stop()


def _user(name: str):
    from sublet.client.exchange import User

    return User(name, ("system:authenticated",))


async def pod(cluster: Cluster, name: str, ends: bool = False, **claim: str):
    spec = {
        "containers": [{"name": "c", "image": "busybox", "resources": {"claims": [{"name": "gpu"}]}}],
        "resourceClaims": [{"name": "gpu", **(claim or {"resourceClaimTemplateName": "one"})}],
        "schedulerName": "devices",
    }
    if ends:
        spec["restartPolicy"] = "Never"
    annotations = {"sublet.dev/hollow-exit-code": "0"} if ends else {}
    return await cluster.make("pods", name, spec, annotations=annotations)


async def claim_of(cluster: Cluster, name: str):
    found = await cluster.get("pods", name)
    statuses = (found.get("status") or {}).get("resourceClaimStatuses") or []
    if not statuses:
        return None
    return await cluster.get(CLAIMS.plural + ".resource.k8s.io", statuses[0]["resourceClaimName"])


async def test_a_pod_gets_a_claim_of_its_own_and_runs_where_the_device_is(devices: Cluster) -> None:
    await pod(devices, "p")

    async def running():
        found = await devices.get("pods", "p")
        return found if found["status"].get("phase") == "Running" else None

    found = await until(running)
    assert found["spec"]["nodeName"] == "node-1"
    claim = await claim_of(devices, "p")
    assert claim["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"] == "gpu"
    assert claim["metadata"]["ownerReferences"][0]["name"] == "p"
    assert claim["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
    assert claim["status"]["allocation"]["devices"]["results"][0]["device"] == "gpu-0"
    assert [user["name"] for user in claim["status"]["reservedFor"]] == ["p"]


async def test_a_second_pod_waits_until_the_device_is_given_back(devices: Cluster) -> None:
    await pod(devices, "first")

    async def placed(name: str):
        return (await devices.get("pods", name))["spec"].get("nodeName")

    await until(lambda: placed("first"))
    await pod(devices, "second")

    async def refused():
        conditions = (await devices.get("pods", "second"))["status"].get("conditions") or ()
        return next((c["message"] for c in conditions if "cannot allocate" in c.get("message", "")), None)

    text = await until(refused)
    assert "2 cannot allocate all claims" in text and ". still not schedulable, preemption: " in text
    await devices.client.delete(resource("pods"), "first", "test", grace=0)
    await until(lambda: placed("second"), 20)


async def test_a_claim_of_the_users_own_outlives_its_pod_but_not_its_allocation(devices: Cluster) -> None:
    wanted = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    await devices.make("resourceclaims.resource.k8s.io", "mine", wanted)
    await pod(devices, "p", resourceClaimName="mine")

    async def state(held: bool):
        claim = await devices.get("resourceclaims.resource.k8s.io", "mine")
        facts = (claim.get("status") or {}).get("allocation"), claim["metadata"].get("finalizers")
        return all(facts) if held else not any(facts)

    await until(lambda: state(True))
    await devices.client.delete(resource("pods"), "p", "test", grace=0)
    await until(lambda: state(False))


async def test_what_a_driver_said_of_a_device_does_not_keep_it_from_being_given_back(
    devices: Cluster,
) -> None:
    wanted = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    await devices.make("resourceclaims.resource.k8s.io", "mine", wanted)
    await pod(devices, "p", resourceClaimName="mine")
    await until(lambda: runs(devices, "p"))
    claim = await devices.get("resourceclaims.resource.k8s.io", "mine")
    await says(devices, claim, "Ready")
    await devices.client.delete(resource("pods"), "p", "test", grace=0)

    async def given_back():
        claim = await devices.get("resourceclaims.resource.k8s.io", "mine")
        return not (claim.get("status") or {}).keys() & {"allocation", "devices", "reservedFor"}

    await until(given_back)


async def test_the_claim_made_for_a_pod_goes_when_the_pod_has_ended(devices: Cluster) -> None:
    await pod(devices, "p", ends=True)

    async def ended():
        return (await devices.get("pods", "p"))["status"].get("phase") == "Succeeded"

    claim = await until(lambda: claim_of(devices, "p"))
    await until(ended)

    async def gone():
        try:
            await devices.client.get(CLAIMS, claim["metadata"]["name"], "test")
        except NotFound:
            return True
        return False

    await until(gone)


# -- extended resources that classes serve --


async def extended(cluster: Cluster, name: str, of: str, ends: bool = False) -> None:
    """A pod whose container asks for one of an extended resource."""
    asked = {"requests": {of: "1"}, "limits": {of: "1"}}
    container = {"name": "c", "image": "busybox", "resources": asked}
    spec = {"containers": [container], "schedulerName": "devices", "restartPolicy": "Never"}
    annotations = {"sublet.dev/hollow-exit-code": "0"} if ends else {}
    await cluster.make("pods", name, spec, annotations=annotations)


async def test_a_pod_gets_the_device_of_a_class_that_stands_for_an_extended_resource(
    devices: Cluster,
) -> None:
    classes = resource("deviceclasses.resource.k8s.io")
    await devices.client.patch(classes, "gpu", {"spec": {"extendedResourceName": "example.com/gpu"}})
    await extended(devices, "p", "example.com/gpu")
    await until(lambda: runs(devices, "p"))
    found = await devices.get("pods", "p")
    assert found["spec"]["nodeName"] == "node-1"
    told = found["status"]["extendedResourceClaimStatus"]
    assert told["requestMappings"] == [
        {
            "containerName": "c",
            "resourceName": "example.com/gpu",
            "requestName": "container-0-request-0",
        }
    ]
    claim = await devices.get("resourceclaims.resource.k8s.io", told["resourceClaimName"])
    assert claim["metadata"]["generateName"] == "p-extended-resources-"
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    (result,) = claim["status"]["allocation"]["devices"]["results"]
    assert (result["device"], result["request"]) == ("gpu-0", "container-0-request-0")
    await extended(devices, "second", "example.com/gpu")

    async def waits():
        conditions = (await devices.get("pods", "second"))["status"].get("conditions") or ()
        return any("cannot allocate all claims" in each.get("message", "") for each in conditions)

    await until(waits)
    await devices.client.delete(resource("pods"), "p", "test", grace=0)
    await until(lambda: runs(devices, "second"), 20)


async def test_the_claim_for_extended_resources_goes_when_its_pod_has_ended(devices: Cluster) -> None:
    classes = resource("deviceclasses.resource.k8s.io")
    await devices.client.patch(classes, "gpu", {"spec": {"extendedResourceName": "example.com/gpu"}})
    await extended(devices, "p", "example.com/gpu", ends=True)

    async def over():
        found = await devices.get("pods", "p")
        return found["status"].get("phase") == "Succeeded" and not await devices.items(
            "resourceclaims.resource.k8s.io"
        )

    await until(over)


# -- devices that are made ready after they were allocated --


async def wanting_ready(cluster: Cluster) -> None:
    """The only device has to be made ready first."""
    found = await cluster.get("resourceslices.resource.k8s.io", "slice", "")
    found["spec"]["devices"][0] |= {
        "bindingConditions": ["example.com/Ready"], "bindingFailureConditions": ["example.com/Failed"],
    }  # fmt: skip
    await cluster.client.update(resource("resourceslices.resource.k8s.io"), found)


async def allocated(cluster: Cluster) -> Any:
    claim = await claim_of(cluster, "p")
    return claim if claim and (claim.get("status") or {}).get("allocation") else None


async def says(cluster: Cluster, claim: Any, kind: str) -> None:
    """The driver sets a condition of the device."""
    now = "2026-01-01T00:00:00Z"
    condition = {"type": kind, "status": "True", "reason": "r", "message": "m", "lastTransitionTime": now}
    told = {"driver": DRIVER, "pool": "node-1", "device": "gpu-0", "conditions": [condition]}
    await cluster.client.patch(
        CLAIMS, claim["metadata"]["name"], {"status": {"devices": [told]}}, "test", subresource="status"
    )


async def test_a_pod_is_bound_once_its_device_is_ready(devices: Cluster) -> None:
    await wanting_ready(devices)
    await pod(devices, "p")
    claim = await until(lambda: allocated(devices))
    await asyncio.sleep(0.2)
    found = await devices.get("pods", "p")
    assert not found["spec"].get("nodeName")
    assert found["status"]["nominatedNodeName"] == "node-1"
    await says(devices, claim, "example.com/Ready")
    await until(lambda: runs(devices, "p"))
    assert "nominatedNodeName" not in (await devices.get("pods", "p"))["status"]


async def test_a_device_that_cannot_be_made_ready_is_taken_from_the_claim(devices: Cluster) -> None:
    await wanting_ready(devices)
    await pod(devices, "p")
    claim = await until(lambda: allocated(devices))
    await says(devices, claim, "example.com/Failed")

    name = claim["metadata"]["name"]

    async def told():
        found = " ".join(each["message"] for each in await devices.items("events"))
        return (
            "waiting for binding conditions for device on node node-1" in found
            and f'device binding failed: claim {name} binding failed: reason=r, message="m"' in found
            and " resourceclaim not available on the node. deallocation of ResourceClaim completed, preemption: "
            in found
        )

    await until(told)
    assert not (await devices.get("pods", "p"))["spec"].get("nodeName")

    async def again():
        found = await allocated(devices)
        return found and not found["status"].get("devices")

    await until(again)


async def test_a_claim_of_a_class_that_is_not_there_waits_for_it(devices: Cluster) -> None:
    wanted = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "later"}}]}}
    await devices.make(CLAIMS.qualified, "mine", wanted)
    await pod(devices, "p", resourceClaimName="mine")

    async def refused():
        conditions = (await devices.get("pods", "p"))["status"].get("conditions") or ()
        return next((c["message"] for c in conditions if "later" in c.get("message", "")), None)

    assert await until(refused) == (
        "0/2 nodes are available: request r: device class later does not exist. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    await devices.make("deviceclasses.resource.k8s.io", "later", {}, "")
    await until(lambda: runs(devices, "p"))


async def test_a_claim_whose_node_is_gone_gets_devices_elsewhere(devices: Cluster) -> None:
    wanted = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    claim = await devices.make(CLAIMS.qualified, "mine", wanted)
    where = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gone"]}]}
    device = {"request": "r", "driver": DRIVER, "pool": "gone", "device": "gpu-0"}
    allocation = {"devices": {"results": [device]}, "nodeSelector": {"nodeSelectorTerms": [where]}}
    await devices.client.update_status(CLAIMS, {**claim, "status": {"allocation": allocation}})
    await pod(devices, "p", resourceClaimName="mine")
    await until(lambda: runs(devices, "p"))
    claim = await devices.get(CLAIMS.qualified, "mine")
    assert claim["status"]["allocation"]["devices"]["results"][0]["pool"] == "node-1"


# -- taints of devices --


async def taint(cluster: Cluster, *taints: object) -> None:
    """The only device has these taints from now on."""
    found = await cluster.get("resourceslices.resource.k8s.io", "slice", "")
    found["spec"]["devices"][0]["taints"] = list(taints)
    await cluster.client.update(resource("resourceslices.resource.k8s.io"), found)


async def runs(cluster: Cluster, name: str) -> bool:
    return bool((await cluster.get("pods", name))["status"].get("phase") == "Running")


async def told(cluster: Cluster, message: str) -> bool:
    found = await cluster.items("events")
    return any((each["reason"], each["message"]) == ("DeviceTaintManagerEviction", message) for each in found)


async def test_a_pod_goes_whose_device_gets_a_taint_that_its_claim_does_not_bear(devices: Cluster) -> None:
    await devices.make("pods", "other", {"containers": [{"name": "c", "image": "busybox"}]})
    await pod(devices, "p")
    await until(lambda: runs(devices, "p"))
    await devices.client.patch(
        resource("pods"), "p", {"metadata": {"finalizers": ["example.com/stay"]}}, "test"
    )
    await taint(devices, {"key": "broken", "effect": "NoSchedule"})
    await taint(devices, {"key": "broken", "effect": "NoExecute"})

    async def leaving():
        found = await devices.get("pods", "p")
        return found if found["metadata"].get("deletionTimestamp") else None

    found = await until(leaving)
    (condition,) = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (condition["reason"], condition["message"]) == (
        "DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint",
    )  # fmt: skip
    await until(lambda: told(devices, "Marking for deletion"))
    assert not (await devices.get("pods", "other"))["metadata"].get("deletionTimestamp")
    await devices.client.patch(resource("pods"), "p", {"metadata": {"finalizers": None}}, "test")


async def test_a_pod_whose_claim_bears_the_taint_for_a_while_stays_when_it_goes_in_time(
    devices: Cluster,
) -> None:
    toleration = {"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}
    asked = {"deviceClassName": "gpu", "tolerations": [toleration]}
    wanted = {"devices": {"requests": [{"name": "r", "exactly": asked}]}}
    await devices.make("resourceclaims.resource.k8s.io", "mine", wanted)
    await pod(devices, "p", resourceClaimName="mine")
    await until(lambda: runs(devices, "p"))

    async def cancelled():
        await taint(devices, {"key": "broken", "effect": "NoExecute"})
        await asyncio.sleep(0.05)  # a taint that is gone before it is seen leaves no trace: then once more
        await taint(devices)
        return await told(devices, "Cancelling deletion")

    await until(cancelled)
    assert not (await devices.get("pods", "p"))["metadata"].get("deletionTimestamp")


def test_the_taint_that_is_borne_shortest_decides_when_a_pod_goes() -> None:
    added = {"timeAdded": "1970-01-01T00:01:40Z"}
    taints = [
        {"key": "a", "effect": "NoExecute", **added},
        {"key": "b", "effect": "NoExecute", "value": "x", **added},
    ]
    every = {"operator": "Exists"}
    assert goes_at({"tolerations": [every]}, taints) is None
    assert goes_at({}, taints) == 100.0
    some = [{"key": "a", "operator": "Exists", "tolerationSeconds": 60}]
    assert (
        goes_at({"tolerations": [*some, {"key": "b", "value": "x", "tolerationSeconds": 30}]}, taints)
        == 130.0
    )
    assert goes_at({"tolerations": [*some, {"key": "b", "value": "y"}]}, taints) == 100.0
