"""What a Deployment tells of its ReplicaSets, and how it goes back to one of them."""

from __future__ import annotations

from typing import Any

from sublet.controllers.deployment import progress, revisions
from sublet.kinds.resources import resource

DEPLOYMENTS = resource("deployments.apps")
NOW = 1_700_000_000.0
ROLLBACK = "deprecated.deployment.rollback.to"


def deployment(**metadata: Any) -> dict[str, Any]:
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}},
        "strategy": {"type": "RollingUpdate"},
        "progressDeadlineSeconds": 600,
    }  # fmt: skip
    return {"metadata": {"name": "web", "namespace": "test", "generation": 1, **metadata}, "spec": spec}


def replica_set(name: str, message: str = "", **status: Any) -> dict[str, Any]:
    if message:
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        status["conditions"] = [{**failure, "lastTransitionTime": "2023-01-01T00:00:00Z"}]
    return {"metadata": {"name": name, "uid": name}, "spec": {"replicas": 1}, "status": status}


def test_the_failure_of_the_new_replica_set_is_told_before_those_of_old_ones() -> None:
    status = progress.rollout_status(deployment(), replica_set("new", "a"), [replica_set("old", "b")], NOW)
    found = next(c for c in status["conditions"] if c["type"] == "ReplicaFailure")
    assert found["message"] == "a"


def test_a_failure_keeps_the_time_its_replica_set_gave_it() -> None:
    status = progress.rollout_status(deployment(), replica_set("new", "a"), [], NOW)
    found = next(c for c in status["conditions"] if c["type"] == "ReplicaFailure")
    assert found["lastUpdateTime"] == found["lastTransitionTime"] == "2023-01-01T00:00:00Z"


def test_terminating_pods_are_summed_only_where_every_replica_set_tells_its_own() -> None:
    told, silent = replica_set("new", terminatingReplicas=2), replica_set("old")
    assert progress.counts(deployment(), told, [], NOW)["terminatingReplicas"] == 2
    assert "terminatingReplicas" not in progress.counts(deployment(), told, [silent], NOW)


def test_the_last_revision_is_the_highest_but_one() -> None:
    numbered = [{"metadata": {"annotations": {revisions.REVISION: str(n)}}} for n in (3, 7, 5)]
    assert revisions.last_revision(numbered) == 5
    assert revisions.last_revision(numbered[:1]) == 0


async def _roll_to(cluster: Any, eventually: Any, image: str, revision: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await cluster.client.patch(DEPLOYMENTS, "web", patch, "test", kind="strategic")

    async def reached() -> bool:
        found = await cluster.get("deployments.apps", "web")
        return bool((found["metadata"].get("annotations") or {}).get(revisions.REVISION) == revision)

    await eventually(reached)


async def _events(cluster: Any, reason: str) -> list[str]:
    return [e["message"] for e in await cluster.items("events") if e["reason"] == reason]


async def test_an_annotation_rolls_a_deployment_back_to_a_revision(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", deployment()["spec"])
    await _roll_to(cluster, eventually, "two", "2")
    await _roll_to(cluster, eventually, "three", "3")
    await cluster.client.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {ROLLBACK: "1"}}}, "test")

    async def back() -> bool:
        found = await cluster.get("deployments.apps", "web")
        image = found["spec"]["template"]["spec"]["containers"][0]["image"]
        noted = found["metadata"]["annotations"]
        return image == "one" and noted[revisions.REVISION] == "4" and ROLLBACK not in noted

    await eventually(back)
    assert await eventually(lambda: _events(cluster, "DeploymentRollback")) == [
        'Rolled back deployment "web" to revision 1'
    ]


async def test_a_rollback_to_a_revision_that_is_not_there_is_told_and_forgotten(
    cluster: Any, eventually: Any
) -> None:
    await cluster.make("deployments.apps", "web", deployment()["spec"], annotations={ROLLBACK: "9"})
    assert await eventually(lambda: _events(cluster, "DeploymentRollbackRevisionNotFound")) == [
        "Unable to find the revision to rollback to."
    ]
    found = await cluster.get("deployments.apps", "web")
    assert ROLLBACK not in found["metadata"]["annotations"]


async def test_the_revision_a_controller_writes_makes_no_new_generation(
    cluster: Any, eventually: Any
) -> None:
    await cluster.make("deployments.apps", "web", deployment()["spec"])

    async def marked() -> Any:
        found = await cluster.get("deployments.apps", "web")
        return (found["metadata"].get("annotations") or {}).get(revisions.REVISION) and found

    assert (await eventually(marked))["metadata"]["generation"] == 1


async def test_an_annotation_a_user_writes_makes_a_new_generation(cluster: Any, eventually: Any) -> None:
    await cluster.make("deployments.apps", "web", {**deployment()["spec"], "paused": True})
    note = {"metadata": {"annotations": {"note": "x"}}}
    changed = await cluster.client.patch(DEPLOYMENTS, "web", note, "test")
    assert changed["metadata"]["generation"] == 2
