"""Rollouts as the conformance suite tries them, on hollow nodes."""

from __future__ import annotations

from typing import Any

from sublet.kinds.resources import resource

DEPLOYMENTS = resource("deployments.apps")
SETS = resource("replicasets.apps")


def template(image: str = "nginx") -> dict[str, Any]:
    containers = [{"name": "c", "image": image}]
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}


def deployment(replicas: int, image: str = "nginx", **spec: Any) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(image),
        **spec,
    }


async def available(cluster: Any, number: int) -> Any:
    found = await cluster.get("deployments.apps", "web")
    status = found.get("status") or {}
    seen = status.get("observedGeneration") == found["metadata"]["generation"]
    return seen and status.get("availableReplicas") == number == status.get("updatedReplicas") and found


async def set_image(cluster: Any, image: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await cluster.client.patch(DEPLOYMENTS, "web", patch, "test", kind="strategic")


async def test_a_stuck_rollout_is_scaled_in_proportion(cluster: Any, eventually: Any) -> None:
    """10 -> 30 replicas while a new template cannot start: 8 and 5 become 20 and 13."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    await cluster.make("deployments.apps", "web", deployment(10, strategy=rolling))
    await eventually(lambda: available(cluster, 10))
    await set_image(cluster, "webserver:404")

    async def sizes(*wanted: int) -> bool:
        found = sorted(r["spec"]["replicas"] for r in await cluster.items("replicasets.apps"))
        return found == sorted(wanted)

    await eventually(lambda: sizes(8, 5))
    await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 30}}, "test")
    await eventually(lambda: sizes(20, 13))


async def test_a_replica_set_that_was_there_before_is_adopted_and_its_revision_counted_on(
    cluster: Any, eventually: Any
) -> None:
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template("httpd")}
    annotations = {"deployment.kubernetes.io/revision": "3546343826724305832"}
    await cluster.make("replicasets.apps", "old", spec, labels={"app": "web"}, annotations=annotations)
    await cluster.make("deployments.apps", "web", deployment(1))
    found = await eventually(lambda: available(cluster, 1))
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3546343826724305833"


async def test_a_paused_deployment_scales_but_does_not_roll(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", deployment(1))
    await eventually(lambda: available(cluster, 1))
    await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "replicas": 2}}, "test")
    await set_image(cluster, "other")

    async def paused() -> bool:
        found = await cluster.get("deployments.apps", "web")
        reasons = {c["reason"] for c in found["status"]["conditions"]}
        return "DeploymentPaused" in reasons and found["status"].get("availableReplicas") == 2

    await eventually(paused)
    assert len(await cluster.items("replicasets.apps")) == 1
    await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}}, "test")
    await eventually(lambda: available(cluster, 2))
    assert len(await cluster.items("replicasets.apps")) == 2


async def test_only_as_many_old_replica_sets_stay_as_the_history_limit_says(
    cluster: Any, eventually: Any
) -> None:
    await cluster.make("deployments.apps", "web", deployment(1, revisionHistoryLimit=0))
    await eventually(lambda: available(cluster, 1))
    await set_image(cluster, "other")

    async def one_left() -> bool:
        found = await cluster.items("replicasets.apps")
        return len(found) == 1 and found[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "other"

    await eventually(one_left)


async def test_a_quota_that_forbids_pods_shows_as_a_condition_and_clears(
    cluster: Any, eventually: Any
) -> None:
    await cluster.make("resourcequotas", "q", {"hard": {"pods": "1"}})

    async def counted() -> Any:
        return (await cluster.get("resourcequotas", "q")).get("status", {}).get("used")

    await eventually(counted)
    spec = {"replicas": 2, "selector": {"app": "web"}, "template": template()}
    await cluster.make("replicationcontrollers", "rc", spec)

    async def failing(wanted: bool) -> bool:
        found = await cluster.get("replicationcontrollers", "rc")
        conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}
        return ("ReplicaFailure" in conditions) == wanted and found["status"].get("replicas") == 1

    await eventually(lambda: failing(True))
    scale = {"spec": {"replicas": 1}}
    await cluster.client.patch(resource("replicationcontrollers"), "rc", scale, "test", subresource="scale")
    await eventually(lambda: failing(False))


async def test_a_canary_of_a_stateful_set_updates_only_from_its_partition(
    cluster: Any, eventually: Any
) -> None:
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    spec = {
        "replicas": 3, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}}, "template": template(),
        "updateStrategy": update,
    }  # fmt: skip
    await cluster.make("statefulsets.apps", "web", spec)

    async def images(*wanted: str) -> bool:
        pods = sorted(await cluster.items("pods"), key=lambda pod: str(pod["metadata"]["name"]))
        found = [pod["spec"]["containers"][0]["image"] for pod in pods]
        ready = (await cluster.get("statefulsets.apps", "web")).get("status", {}).get("readyReplicas") == 3
        return ready and found == list(wanted)

    await eventually(lambda: images("nginx", "nginx", "nginx"))
    patch: dict[str, Any] = {
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}
    }
    await cluster.client.patch(resource("statefulsets.apps"), "web", patch, "test", kind="strategic")
    await eventually(lambda: images("nginx", "nginx", "other"))
    await cluster.client.delete(resource("pods"), "web-0", "test")
    await eventually(lambda: images("nginx", "nginx", "other"))
    patch = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
    await cluster.client.patch(resource("statefulsets.apps"), "web", patch, "test", kind="strategic")
    await eventually(lambda: images("other", "other", "other"))

    async def settled() -> bool:
        status = (await cluster.get("statefulsets.apps", "web"))["status"]
        return bool(status["currentRevision"] == status["updateRevision"])

    await eventually(settled)
