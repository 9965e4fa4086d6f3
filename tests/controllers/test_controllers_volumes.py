"""Binding claims and volumes: which suit, what becomes of volumes without a claim, and what users are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import Cluster, running

from sublet.controllers.persistentvolume_binder import binder, matching
from sublet.kinds.resources import resource

VOLUMES, CLAIMS = resource("persistentvolumes"), resource("persistentvolumeclaims")
CLASSES = resource("storageclasses.storage.k8s.io")


def volume(name: str = "v", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    annotations = spec.pop("annotations", {})
    stated = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "", **spec}
    if not {"csi", "nfs", "hostPath"} & stated.keys():
        stated["hostPath"] = {"path": f"/data/{name}"}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": stated}


def claim(name: str = "c", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "test"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": size}}, **spec,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "wanted", "message"),
    [
        ({"size": "1Mi"}, {}, "requested PV is too small"),
        ({"storageClassName": "fast"}, {}, "storageClassName does not match"),
        ({"volumeAttributesClassName": "gold"}, {}, "volumeAttributesClassName does not match"),
        ({"volumeMode": "Block"}, {}, "incompatible volumeMode"),
        ({}, {"accessModes": ["ReadWriteMany"]}, "incompatible accessMode"),
        ({}, {}, ""),
    ],
)
def test_a_volume_that_is_named_must_suit(spec: Any, wanted: Any, message: str) -> None:
    assert matching.mismatch(volume(**spec), claim(**wanted)) == message


def test_the_smallest_volume_that_suits_is_taken() -> None:
    some = [volume("large", "10Gi"), volume("small", "2Gi"), volume("tiny", "1Mi")]
    found = matching.best(some, claim())
    assert found is not None and found["metadata"]["name"] == "small"


def test_pods_that_wait_are_named() -> None:
    def pod(name: str, **spec: Any) -> Any:
        return {"metadata": {"name": name}, "spec": spec}

    assert binder.waiting_for([]) == (
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
    )
    assert binder.waiting_for([pod("a"), pod("z", nodeName="n")])[1] == "waiting for pod a to be scheduled"
    assert binder.waiting_for([pod("b"), pod("a")]) == (
        "WaitForPodScheduled",
        "waiting for pods a,b to be scheduled",
    )


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"persistentVolumeReclaimPolicy": "Recycle"},
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!",
        ),
        (
            {"persistentVolumeReclaimPolicy": "Delete"},
            "VolumeFailedDelete",
            "host_path deleter only supports /tmp/.+ but received provided /data/v",
        ),
        (
            {"persistentVolumeReclaimPolicy": "Delete", "nfs": {"server": "s", "path": "/"}},
            "VolumeFailedDelete",
            'error getting deleter volume plugin for volume "v": no deletable volume plugin matched',
        ),
    ],
)
def test_a_released_volume_that_nobody_takes_away_says_why(spec: Any, reason: str, message: str) -> None:
    assert binder.unreclaimable(volume(**spec)) == (reason, message)


def test_a_released_volume_is_left_to_whoever_made_it() -> None:
    made = volume(persistentVolumeReclaimPolicy="Delete", annotations={binder.PROVISIONED_BY: "example.com"})
    assert binder.unreclaimable(made) is None
    assert binder.unreclaimable(volume(persistentVolumeReclaimPolicy="Retain")) is None


@pytest.fixture
async def binding() -> AsyncIterator[Cluster]:
    async with running({"persistentvolume-binder-controller", "serviceaccount-controller"}, 0) as found:
        await found.namespace()
        yield found


async def told(cluster: Cluster, reason: str) -> list[str]:
    return [e["message"] for e in await cluster.items("events", "") if e["reason"] == reason]


async def phase(cluster: Cluster, plural: str, name: str, wanted: str) -> Any:
    found = await cluster.get(plural, name, "" if plural == "persistentvolumes" else "test")
    return found if (found.get("status") or {}).get("phase") == wanted else None


async def test_a_volume_fails_when_its_claim_is_gone_and_it_cannot_be_deleted(
    binding: Cluster, eventually: Any
) -> None:
    nfs = {"server": "s", "path": "/"}
    await binding.client.create(VOLUMES, volume(persistentVolumeReclaimPolicy="Delete", nfs=nfs))
    await binding.client.create(CLAIMS, claim(), "test")
    bound = await eventually(lambda: phase(binding, "persistentvolumes", "v", "Bound"))
    assert bound["status"]["lastPhaseTransitionTime"]
    await eventually(lambda: phase(binding, "persistentvolumeclaims", "c", "Bound"))
    await binding.client.patch(CLAIMS, "c", {"metadata": {"finalizers": None}}, "test")
    await binding.client.delete(CLAIMS, "c", "test")
    failed = await eventually(lambda: phase(binding, "persistentvolumes", "v", "Failed"))
    assert "no deletable volume plugin matched" in failed["status"]["message"]
    await eventually(lambda: told(binding, "VolumeFailedDelete"))


async def test_a_claim_whose_class_makes_no_volumes_says_so(binding: Cluster, eventually: Any) -> None:
    local = {"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner"}
    await binding.client.create(CLASSES, local)
    await binding.client.create(CLAIMS, claim(storageClassName="local"), "test")
    assert await eventually(lambda: told(binding, "ProvisioningFailed")) == [
        "no volume plugin matched name: kubernetes.io/no-provisioner"
    ]


async def test_a_claim_that_waits_for_a_pod_names_it(binding: Cluster, eventually: Any) -> None:
    late = {
        "metadata": {"name": "late"},
        "provisioner": "x.io/y",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    await binding.client.create(CLASSES, late)
    await binding.client.create(CLAIMS, claim(storageClassName="late"), "test")
    await eventually(lambda: told(binding, "WaitForFirstConsumer"))
    await eventually(lambda: binding.items("serviceaccounts"))
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    await binding.make("pods", "user", spec)
    assert await eventually(lambda: told(binding, "WaitForPodScheduled")) == [
        "waiting for pod user to be scheduled"
    ]


async def test_a_volume_made_for_a_claim_that_was_bound_elsewhere_waits_for_it_again(
    binding: Cluster, eventually: Any
) -> None:
    await binding.client.create(VOLUMES, volume("first"))
    made = await binding.client.create(CLAIMS, claim(volumeName="first"), "test")
    await eventually(lambda: phase(binding, "persistentvolumeclaims", "c", "Bound"))
    reference = {
        "kind": "PersistentVolumeClaim",
        "namespace": "test",
        "name": "c",
        "uid": made["metadata"]["uid"],
    }
    await binding.client.create(VOLUMES, volume("second", claimRef=reference))

    async def free() -> Any:
        found = await phase(binding, "persistentvolumes", "second", "Available")
        return found if found and "uid" not in found["spec"]["claimRef"] else None

    kept = (await eventually(free))["spec"]["claimRef"]
    assert (kept["namespace"], kept["name"]) == ("test", "c")


async def test_a_pod_learns_that_its_ephemeral_volume_has_somebody_elses_claim(eventually: Any) -> None:
    async with running({"ephemeral-volume-controller", "serviceaccount-controller"}, 0) as cluster:
        await cluster.namespace()
        await cluster.client.create(CLAIMS, claim("user-scratch"), "test")
        await eventually(lambda: cluster.items("serviceaccounts"))
        template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        volumes = [
            {"name": name, "ephemeral": {"volumeClaimTemplate": template}} for name in ("cache", "scratch")
        ]
        await cluster.make("pods", "user", {"containers": [{"name": "c", "image": "i"}], "volumes": volumes})
        found = await eventually(lambda: told(cluster, "FailedBinding"))
        assert found == [
            "ephemeral volume scratch: PVC test/user-scratch was not created for pod test/user (pod is not owner)"
        ]
        made = await cluster.get("persistentvolumeclaims", "user-cache")
        assert made["metadata"]["ownerReferences"][0]["name"] == "user"
