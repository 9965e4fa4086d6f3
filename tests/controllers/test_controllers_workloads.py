"""Workloads on a running control plane."""

from __future__ import annotations

from typing import Any

from sublet.kinds.resources import resource


def template(image: str = "nginx", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }


def deployment(replicas: int, image: str = "nginx", **spec: Any) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(image),
        **spec,
    }


async def test_a_new_namespace_gets_its_service_account_and_the_root_ca(
    cluster: Any, eventually: Any
) -> None:
    async def there() -> Any:
        accounts = [a["metadata"]["name"] for a in await cluster.items("serviceaccounts")]
        maps = [m["metadata"]["name"] for m in await cluster.items("configmaps")]
        return accounts == ["default"] and maps == ["kube-root-ca.crt"]

    await eventually(there)


async def test_a_deployment_becomes_available(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", deployment(3))

    async def available() -> Any:
        found = await cluster.get("deployments.apps", "web")
        return (found.get("status") or {}).get("availableReplicas") == 3 and found

    found = await eventually(available)
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    conditions = {c["type"]: c["reason"] for c in found["status"]["conditions"]}
    assert conditions["Available"] == "MinimumReplicasAvailable"
