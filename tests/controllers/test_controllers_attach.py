"""Volumes that must be attached to nodes, and claims that ask for more."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_cluster import Cluster, until

from sublet.controllers.persistentvolume_attach_detach import attachment_name
from sublet.kinds.resources import resource
from sublet.machinery.status import NotFound

ATTACHMENTS = "volumeattachments.storage.k8s.io"
DRIVER = "csi.example.com"


@pytest.fixture
async def volume(cluster: Cluster) -> Cluster:
    """A bound claim ``data`` on the CSI volume ``v``."""
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": DRIVER, "volumeHandle": "handle"}, "storageClassName": "",
        "claimRef": {"namespace": "test", "name": "data"},
    }  # fmt: skip
    await cluster.make("persistentvolumes", "v", spec, "")
    wanted = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "v",
        "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip
    await cluster.make("persistentvolumeclaims", "data", wanted)

    async def bound() -> bool:
        return (await cluster.get("persistentvolumeclaims", "data"))["status"].get("phase") == "Bound"

    await until(bound)
    return cluster


async def pod(cluster: Cluster, name: str, node: str) -> None:
    spec = {
        "nodeName": node, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "busybox"}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
    }  # fmt: skip
    await cluster.make("pods", name, spec)


async def attachment(cluster: Cluster, node: str) -> Any:
    try:
        return await cluster.get(ATTACHMENTS, attachment_name(DRIVER, "handle", node), "")
    except NotFound:
        return None


async def messages(cluster: Cluster, pod_name: str, reason: str) -> list[str]:
    found = await cluster.items("events")
    return [e["message"] for e in found if e["involvedObject"]["name"] == pod_name and e["reason"] == reason]


async def test_a_volume_is_attached_for_a_pod_reported_on_its_node_and_detached_after(
    volume: Cluster,
) -> None:
    await pod(volume, "p", "node-0")
    made = await until(lambda: attachment(volume, "node-0"))
    assert made["spec"] == {
        "attacher": DRIVER, "nodeName": "node-0", "source": {"persistentVolumeName": "v"}
    }  # fmt: skip
    attached = {"status": {"attached": True}}
    name = made["metadata"]["name"]
    await volume.client.patch(resource(ATTACHMENTS), name, attached, subresource="status")

    async def reported() -> Any:
        return (await volume.get("nodes", "node-0", ""))["status"].get("volumesAttached")

    listed = await until(reported)
    assert listed == [{"name": f"kubernetes.io/csi/{DRIVER}^handle", "devicePath": ""}]
    assert await until(lambda: messages(volume, "p", "SuccessfulAttachVolume"))
    await volume.client.delete(resource("pods"), "p", "test", grace=0)

    async def gone() -> bool:
        return await attachment(volume, "node-0") is None and not await reported()

    await until(gone)


async def test_a_volume_for_one_node_is_attached_to_another_only_once_it_is_free(volume: Cluster) -> None:
    await pod(volume, "first", "node-0")
    await until(lambda: attachment(volume, "node-0"))
    await pod(volume, "second", "node-1")
    said = await until(lambda: messages(volume, "second", "FailedAttachVolume"))
    assert said == ['Multi-Attach error for volume "v" Volume is already used by pod(s) first']
    assert await attachment(volume, "node-1") is None
    await volume.client.delete(resource("pods"), "first", "test", grace=0)
    await until(lambda: attachment(volume, "node-1"))


async def test_a_node_that_still_uses_a_volume_keeps_it(volume: Cluster) -> None:
    in_use = {"status": {"volumesInUse": [f"kubernetes.io/csi/{DRIVER}^handle"]}}
    await pod(volume, "p", "node-0")
    await until(lambda: attachment(volume, "node-0"))
    await volume.client.patch(resource("nodes"), "node-0", in_use, subresource="status")
    await volume.client.delete(resource("pods"), "p", "test", grace=0)
    with pytest.raises(AssertionError):
        await until(lambda: _absent(volume), 1.0)
    free = {"status": {"volumesInUse": None}}
    await volume.client.patch(resource("nodes"), "node-0", free, subresource="status")
    await until(lambda: _absent(volume))


async def _absent(cluster: Cluster) -> bool:
    return await attachment(cluster, "node-0") is None


async def test_a_driver_that_attaches_nothing_gets_no_attachment(volume: Cluster) -> None:
    await volume.make("csidrivers.storage.k8s.io", DRIVER, {"attachRequired": False}, "")
    await pod(volume, "p", "node-0")

    async def running() -> bool:
        return (await volume.get("pods", "p"))["status"].get("phase") == "Running"

    await until(running)
    assert await attachment(volume, "node-0") is None


async def test_a_claim_that_asks_for_more_waits_for_its_resizer(cluster: Cluster) -> None:
    stated = {"provisioner": DRIVER, "allowVolumeExpansion": True}
    kind = resource("storageclasses.storage.k8s.io")
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "grows"}}
    await cluster.client.create(kind, {**head, **stated})
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "grows",
        "csi": {"driver": DRIVER, "volumeHandle": "h"},
    }  # fmt: skip
    await cluster.make("persistentvolumes", "v", spec, "")
    wanted = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "grows",
        "resources": {"requests": {"storage": "1Gi"}},
    }  # fmt: skip
    await cluster.make("persistentvolumeclaims", "data", wanted)

    async def bound() -> bool:
        return (await cluster.get("persistentvolumeclaims", "data"))["status"].get("phase") == "Bound"

    await until(bound)
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await cluster.client.patch(resource("persistentvolumeclaims"), "data", more, "test")

    async def told() -> list[str]:
        return [e["message"] for e in await cluster.items("events") if e["reason"] == "ExternalExpanding"]

    assert await until(told) == ["waiting for an external controller to expand this PVC"]
