"""Autoscaling by custom and external metrics, which an aggregated API server serves."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from controllers_cluster import running

from sublet.apiserver.server import HTTPServer, tls_context
from sublet.client.exchange import Request, Response
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Resource
from sublet.pki.authority import SERVER, Authority

CUSTOM, EXTERNAL = "custom.metrics.k8s.io/v1beta2", "external.metrics.k8s.io/v1beta1"
FOXES = Resource("example.com", "v1", "foxes", "Fox", True)
NOW = "2026-01-01T00:00:00Z"
CONTROLLERS = {
    "deployment-controller", "replicaset-controller", "serviceaccount-controller",
    "horizontal-pod-autoscaler-controller",
}  # fmt: skip


class MetricsServer:
    """What an adapter of a monitoring system answers; ``values``: quantities by metric."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.asked: dict[str, dict[str, list[str]]] = {}
        """Queries by path."""
        self.pods: list[str] = []

    async def handle(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        self.asked[request.path] = parse_qs(request.query)
        version = "/".join(parts[1:3])
        if len(parts) <= 3:
            kind = "APIResourceList" if len(parts) == 3 else "APIGroupList"
            known = {"kind": kind, "apiVersion": "v1", "groupVersion": version, "resources": [], "groups": []}
            return self._json(known)
        value = self.values.get(parts[-1])
        if value is None:
            missing = {"kind": "Status", "code": 404, "reason": "NotFound", "message": f"no {parts[-1]}"}
            return self._json(missing, 404)
        if version == EXTERNAL:
            items = [{"metricName": parts[-1], "timestamp": NOW, "value": value}]
            return self._json({"kind": "ExternalMetricValueList", "apiVersion": version, "items": items})
        named = self.pods if parts[-2] == "*" else [parts[-2]]
        items = [
            {
                "describedObject": {"name": name},
                "metric": {"name": parts[-1]},
                "timestamp": NOW,
                "value": value,
            }
            for name in named
        ]
        return self._json({"kind": "MetricValueList", "apiVersion": version, "items": items})

    @staticmethod
    def _json(document: Any, status: int = 200) -> Response:
        return Response(status, [("content-type", "application/json")], json.dumps(document).encode())


@pytest.fixture
async def measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Any, MetricsServer]]:
    """A cluster whose custom and external metrics come from a server of the tests."""
    monkeypatch.setattr("sublet.controllers.horizontal_pod_autoscaler.reconciler._PERIOD", 0.2)
    proxy, authority = Authority.create("front-proxy-ca"), Authority.create("metrics-ca")
    serving = authority.issue("metrics", (), ("metrics.default.svc",), usages=(SERVER,))
    for name, data in (("crt", serving.cert_pem), ("key", serving.key_pem), ("ca", proxy.cert_pem)):
        (tmp_path / name).write_bytes(data)
    metrics = MetricsServer()
    context = tls_context(tmp_path / "crt", tmp_path / "key", [tmp_path / "ca"])
    server = HTTPServer(metrics, ssl_context=context)
    await server.start()

    async def resolve(_namespace: str, _name: str, _port: int) -> tuple[str, int]:
        return "127.0.0.1", server.port

    pair = proxy.issue("front-proxy-client")
    keys = (pair.cert_pem, pair.key_pem)
    async with running(CONTROLLERS, 0, resolve_service=resolve, proxy=keys) as cluster:
        await cluster.namespace()
        for version in (CUSTOM, EXTERNAL):
            await register(cluster, version, authority)
        yield cluster, metrics
    await server.stop(0.5)


async def register(cluster: Any, version: str, authority: Authority) -> None:
    group, _, name = version.partition("/")
    spec = {
        "group": group, "version": name, "groupPriorityMinimum": 100, "versionPriority": 100,
        "service": {"namespace": "default", "name": "metrics"},
        "caBundle": base64.b64encode(authority.cert_pem).decode(),
    }  # fmt: skip
    made = {"metadata": {"name": f"{name}.{group}"}, "spec": spec}
    await cluster.client.create(resource("apiservices.apiregistration.k8s.io"), made)


async def exposed(cluster: Any, eventually: Any) -> None:
    where = {"name": "metrics", "namespace": "default"}
    await cluster.client.create(resource("services"), {"metadata": where, "spec": {"ports": [{"port": 443}]}})
    await cluster.client.create(resource("endpointslices.discovery.k8s.io"), {
        "metadata": {**where, "labels": {"kubernetes.io/service-name": "metrics"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.9.9.9"]}], "ports": [{"name": "", "port": 8443}],
    })  # fmt: skip

    async def available() -> bool:
        listed = (await cluster.client.list(resource("apiservices.apiregistration.k8s.io")))["items"]
        ours = [each for each in listed if "metrics.k8s.io" in each["metadata"]["name"]]
        return len(ours) == 2 and all(objects.is_true(each, "Available") for each in ours)

    await eventually(available)


async def deployed(cluster: Any, eventually: Any, metrics: MetricsServer, replicas: int = 2) -> None:
    """A deployment ``web`` whose pods all run and are ready."""
    spec = {"containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    selector = {"matchLabels": {"app": "web"}}
    await cluster.make(
        "deployments.apps", "web", {"replicas": replicas, "selector": selector, "template": template}
    )

    async def made() -> Any:
        found = await cluster.items("pods")
        return len(found) == replicas and found

    for pod in await eventually(made):
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}]
        status = {"phase": "Running", "startTime": NOW, "conditions": conditions}
        await cluster.client.update_status(resource("pods"), {**pod, "status": status})
        metrics.pods.append(pod["metadata"]["name"])

    async def ready() -> bool:
        found = await cluster.get("deployments.apps", "web")
        return bool((found.get("status") or {}).get("readyReplicas") == replicas)

    await eventually(ready)


def spec(metric: Any, kind: str = "Deployment", api_version: str = "apps/v1", **more: Any) -> dict[str, Any]:
    target = {"apiVersion": api_version, "kind": kind, "name": "web"}
    return {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 20, "metrics": [metric], **more}


async def settled(cluster: Any, eventually: Any, replicas: int) -> Any:
    async def desired() -> Any:
        found = await cluster.get("horizontalpodautoscalers.autoscaling", "web")
        status = found.get("status") or {}
        return status.get("desiredReplicas") == replicas and status.get("currentMetrics") and status

    return await eventually(desired)


async def test_an_average_of_the_pods_is_kept(measured: Any, eventually: Any) -> None:
    cluster, metrics = measured
    await exposed(cluster, eventually)
    metrics.values["qps"] = "30"
    await deployed(cluster, eventually, metrics)
    chosen = {"name": "qps", "selector": {"matchLabels": {"verb": "GET"}}}
    source = {"metric": chosen, "target": {"type": "AverageValue", "averageValue": "20"}}
    await cluster.make("horizontalpodautoscalers.autoscaling", "web", spec({"type": "Pods", "pods": source}))
    status = await settled(cluster, eventually, 3)
    assert status["currentMetrics"] == [
        {"type": "Pods", "pods": {"metric": chosen, "current": {"averageValue": "30"}}}
    ]
    query = metrics.asked[f"/apis/{CUSTOM}/namespaces/test/pods/*/qps"]
    assert query == {"labelSelector": ["app=web"], "metricLabelSelector": ["verb=GET"]}


async def test_the_metric_of_one_object_scales_in_proportion(measured: Any, eventually: Any) -> None:
    cluster, metrics = measured
    await exposed(cluster, eventually)
    metrics.values["hits"] = "50"
    await deployed(cluster, eventually, metrics)
    described = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"}
    source = {
        "metric": {"name": "hits"}, "describedObject": described, "target": {"type": "Value", "value": "25"},
    }  # fmt: skip
    await cluster.make(
        "horizontalpodautoscalers.autoscaling", "web", spec({"type": "Object", "object": source})
    )
    status = await settled(cluster, eventually, 4)
    assert status["currentMetrics"][0]["object"]["current"] == {"value": "50"}
    assert f"/apis/{CUSTOM}/namespaces/test/ingresses.networking.k8s.io/main/hits" in metrics.asked


async def test_an_external_metric_is_shared_by_all_replicas(measured: Any, eventually: Any) -> None:
    cluster, metrics = measured
    await exposed(cluster, eventually)
    metrics.values["queue"] = "100"
    await deployed(cluster, eventually, metrics)
    chosen = {"name": "queue", "selector": {"matchLabels": {"name": "a"}}}
    source = {"metric": chosen, "target": {"type": "AverageValue", "averageValue": "25"}}
    await cluster.make(
        "horizontalpodautoscalers.autoscaling", "web", spec({"type": "External", "external": source})
    )
    await settled(cluster, eventually, 4)
    assert metrics.asked[f"/apis/{EXTERNAL}/namespaces/test/queue"] == {"labelSelector": ["name=a"]}
    found = await cluster.get("horizontalpodautoscalers.autoscaling", "web")
    shown = "external metric queue(&LabelSelector{MatchLabels:map[string]string{name: a,},MatchExpressions:[]LabelSelectorRequirement{},})"
    active = objects.condition(found, "ScalingActive") or {}
    assert active["message"] == f"the HPA was able to successfully calculate a replica count from {shown}"


async def test_one_metric_that_fails_does_not_keep_another_from_scaling_up(
    measured: Any, eventually: Any
) -> None:
    cluster, metrics = measured
    await exposed(cluster, eventually)
    metrics.values["queue"] = "100"
    await deployed(cluster, eventually, metrics)
    target = {"type": "AverageValue", "averageValue": "25"}
    sources = [
        {"type": "External", "external": {"metric": {"name": n}, "target": target}} for n in ("lost", "queue")
    ]
    wanted = {**spec(sources[0]), "metrics": sources}
    await cluster.make("horizontalpodautoscalers.autoscaling", "web", wanted)
    status = await settled(cluster, eventually, 4)
    assert [each["type"] for each in status["currentMetrics"]] == ["", "External"]


async def test_a_custom_resource_is_scaled_by_its_scale(measured: Any, eventually: Any) -> None:
    cluster, metrics = measured
    await exposed(cluster, eventually)
    metrics.values["queue"] = "100"
    paths = {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }  # fmt: skip
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"scale": paths, "status": {}},
    }  # fmt: skip
    names = {"plural": "foxes", "singular": "fox", "kind": "Fox", "listKind": "FoxList"}
    definition = {
        "metadata": {"name": "foxes.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [version], "names": names},
    }
    definitions = resource("customresourcedefinitions.apiextensions.k8s.io")
    await cluster.client.create(definitions, definition)

    async def established() -> bool:
        return objects.is_true(await cluster.client.get(definitions, "foxes.example.com"), "Established")

    await eventually(established)
    fox = {
        "apiVersion": "example.com/v1",
        "kind": "Fox",
        "metadata": {"name": "web"},
        "spec": {"replicas": 2},
    }
    made = await cluster.client.create(FOXES, fox, "test")
    status = {"replicas": 2, "selector": "app=fox"}
    await cluster.client.update_status(FOXES, {**made, "status": status})
    source = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "20"}}
    metric = {"type": "External", "external": source}
    scaled = spec(metric, "Fox", "example.com/v1", behavior={"scaleUp": {"stabilizationWindowSeconds": 0}})
    await cluster.make("horizontalpodautoscalers.autoscaling", "web", scaled)

    async def grown() -> bool:
        return bool((await cluster.client.get(FOXES, "web", "test"))["spec"]["replicas"] == 5)

    await eventually(grown)
