"""What a DaemonSet does next on its nodes."""

from __future__ import annotations

from typing import Any

from sublet.controllers.daemonset import steps
from sublet.controllers.daemonset.placement import REVISION, Verdict
from sublet.kinds.resources import resource
from sublet.machinery import objects

NOW = 1_700_000_000.0
RUNS = Verdict(True, True)


def daemon_set(**rolling: Any) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1, **rolling}}
    metadata = {"name": "d", "generation": 2}
    return {"metadata": metadata, "spec": {"updateStrategy": strategy}, "status": {"observedGeneration": 1}}


def pod(name: str, revision: str = "new", *, ready: bool = True, bound: bool = True, **more: Any) -> Any:
    made = objects.rfc3339(NOW - 100 + len(name))
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": made}]
    metadata = {"name": name, "uid": name, "labels": {REVISION: revision}, "creationTimestamp": made}
    return {
        "metadata": {**metadata, **more.pop("metadata", {})},
        "spec": {"nodeName": "n1"} if bound else {},
        "status": {"phase": "Running", "conditions": conditions, **more},
    }


def managed(pods: dict[str, list[Any]], **rolling: Any) -> steps.Steps:
    return steps.manage(daemon_set(**rolling), {"n1": RUNS}, pods, "new", NOW)


def updated(*pods: Any, **rolling: Any) -> steps.Steps:
    return steps.update(daemon_set(**rolling), {"n1": RUNS}, {"n1": list(pods)}, "new", NOW)


def names(pods: list[Any]) -> list[str]:
    return [objects.name(each) for each in pods]


def test_without_surge_only_the_oldest_pod_of_a_node_stays_whatever_its_revision() -> None:
    assert names(managed({"n1": [pod("a", "old"), pod("bb")]}).delete) == ["bb"]


def test_with_surge_an_old_and_a_new_pod_stand_together_until_the_new_one_is_available() -> None:
    assert not managed({"n1": [pod("a", "old"), pod("bb", ready=False)]}, maxSurge=1).delete
    assert names(managed({"n1": [pod("a", "old"), pod("bb")]}, maxSurge=1).delete) == ["a"]


def test_with_surge_an_old_pod_that_serves_nobody_makes_way_at_once() -> None:
    here = [pod("a", "old", ready=False), pod("bb", ready=False)]
    assert names(managed({"n1": here}, maxSurge=1).delete) == ["a"]


def test_bound_pods_of_a_lost_node_are_left_to_the_pod_garbage_collector() -> None:
    lost = [pod("bound"), pod("waiting", bound=False)]
    assert names(managed({"n1": [pod("a")], "gone": lost}).delete) == ["waiting"]


def test_a_pod_that_ended_and_is_being_deleted_holds_no_place() -> None:
    going = pod("a", phase="Failed", metadata={"deletionTimestamp": objects.rfc3339(NOW)})
    going["spec"]["nodeName"] = "n1"
    assert managed(steps.by_node([going])).create == ["n1"]


def test_a_surge_starts_beside_an_old_pod_that_is_not_available_whatever_the_limit() -> None:
    planned = updated(pod("a", "old", ready=False), maxSurge=1, maxUnavailable=0)
    assert planned.create == ["n1"]
    assert not planned.delete


def test_an_update_replaces_an_unavailable_pod_even_beyond_the_limit() -> None:
    verdicts = {"n1": RUNS, "n2": RUNS}
    pods = {"n1": [pod("a", "old", ready=False)], "n2": [pod("b", "old")]}
    assert names(steps.update(daemon_set(), verdicts, pods, "new", NOW).delete) == ["a"]


def test_terminating_pods_count_as_scheduled_and_the_first_pod_speaks_for_its_node() -> None:
    going = pod("a", "old", metadata={"deletionTimestamp": objects.rfc3339(NOW)})
    told = steps.status(daemon_set(), {"n1": RUNS}, {"n1": [going, pod("bb")]}, "new", None, NOW)
    assert (told["currentNumberScheduled"], told["numberReady"]) == (1, 1)
    assert "updatedNumberScheduled" not in told


def test_a_generation_that_was_only_counted_is_not_yet_observed() -> None:
    told = steps.status(daemon_set(), {}, {}, "new", None, NOW, observed=False)
    assert told["observedGeneration"] == 1


async def test_a_daemon_pod_that_succeeded_is_replaced_and_told_of(cluster: Any, eventually: Any) -> None:
    containers = [{"name": "c", "image": "i"}]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    await cluster.make(
        "daemonsets.apps", "d", {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    )

    async def running() -> Any:
        found = await cluster.items("pods")
        return len(found) == 2 and all(p["status"].get("phase") == "Running" for p in found) and found

    first = (await eventually(running))[0]
    status = {**first["status"], "phase": "Succeeded"}
    await cluster.client.update_status(resource("pods"), {**first, "status": status})

    async def told() -> list[str]:
        return [e["message"] for e in await cluster.items("events") if e["reason"] == "SucceededDaemonPod"]

    where = f"test/{first['metadata']['name']} on node {first['spec']['nodeName']}"
    assert await eventually(told) == [f"Found succeeded daemon pod {where}, will try to delete it"]

    async def replaced() -> bool:
        found = await cluster.items("pods")
        return len(found) == 2 and first["metadata"]["uid"] not in {p["metadata"]["uid"] for p in found}

    await eventually(replaced)
