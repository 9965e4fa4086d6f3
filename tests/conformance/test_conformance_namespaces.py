"""Namespaces and ResourceQuotas."""

from __future__ import annotations

from collections.abc import Callable

from conformance_client import API, MERGE, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import (
    STATUS_PATCH_CONDITION,
    change,
    condition,
    gone,
    random_name,
    refused,
    wait_count,
    wait_for,
)

SERIAL = "[sig-api-machinery] Namespaces [Serial] should "
QUOTA = "[sig-api-machinery] ResourceQuota should "
NewNamespace = Callable[..., str]


@conformance(f"{SERIAL}patch a Namespace [Conformance]")
def test_a_namespace_is_patched(api: API, namespace: str) -> None:
    namespaces = api.typed("v1", "namespaces")
    namespaces.patch(namespace, {"metadata": {"labels": {"testLabel": "testValue"}}}, STRATEGIC)
    found = namespaces.get(namespace)
    assert found["metadata"]["labels"]["testLabel"] == "testValue"
    assert found["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace


@conformance(f"{SERIAL}apply an update to a Namespace [Conformance]")
def test_a_namespace_is_updated(api: API, namespace: str) -> None:
    label = {namespace: "updated"}
    updated = change(
        api.typed("v1", "namespaces"), namespace, lambda o: o["metadata"]["labels"].update(label)
    )
    assert updated["metadata"]["labels"][namespace] == "updated"


@conformance(f"{SERIAL}apply changes to a namespace status [Conformance]")
def test_a_namespace_status_is_read_patched_and_updated(api: API, namespace: str) -> None:
    namespaces = api.dynamic("v1", "namespaces", "Namespace")
    assert namespaces.get(namespace, "status")["status"]["phase"] == "Active"
    patched = namespaces.patch(
        namespace,
        {
            "metadata": {"annotations": {"e2e-patched-ns-status": namespace}},
            "status": {"conditions": [{**STATUS_PATCH_CONDITION, "type": "StatusPatch"}]},
        },
        MERGE,
        "status",
    )
    assert patched["metadata"]["annotations"]["e2e-patched-ns-status"] == namespace
    assert condition(patched, "StatusPatch")

    def add(found: Object) -> None:
        found["status"].setdefault("conditions", []).append(STATUS_PATCH_CONDITION)

    updated = change(api.typed("v1", "namespaces"), namespace, add, "status")
    found = condition(updated, "StatusUpdate")
    assert found and (found["status"], found["reason"], found["message"]) == (
        "True",
        "E2E",
        "Set from e2e test",
    )
    assert updated["status"]["phase"] == "Active"


@conformance(f"{SERIAL}apply a finalizer to a Namespace [Conformance]")
def test_a_namespace_gets_and_loses_a_finalizer(api: API, namespace: str) -> None:
    namespaces = api.typed("v1", "namespaces")
    fake = "e2e.example.com/fakeFinalizer"
    updated = change(namespaces, namespace, lambda o: o["spec"]["finalizers"].append(fake), "finalize")
    assert updated["spec"]["finalizers"] == ["kubernetes", fake]
    assert namespaces.get(namespace)["spec"]["finalizers"] == ["kubernetes", fake]
    updated = change(namespaces, namespace, lambda o: o["spec"]["finalizers"].remove(fake), "finalize")
    assert updated["spec"]["finalizers"] == ["kubernetes"]
    assert namespaces.get(namespace)["status"]["phase"] == "Active"


@conformance(f"{SERIAL}ensure that all services are removed when a namespace is deleted [Conformance]")
def test_services_go_with_their_namespace(api: API, new_namespace: NewNamespace) -> None:
    name = new_namespace()
    namespaces = api.typed("v1", "namespaces")
    labels = namespaces.get(name)["metadata"]["labels"]
    service = {
        "metadata": {"name": "test-service"},
        "spec": {"selector": {"foo": "bar", "baz": "blah"}, "ports": [{"port": 80, "targetPort": 80}]},
    }
    services = api.typed("v1", "services", name)
    assert services.create(service)["spec"]["clusterIP"]
    namespaces.delete(name)
    gone(namespaces, name)
    again = namespaces.create({"metadata": {"name": name, "labels": labels}})
    assert again["metadata"]["name"] == name
    with refused("NotFound"):
        services.get("test-service")


@conformance(f"{QUOTA}be able to update and delete ResourceQuota. [Conformance]")
def test_a_quota_is_updated_and_deleted(api: API, namespace: str) -> None:
    quotas = api.typed("v1", "resourcequotas", namespace)
    name = "test-quota"
    created = quotas.create({"metadata": {"name": name}, "spec": {"hard": {"cpu": "1", "memory": "500Mi"}}})
    assert created["spec"]["hard"] == quotas.get(name)["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    updated = change(quotas, name, lambda o: o["spec"].update(hard={"cpu": "2", "memory": "1Gi"}))
    assert updated["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    assert quotas.get(name)["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    quotas.delete(name)
    gone(quotas, name)


@conformance(f"{QUOTA}manage the lifecycle of a ResourceQuota [Conformance]")
def test_the_life_of_a_quota(api: API, namespace: str) -> None:
    quotas = api.typed("v1", "resourcequotas", namespace)
    everywhere = api.typed("v1", "resourcequotas")
    name = random_name("e2e-quota")
    selector = f"{name}=created"
    hard = {"cpu": "500m", "memory": "500Mi"}
    quotas.create({"metadata": {"name": name, "labels": {name: "created"}}, "spec": {"hard": hard}})
    assert quotas.get(name)["spec"]["hard"] == hard
    [found] = everywhere.items(label_selector=selector)
    assert found["metadata"]["name"] == name
    patch = {"metadata": {"labels": {name: "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
    patched = quotas.patch(name, patch, STRATEGIC)
    assert patched["metadata"]["labels"][name] == "patched"
    assert patched["spec"]["hard"] == {"cpu": "500m", "memory": "750Mi"}
    wait_for(lambda: quotas.get(name)["metadata"]["labels"][name] == "patched", "the patched label")
    quotas.delete_collection(f"{name}=patched")
    wait_count(quotas, 0, label_selector=f"{name}=patched")
    assert not everywhere.items(label_selector=f"{name}=patched")
