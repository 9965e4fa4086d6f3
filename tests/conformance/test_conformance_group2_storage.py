"""Volumes as far as the node's word that a pod runs, and the life of a volume and its claim."""

from __future__ import annotations

from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import change, gone, random_name, wait_count
from conformance_workloads import (
    AGNHOST,
    PAUSE,
    Workloads,
    container,
    controller,
    pod,
    until,
)

POD_SECURITY = "baseline"
NODES = 2


@conformance("[sig-storage] EmptyDir wrapper volumes should not conflict [Conformance]")
def test_wrapped_volumes_do_not_conflict(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    secrets, configmaps = api.typed("v1", "secrets", namespace), api.typed("v1", "configmaps", namespace)
    secrets.create({"metadata": {"name": "emptydir-wrapper-test"}, "data": {"data-1": "dmFsdWUtMQ=="}})
    configmaps.create({"metadata": {"name": "emptydir-wrapper-test"}, "data": {"data-1": "value-1"}})
    volumes = [
        {"name": "secret-volume", "secret": {"secretName": "emptydir-wrapper-test"}},
        {"name": "configmap-volume", "configMap": {"name": "emptydir-wrapper-test"}},
    ]
    mounts = [
        {"name": "secret-volume", "mountPath": "/etc/secret-volume", "readOnly": True},
        {"name": "configmap-volume", "mountPath": "/etc/configmap-volume"},
    ]
    wrapped = container("secret-test", AGNHOST, volumeMounts=mounts)
    work.pods.create(pod("pod-secrets", containers=[wrapped], volumes=volumes))
    work.pod_running("pod-secrets")
    work.pods.delete("pod-secrets")
    gone(work.pods, "pod-secrets")


VOLUMES, PODS, ROUNDS = 50, 5, 3


@conformance(
    "[sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial] "
    "[Conformance]"
)
def test_many_configmaps_in_many_pods(api: API, namespace: str) -> None:
    work, configmaps = Workloads(api, namespace), api.typed("v1", "configmaps", namespace)
    names = [f"racey-configmap-{number}" for number in range(VOLUMES)]
    for name in names:
        configmaps.create({"metadata": {"name": name}, "data": {"data-1": "value-1"}})
    items = [{"key": "data-1", "path": "data-1"}]
    volumes = [{"name": n, "configMap": {"name": n, "items": items}} for n in names]
    mounts = [{"name": n, "mountPath": f"/etc/config-{i}"} for i, n in enumerate(names)]
    for _ in range(ROUNDS):
        name = random_name("wrapped-volume-race")
        manifest = controller(
            name, PODS, {"name": name}, container("test-container", PAUSE, volumeMounts=mounts)
        )
        manifest["spec"]["template"]["spec"]["volumes"] = volumes
        work.controllers.create(manifest)
        work.running(PODS, selector=f"name={name}")
        work.controllers.delete(name, propagationPolicy="Background")
        work.no_pods(f"name={name}")


def volume(name: str, labels: Object, storage_class: str) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class,
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "inline-driver-e2e", "volumeHandle": name},
        },
    }  # fmt: skip


def claim(name: str, labels: Object, storage_class: str) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip


@conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]"
)
def test_the_life_of_a_volume_and_its_claim(api: API, namespace: str) -> None:
    volumes = api.typed("v1", "persistentvolumes")
    claims = api.typed("v1", "persistentvolumeclaims", namespace)
    everywhere = api.typed("v1", "persistentvolumeclaims")
    label, storage_class = random_name("pv"), random_name("e2e-conformance")
    labels, selector = {"e2e-pv-pool": label}, f"e2e-pv-pool={label}"

    made = volumes.create(volume(label, labels, storage_class))
    assert volumes.get(label)["metadata"]["uid"] == made["metadata"]["uid"]
    asked = claims.create(claim(label, labels, storage_class))
    assert asked["metadata"]["name"] == label
    assert [v["metadata"]["name"] for v in volumes.items(label_selector=selector)] == [label]
    assert [c["metadata"]["name"] for c in claims.items(label_selector=selector)] == [label]
    mark = {"metadata": {"labels": {label: "patched"}}}
    assert volumes.patch(label, mark, STRATEGIC)["metadata"]["labels"][label] == "patched"
    assert claims.patch(label, mark, STRATEGIC)["metadata"]["labels"][label] == "patched"
    until(volumes, label, lambda o: (o.get("status") or {}).get("phase") == "Bound", "bound")
    until(claims, label, lambda o: (o.get("status") or {}).get("phase") == "Bound", "bound")
    claims.delete(label)
    gone(claims, label)
    volumes.delete(label)
    gone(volumes, label)

    second = random_name("pv")
    volumes.create(volume(second, labels, storage_class))
    claims.create(claim(second, labels, storage_class))
    for resource in (volumes, claims):
        updated = change(resource, second, lambda o: o["metadata"]["labels"].update({second: "updated"}))
        assert updated["metadata"]["labels"][second] == "updated"
    assert len(everywhere.items(label_selector=f"{second}=updated")) == 1
    claims.delete_collection(f"{second}=updated")
    wait_count(everywhere, 0, label_selector=f"{second}=updated")
    volumes.delete_collection(f"{second}=updated")
    wait_count(volumes, 0, label_selector=f"{second}=updated")
