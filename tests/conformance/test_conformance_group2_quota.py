"""ResourceQuota: what counts, what is refused, what is given back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from conformance_client import API, APIError, Object
from conformance_names import conformance
from conformance_steps import change, gone, wait_for
from conformance_workloads import LONG, PAUSE, Workloads, container, controller, pod_spec, replicated, until

POD_SECURITY = "restricted"
NODES = 2
EXTENDED = "example.com/dongle"
NOWHERE = {"x-test.k8s.io/unsatisfiable": "not-schedulable"}
HARD = {
    "pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
    "replicationcontrollers": "10", "resourcequotas": "1", "cpu": "1", "memory": "500Mi", "configmaps": "10",
    "secrets": "10", "persistentvolumeclaims": "10", "requests.storage": "10Gi", "ephemeral-storage": "50Gi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi", "count/replicasets.apps": "5",
    f"requests.{EXTENDED}": "3",
}  # fmt: skip


class Quotas:
    """The quotas of one namespace."""

    def __init__(self, api: API, namespace: str) -> None:
        self.resource = api.typed("v1", "resourcequotas", namespace)

    def create(self, name: str, hard: Mapping[str, str], scopes: list[str] | None = None) -> None:
        spec: Object = {"hard": dict(hard), **({"scopes": scopes} if scopes else {})}
        self.resource.create({"metadata": {"name": name}, "spec": spec})

    def used(self, name: str, **wanted: str) -> None:
        """Waits until these are used; ``services_nodeports`` is ``services.nodeports``."""
        self.uses(name, {key.replace("_", "."): value for key, value in wanted.items()})

    def uses(self, name: str, wanted: Mapping[str, str]) -> None:
        def holds(found: Object) -> bool:
            used = (found.get("status") or {}).get("used") or {}
            return all(used.get(key) == value for key, value in wanted.items())

        until(self.resource, name, holds, f"uses {wanted}")


@pytest.fixture
def quotas(api: API, namespace: str) -> Quotas:
    return Quotas(api, namespace)


def refused_for_quota(create: Any, *arguments: Any) -> None:
    with pytest.raises(APIError) as caught:
        create(*arguments)
    assert caught.value.code == 403, caught.value
    assert "exceeded quota" in caught.value.message


def quota_pod(name: str, requests: Mapping[str, str], limits: Mapping[str, str], **spec: Any) -> Object:
    resources = {"requests": dict(requests), "limits": dict(limits)}
    made = pod_spec(container("pause", PAUSE, resources=resources), nodeSelector=NOWHERE, **spec)
    return {"metadata": {"name": name}, "spec": made}


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. "
    "[Conformance]"
)
def test_a_quota_is_calculated(quotas: Quotas) -> None:
    count = len(quotas.resource.items())
    quotas.create("test-quota", HARD)
    quotas.used("test-quota", resourcequotas=str(count + 1))


def quota_service(name: str, kind: str, allocate: bool | None = None) -> Object:
    spec: Object = {"type": kind, "ports": [{"port": 80, "targetPort": 80}]}
    if allocate is not None:
        spec["allocateLoadBalancerNodePorts"] = allocate
    return {"metadata": {"name": name}, "spec": spec}


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. "
    "[Conformance]"
)
def test_services_count(api: API, namespace: str, quotas: Quotas) -> None:
    services = api.typed("v1", "services", namespace)
    quotas.create("test-quota", HARD)
    quotas.used("test-quota", resourcequotas="1", services="0")
    services.create(quota_service("test-service", "ClusterIP"))
    services.create(quota_service("test-service-np", "NodePort"))
    refused_for_quota(services.create, quota_service("test-service-lbnp", "LoadBalancer", True))
    quotas.used("test-quota", services="2", services_nodeports="1", services_loadbalancers="0")
    for name in ("test-service", "test-service-np"):
        services.delete(name)
    quotas.used("test-quota", services="0", services_nodeports="0", services_loadbalancers="0")


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. "
    "[Conformance]"
)
def test_secrets_count(api: API, namespace: str, quotas: Quotas) -> None:
    secrets = api.typed("v1", "secrets", namespace)
    found = len(secrets.items())
    quotas.create("test-quota", {**HARD, "secrets": str(found + 10)})
    quotas.used("test-quota", resourcequotas="1", secrets=str(found))
    data = {"data-1": "dmFsdWUtMQ==", "data-2": "dmFsdWUtMg==", "data-3": "dmFsdWUtMw=="}
    secrets.create({"metadata": {"name": "test-secret"}, "data": data})
    quotas.used("test-quota", secrets=str(found + 1))
    secrets.delete("test-secret")
    quotas.used("test-quota", secrets=str(found))


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. "
    "[Conformance]"
)
def test_configmaps_count(api: API, namespace: str, quotas: Quotas) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    found = len(configmaps.items())
    assert found == 1  # kube-root-ca.crt
    quotas.create("test-quota", {**HARD, "configmaps": str(found + 10)})
    quotas.used("test-quota", resourcequotas="1", configmaps=str(found))
    configmaps.create({"metadata": {"name": "test-configmap"}, "data": {"a": "b"}})
    quotas.used("test-quota", configmaps=str(found + 1))
    configmaps.delete("test-configmap")
    quotas.used("test-quota", configmaps=str(found))


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]"
)
def test_pods_count(api: API, namespace: str, quotas: Quotas) -> None:
    pods = api.typed("v1", "pods", namespace)
    quotas.create("test-quota", HARD)
    quotas.used("test-quota", resourcequotas="1")
    requests = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", EXTENDED: "2"}
    pods.create(quota_pod("test-pod", requests, {EXTENDED: "2"}))
    used = {
        "resourcequotas": "1", "pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi",
        f"requests.{EXTENDED}": "2",
    }  # fmt: skip
    quotas.uses("test-quota", used)
    refused_for_quota(pods.create, quota_pod("fail-pod", {"cpu": "600m", "memory": "100Mi"}, {}))
    dongles = {"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "30Gi", EXTENDED: "2"}
    refused_for_quota(pods.create, quota_pod("fail-pod-for-extended-resource", dongles, {EXTENDED: "2"}))
    found = pods.get("test-pod")
    found["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "100m", "memory": "100Mi"}
    with pytest.raises(APIError):
        pods.update(found)
    quotas.uses("test-quota", used)
    pods.delete("test-pod", gracePeriodSeconds=0)
    none = dict.fromkeys(used, "0")
    quotas.uses("test-quota", {**none, "resourcequotas": "1"})


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication "
    "controller. [Conformance]"
)
def test_replication_controllers_count(api: API, namespace: str, quotas: Quotas) -> None:
    work = Workloads(api, namespace)
    quotas.create("test-quota", HARD)
    quotas.used("test-quota", resourcequotas="1", replicationcontrollers="0")
    work.controllers.create(controller("test-rc", 0, {"name": "test-rc"}))
    quotas.used("test-quota", replicationcontrollers="1")
    work.controllers.delete("test-rc", propagationPolicy="Background")
    quotas.used("test-quota", replicationcontrollers="0")


@conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set. "
    "[Conformance]"
)
def test_replicasets_count(api: API, namespace: str, quotas: Quotas) -> None:
    work = Workloads(api, namespace)
    quotas.create("test-quota", HARD)
    quotas.uses("test-quota", {"resourcequotas": "1", "count/replicasets.apps": "0"})
    work.replicasets.create(replicated("test-rs", 0, {"name": "test-rs"}))
    quotas.uses("test-quota", {"count/replicasets.apps": "1"})
    work.replicasets.delete("test-rs")
    quotas.uses("test-quota", {"count/replicasets.apps": "0"})


@conformance(
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]"
)
def test_terminating_scopes(api: API, namespace: str, quotas: Quotas) -> None:
    pods = api.typed("v1", "pods", namespace)
    hard = {
        "pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi",
    }  # fmt: skip
    quotas.create("quota-terminating", hard, ["Terminating"])
    quotas.used("quota-terminating", pods="0")
    quotas.create("quota-not-terminating", hard, ["NotTerminating"])
    quotas.used("quota-not-terminating", pods="0")
    requests, limits = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    full = {
        "pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1",
        "limits.memory": "400Mi",
    }  # fmt: skip
    none = dict.fromkeys(full, "0")
    for name, counts, others, more in (
        ("test-pod", "quota-not-terminating", "quota-terminating", {}),
        ("terminating-pod", "quota-terminating", "quota-not-terminating", {"activeDeadlineSeconds": 3600}),
    ):
        pods.create(quota_pod(name, requests, limits, **more))
        quotas.uses(counts, full)
        quotas.uses(others, none)
        pods.delete(name, gracePeriodSeconds=0)
        quotas.uses(counts, none)


@conformance(
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]"
)
def test_best_effort_scopes(api: API, namespace: str, quotas: Quotas) -> None:
    pods = api.typed("v1", "pods", namespace)
    quotas.create("quota-besteffort", {"pods": "5"}, ["BestEffort"])
    quotas.used("quota-besteffort", pods="0")
    quotas.create("quota-not-besteffort", {"pods": "5"}, ["NotBestEffort"])
    quotas.used("quota-not-besteffort", pods="0")
    sized = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    for name, counts, others, resources in (
        ("besteffort-pod", "quota-besteffort", "quota-not-besteffort", ({}, {})),
        ("burstable-pod", "quota-not-besteffort", "quota-besteffort", sized),
    ):
        pods.create(quota_pod(name, *resources))
        quotas.used(counts, pods="1")
        quotas.used(others, pods="0")
        pods.delete(name, gracePeriodSeconds=0)
        quotas.used(counts, pods="0")


@conformance("[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]")
def test_the_status_of_a_quota(api: API, namespace: str, quotas: Quotas) -> None:
    name, label = "e2e-rq-status", "e2e-rq-status-label=e2e"
    resource = quotas.resource
    labels = {"e2e-rq-status-label": "e2e"}
    hard = {"cpu": "500m", "memory": "500Mi"}
    with resource.watch(label_selector=label) as watch:
        resource.create({"metadata": {"name": name, "labels": labels}, "spec": {"hard": hard}})
        watch.until("ADDED")
        watch.until("MODIFIED", lambda o: (o.get("status") or {}).get("hard") == hard)
        wider = {"cpu": "1", "memory": "1Gi"}
        change(resource, name, lambda o: o["spec"].update(hard=wider))
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == wider)
        stated = {"cpu": "2", "memory": "2Gi"}
        change(resource, name, lambda o: o["status"].update(hard=stated), "status")
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == stated)
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == wider)  # the controller's word again
        patched = {"cpu": "3", "memory": "3Gi"}
        patch = {"metadata": {"annotations": {"patched": "true"}}, "status": {"hard": patched}}
        answer = resource.patch(name, patch, subresource="status")
        assert answer["status"]["hard"] == patched and answer["spec"]["hard"] == wider
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == patched)
        dynamic = api.dynamic("v1", "resourcequotas", "ResourceQuota", namespace)
        assert dynamic.get(name, "status")["spec"]["hard"] == wider
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == wider)
        resource.delete(name)
        watch.until("DELETED")
    gone(resource, name)
    wait_for(lambda: not resource.items(), "no quota", LONG)
