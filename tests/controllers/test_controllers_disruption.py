"""What a PodDisruptionBudget counts, and what it tells."""

from __future__ import annotations

from typing import Any

from controllers_cluster import running

from sublet.controllers import disruption
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Resource

BUDGETS = resource("poddisruptionbudgets.policy")
RUNNERS = Resource("example.com", "v1", "foxes", "Fox", True)
POD = {"containers": [{"name": "c", "image": "i"}]}


async def ready_pod(cluster: Any, name: str, **metadata: Any) -> None:
    made = await cluster.make("pods", name, POD, labels={"app": "x"}, **metadata)
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "conditions": conditions}
    await cluster.client.update_status(resource("pods"), {**made, "status": status})


async def told(cluster: Any, reason: str) -> list[str]:
    return [e["message"] for e in await cluster.items("events") if e["reason"] == reason]


def budget(**spec: Any) -> dict[str, Any]:
    return {"selector": {"matchLabels": {"app": "x"}}, **spec}


async def counted(cluster: Any, **wanted: Any) -> Any:
    found = await cluster.get("poddisruptionbudgets.policy", "b")
    status = found.get("status") or {}
    seen = status.get("observedGeneration") == found["metadata"]["generation"]
    return seen and all(status.get(name) == value for name, value in wanted.items()) and status


def test_the_condition_tells_the_generation_it_was_found_for() -> None:
    first = disruption.status({"metadata": {"generation": 1}, "spec": {}}, [], 0, 0, 0.0)
    again = disruption.status({"metadata": {"generation": 2}, "spec": {}, "status": first}, [], 0, 0, 9.0)
    assert again["conditions"][0]["observedGeneration"] == 2
    assert again["conditions"][0]["lastTransitionTime"] == first["conditions"][0]["lastTransitionTime"]


async def test_a_budget_that_states_neither_number_expects_nothing_and_lets_nothing_go(
    eventually: Any,
) -> None:
    async with running({"disruption-controller"}, 0) as cluster:
        await cluster.namespace(account=True)
        await ready_pod(cluster, "p")
        await cluster.make("poddisruptionbudgets.policy", "b", budget())
        await eventually(lambda: counted(cluster, expectedPods=0, disruptionsAllowed=0, currentHealthy=1))


async def test_pods_nobody_controls_are_told_of_where_a_percentage_needs_their_controller(
    eventually: Any,
) -> None:
    async with running({"disruption-controller"}, 0) as cluster:
        await cluster.namespace(account=True)
        await ready_pod(cluster, "p")
        await cluster.make("poddisruptionbudgets.policy", "b", budget(minAvailable="50%"))
        message = (await eventually(lambda: told(cluster, "UnmanagedPods")))[0]
        selector = "&LabelSelector{MatchLabels:map[string]string{app: x,},MatchExpressions:[]LabelSelectorRequirement{},}"
        assert message.startswith(
            f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found"
        )


async def test_a_budget_without_pods_says_so(eventually: Any) -> None:
    async with running({"disruption-controller"}, 0) as cluster:
        await cluster.namespace(account=True)
        await cluster.make("poddisruptionbudgets.policy", "b", budget(minAvailable=1))
        assert await eventually(lambda: told(cluster, "NoPods")) == ["No matching pods found"]


async def test_pods_of_a_controller_without_scale_fail_the_sync(eventually: Any) -> None:
    async with running({"disruption-controller"}, 0) as cluster:
        await cluster.namespace(account=True)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": True}
        await ready_pod(cluster, "p", ownerReferences=[owner])
        await cluster.make("poddisruptionbudgets.policy", "b", budget(maxUnavailable=1))

        async def failed() -> Any:
            found = await cluster.get("poddisruptionbudgets.policy", "b")
            condition = objects.condition(found, "DisruptionAllowed") or {}
            return condition.get("reason") == "SyncFailed" and condition["message"]

        text = "jobs.batch does not implement the scale subresource"
        assert await eventually(failed) == text
        assert await eventually(lambda: told(cluster, "CalculateExpectedPodCountFailed")) == [
            f"Failed to calculate the number of expected pods: {text}"
        ]


async def test_the_scale_of_a_custom_resource_counts_whatever_its_plural(eventually: Any) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
               "subresources": {"scale": paths, "status": {}}}  # fmt: skip
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foxes.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [version],
                 "names": {"plural": "foxes", "singular": "fox", "kind": "Fox", "listKind": "FoxList"}},
    }  # fmt: skip
    async with running({"disruption-controller"}, 0) as cluster:
        await cluster.namespace(account=True)
        await cluster.client.create(resource("customresourcedefinitions.apiextensions.k8s.io"), definition)
        fox = {
            "apiVersion": "example.com/v1",
            "kind": "Fox",
            "metadata": {"name": "f"},
            "spec": {"replicas": 4},
        }

        async def made() -> Any:
            try:
                return await cluster.client.create(RUNNERS, fox, "test")
            except Exception:
                return None

        uid = (await eventually(made))["metadata"]["uid"]
        owner = {"apiVersion": "example.com/v1", "kind": "Fox", "name": "f", "uid": uid, "controller": True}
        await ready_pod(cluster, "p", ownerReferences=[owner])
        await cluster.make("poddisruptionbudgets.policy", "b", budget(maxUnavailable="50%"))
        await eventually(lambda: counted(cluster, expectedPods=4, desiredHealthy=2, currentHealthy=1))
