"""Storage kinds as objects; immutable ConfigMaps and Secrets."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from conformance_client import API, MERGE, STRATEGIC, Object, Resource
from conformance_crud import holds, lifecycle
from conformance_names import conformance
from conformance_steps import (
    STATUS_PATCH_CONDITION,
    api_operations,
    change,
    check_discovery,
    condition,
    delete_all,
    gone,
    random_name,
    refused,
    wait_count,
    wait_for,
)

POD_SECURITY = "privileged"
STORAGE = "storage.k8s.io/v1"


@conformance("[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]")
def test_the_life_of_a_csi_driver(api: API) -> None:
    drivers = api.typed(STORAGE, "csidrivers")
    name = random_name("inline-driver")
    spec = {"attachRequired": False, "podInfoOnMount": True, "volumeLifecycleModes": ["Ephemeral"]}
    lifecycle(
        drivers,
        {"metadata": {"name": name}, "spec": spec},
        {"spec": {"requiresRepublish": True}},
        lambda o: o["spec"].update(podInfoOnMount=False),
    )


@conformance("[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]")
def test_a_pod_with_an_inline_csi_volume(api: API, namespace: str, pod_spec: Object) -> None:
    name = random_name("inline-driver")
    api.typed(STORAGE, "csidrivers").create(
        {
            "metadata": {
                "name": name, "labels": {"security.kubernetes.io/csi-ephemeral-volume-profile": "restricted"},
            },
            "spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]},
        }
    )  # fmt: skip
    pods = api.typed("v1", "pods", namespace)
    volume = {"name": "test-volume", "csi": {"driver": name, "readOnly": True}}
    spec = {**pod_spec, "volumes": [volume], "nodeSelector": {"e2e": "nowhere"}}
    created = pods.create({"metadata": {"name": "pod-csi-inline-volumes"}, "spec": spec})
    assert volume in created["spec"]["volumes"]
    found = pods.get("pod-csi-inline-volumes")
    assert volume in found["spec"]["volumes"]
    [listed] = [o for o in pods.items() if volume in o["spec"]["volumes"]]
    assert listed["metadata"]["name"] == "pod-csi-inline-volumes"
    patched = pods.patch("pod-csi-inline-volumes", {"metadata": {"labels": {"e2e": "patched"}}}, STRATEGIC)
    assert patched["metadata"]["labels"] == {"e2e": "patched"}
    pods.delete("pod-csi-inline-volumes", gracePeriodSeconds=0)
    gone(pods, "pod-csi-inline-volumes")


@conformance(
    "[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]"
)
def test_the_life_of_a_csi_node(api: API) -> None:
    nodes = api.typed(STORAGE, "csinodes")
    driver = {
        "name": "e2e.example.com",
        "nodeID": "e2e-node-id",
        "topologyKeys": ["topology.e2e.example.com/zone"],
    }
    lifecycle(
        nodes,
        {"metadata": {"name": random_name("e2e-csinode")}, "spec": {"drivers": [driver]}},
        {"spec": {"drivers": [driver, {**driver, "name": "other.example.com"}]}},
        lambda o: o["spec"].update(drivers=[driver]),
    )


@conformance(
    "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]"
)
def test_csi_storage_capacities(api: API, namespace: str) -> None:
    check_discovery(api, STORAGE, "csistoragecapacities")
    resource = api.typed(STORAGE, "csistoragecapacities", namespace)
    value = random_name("e2e")
    selector = f"test={value}"

    def make() -> Object:
        return {
            "metadata": {"generateName": "e2e-csi-", "labels": {"test": value}},
            "storageClassName": "e2e-class",
            "nodeTopology": {"matchLabels": {"zone": "a"}},
            "capacity": "100Gi",
        }

    def edit(obj: Object) -> None:
        obj["capacity"] = "30Gi"
        obj["metadata"]["annotations"]["updated"] = "true"

    updated = api_operations(
        resource, make,
        edit_patch={"metadata": {"annotations": {"patched": "true"}}, "capacity": "20Gi"},
        edit=edit,
        check_edit=lambda o: o["capacity"] == "30Gi",
        selector=selector,
    )  # fmt: skip
    assert len(api.typed(STORAGE, "csistoragecapacities").items(label_selector=selector)) == 3
    delete_all(resource, updated["metadata"]["name"], selector, 2)


def immutable(resource: Resource, base: str, value: Callable[[str], str]) -> None:
    name = random_name(base)
    resource.create({"metadata": {"name": name}, "data": {"data-1": value("value-1")}})
    change(resource, name, lambda o: o["data"].update({"data-4": value("value-4")}))
    change(resource, name, lambda o: o.update(immutable=True))
    with refused("Invalid", "immutable: Forbidden: field is immutable when `immutable` is set"):
        change(resource, name, lambda o: o.pop("immutable"))
    with refused("Invalid", "data: Forbidden: field is immutable when `immutable` is set"):
        change(resource, name, lambda o: o["data"].update({"data-5": value("value-5")}))
    kept = change(resource, name, lambda o: o["metadata"].update(labels={"label1": "value1"}))
    assert kept["metadata"]["labels"] == {"label1": "value1"}
    assert kept["data"] == {"data-1": value("value-1"), "data-4": value("value-4")}
    resource.delete(name)
    gone(resource, name)


@conformance("[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]")
def test_an_immutable_configmap(api: API, namespace: str) -> None:
    immutable(api.typed("v1", "configmaps", namespace), "immutable", lambda text: text)


@conformance("[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]")
def test_an_immutable_secret(api: API, namespace: str) -> None:
    immutable(
        api.typed("v1", "secrets", namespace), "immutable", lambda t: base64.b64encode(t.encode()).decode()
    )


@pytest.fixture
def volume(api: API, namespace: str) -> tuple[str, str]:
    """Names of a PersistentVolume and a claim bound to each other."""
    volumes, claims = (
        api.typed("v1", "persistentvolumes"),
        api.typed("v1", "persistentvolumeclaims", namespace),
    )
    storage_class = random_name("e2e")
    made = volumes.create(
        {
            "metadata": {"generateName": "pv-", "labels": {storage_class: "e2e"}},
            "spec": {
                "storageClassName": storage_class,
                "persistentVolumeReclaimPolicy": "Retain",
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "2Gi"},
                "csi": {"driver": "e2e-driver.example.com", "volumeHandle": "e2e"},
            },
        }
    )
    claim = claims.create(
        {
            "metadata": {"generateName": "pvc-", "labels": {storage_class: "e2e"}},
            "spec": {
                "storageClassName": storage_class,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
    )
    name = claim["metadata"]["name"]
    wait_for(lambda: claims.get(name)["status"].get("phase") == "Bound", "the claim is bound")
    return made["metadata"]["name"], name


@conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]"
)
def test_the_status_of_a_volume_and_a_claim(api: API, namespace: str, volume: tuple[str, str]) -> None:
    volumes = api.typed("v1", "persistentvolumes")
    claims = api.typed("v1", "persistentvolumeclaims", namespace)
    volume_name, claim_name = volume
    assert claims.get(claim_name, "status")["status"]["phase"] == "Bound"
    assert volumes.get(volume_name, "status")["status"]["phase"] in ("Available", "Bound")
    add = lambda o: o["status"].setdefault("conditions", []).append(STATUS_PATCH_CONDITION)  # noqa: E731
    found = condition(change(claims, claim_name, add, "status"), "StatusUpdate")
    assert holds(found, STATUS_PATCH_CONDITION)
    told = {"reason": "E2E-StatusUpdate", "message": "StatusUpdate"}
    updated = change(volumes, volume_name, lambda o: o["status"].update(told), "status")
    assert holds(updated["status"], told)
    patched_condition = {**STATUS_PATCH_CONDITION, "type": "StatusPatched"}
    patched = claims.patch(claim_name, {"status": {"conditions": [patched_condition]}}, MERGE, "status")
    assert holds(condition(patched, "StatusPatched"), patched_condition)
    told = {"reason": "E2E-StatusPatched", "message": "StatusPatched"}
    assert holds(volumes.patch(volume_name, {"status": told}, MERGE, "status")["status"], told)
    claims.delete(claim_name)
    gone(claims, claim_name)
    volumes.delete(volume_name)
    gone(volumes, volume_name)


@conformance(
    "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"
)
def test_the_life_of_a_storage_class(api: API) -> None:
    lifecycle(
        api.typed(STORAGE, "storageclasses"),
        {"metadata": {"name": random_name("e2e-sc")}, "provisioner": "e2e-fake-provisioner"},
        {"allowVolumeExpansion": True},
        lambda o: o.update(allowVolumeExpansion=False),
    )


def attachment(name: str) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {
            "attacher": "e2e-test.storage.k8s.io",
            "nodeName": "e2e-node",
            "source": {"persistentVolumeName": "e2e-pv"},
        },
    }


@conformance(
    "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]"
)
def test_the_life_of_a_volume_attachment(api: API) -> None:
    lifecycle(api.typed(STORAGE, "volumeattachments"), attachment(random_name("va-e2e")), {}, lambda _: None)


@conformance(
    "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"
)
def test_the_status_of_a_volume_attachment(api: API) -> None:
    attachments = api.typed(STORAGE, "volumeattachments")
    name = random_name("va-e2e")
    attachments.create(attachment(name))
    patched = attachments.patch(name, {"metadata": {"labels": {name: "patched"}}}, STRATEGIC)
    assert patched["metadata"]["labels"][name] == "patched"
    read = attachments.get(name, "status")
    assert read["status"] == {"attached": False}
    patched = attachments.patch(name, {"status": {"attached": True}}, MERGE, "status")
    assert patched["status"]["attached"] is True
    updated = change(attachments, name, lambda o: o["status"].update(attached=False), "status")
    assert updated["status"]["attached"] is False
    attachments.delete(name)
    gone(attachments, name)
    wait_count(attachments, 0, label_selector=f"{name}=patched")


@conformance(
    "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a "
    "VolumeAttributesClass [Conformance]"
)
def test_the_life_of_a_volume_attributes_class(api: API) -> None:
    manifest = {
        "metadata": {"name": random_name("e2e-vac")},
        "driverName": "e2e-fake-csi-driver",
        "parameters": {"foo": "bar"},
    }
    classes = api.typed(STORAGE, "volumeattributesclasses")
    lifecycle(classes, manifest, {}, lambda _: None)
