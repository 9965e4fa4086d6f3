"""Deleting a namespace: all pods go, and go first."""

from __future__ import annotations

from collections.abc import Callable

from conformance_client import API, Object
from conformance_names import conformance
from conformance_steps import condition, gone
from conformance_workloads import LONG, Workloads, deleting, pod, until

POD_SECURITY = "baseline"
NODES = 2


@conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted "
    "[Conformance]"
)
def test_pods_are_removed_with_their_namespace(api: API, new_namespace: Callable[..., str]) -> None:
    name = new_namespace()
    namespaces, work = api.typed("v1", "namespaces"), Workloads(api, name)
    work.pods.create(pod("test-pod"))
    work.pod_running("test-pod")
    namespaces.delete(name)
    gone(namespaces, name, LONG)
    namespaces.create({"metadata": {"name": name}})
    assert work.pods.items() == []
    namespaces.delete(name)


@conformance(
    "[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]"
)
def test_pods_go_before_everything_else(api: API, new_namespace: Callable[..., str]) -> None:
    name = new_namespace()
    namespaces, work = api.typed("v1", "namespaces"), Workloads(api, name)
    configmaps = api.typed("v1", "configmaps", name)
    finalizers = ["e2e.example.com/finalizer"]
    manifest = pod("testpod")
    manifest["metadata"]["finalizers"] = finalizers
    work.pods.create(manifest)
    work.pod_running("testpod")
    configmaps.create(
        {"metadata": {"name": "test-configmap", "finalizers": finalizers}, "data": {"key": "value"}}
    )
    namespaces.delete(name)

    def failed(found: Object) -> bool:
        state = condition(found, "NamespaceDeletionContentFailure")
        return state is not None and state["status"] == "True"

    until(namespaces, name, failed, "says that pods are in the way")
    assert deleting(work.pods.get("testpod"))
    assert not deleting(configmaps.get("test-configmap"))
    work.pods.patch("testpod", {"metadata": {"finalizers": []}})
    gone(work.pods, "testpod")
    until(configmaps, "test-configmap", deleting, "is deleted now")
    configmaps.patch("test-configmap", {"metadata": {"finalizers": []}})
    gone(namespaces, name, LONG)
