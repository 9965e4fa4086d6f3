"""The horizontal pod autoscaler: what metrics ask for, how fast it follows, and the whole of it on a running cluster."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import running
from hypothesis import given
from hypothesis import strategies as st

from sublet.controllers.horizontal_pod_autoscaler.behavior import Memory, decide
from sublet.controllers.horizontal_pod_autoscaler.proposals import (
    NoProposal,
    Sample,
    Tolerance,
    by_average,
    by_shared_average,
    by_utilization,
    by_value,
)
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Resource
from sublet.machinery.status import Invalid

NOW = 1_800_000_000.0
LONG_AGO = objects.rfc3339(NOW - 3600)
NEAR = Tolerance()
AUTOSCALERS = resource("horizontalpodautoscalers.autoscaling")
DEPLOYMENTS = resource("deployments.apps")
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", True)
DEFINITIONS = resource("customresourcedefinitions.apiextensions.k8s.io")


def pod(name: str, phase: str = "Running", ready: str = "True", start: str = LONG_AGO) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": start}
    return {
        "metadata": {"name": name},
        "status": {"phase": phase, "startTime": start, "conditions": [condition]},
    }


def pods(count: int) -> list[dict[str, Any]]:
    return [pod(f"p{n}") for n in range(count)]


def samples(*amounts: int) -> dict[str, Sample]:
    return {f"p{n}": Sample(amount, NOW) for n, amount in enumerate(amounts)}


def requests(count: int, amount: int = 1000) -> dict[str, int]:
    return {f"p{n}": amount for n in range(count)}


def utilization(found: list[Any], used: dict[str, Sample], target: int, current: int) -> int:
    return by_utilization(found, used, requests(len(found)), target, current, True, NOW, NEAR)[0]


def test_use_above_the_target_asks_for_more() -> None:
    found = by_utilization(pods(3), samples(300, 500, 700), requests(3), 30, 3, True, NOW, NEAR)
    assert found == (5, 50, 500)


def test_use_near_the_target_changes_nothing() -> None:
    assert utilization(pods(3), samples(530, 540, 550), 50, 3) == 3


def test_a_missing_metric_counts_as_idle_when_more_are_asked_for() -> None:
    assert utilization(pods(4), samples(600, 600, 600), 50, 4) == 4


def test_a_missing_metric_counts_as_busy_when_fewer_are_asked_for() -> None:
    assert utilization(pods(4), samples(100, 100, 100), 50, 4) == 3


def test_a_starting_pod_does_not_count() -> None:
    found = [*pods(2), pod("p2", ready="False", start=objects.rfc3339(NOW - 10))]
    assert utilization(found, samples(400, 400, 9000), 80, 3) == 1


def test_no_usable_metric_is_no_proposal() -> None:
    with pytest.raises(NoProposal, match="did not receive metrics"):
        utilization([pod("p0", phase="Pending")], samples(1), 50, 1)


def test_an_average_per_pod() -> None:
    assert by_average(pods(2), samples(30_000, 50_000), 20_000, 2, False, NOW, NEAR) == (4, 40_000)


def test_one_amount_for_all_pods() -> None:
    assert by_value(80_000, 20_000, 2, 2, NEAR) == 8
    assert by_value(5_000, 20_000, 0, 0, NEAR) == 1
    assert by_shared_average(80_000, 20_000, 2, NEAR) == 4
    assert by_shared_average(41_000, 20_000, 2, NEAR) == 2


def test_the_default_doubles_at_most_and_waits_before_it_shrinks() -> None:
    memory = Memory()
    up = decide(None, memory, NOW, 10, 50, 1, 100)
    assert (up.replicas, up.limited[1]) == (20, "ScaleUpLimit")
    down = decide(None, memory, NOW + 60, 50, 5, 1, 100)
    assert (down.replicas, down.able[1]) == (50, "ScaleDownStabilized")
    later = decide(None, memory, NOW + 400, 50, 5, 1, 100)
    assert later.replicas == 5


def test_without_a_behavior_few_replicas_become_four_at_most() -> None:
    assert decide(None, Memory(), NOW, 1, 50, 1, 100).replicas == 4
    assert decide(None, Memory(), NOW, 3, 50, 1, 100).replicas == 6


def test_with_a_behavior_few_replicas_get_four_more() -> None:
    behavior: dict[str, Any] = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    assert decide(behavior, Memory(), NOW, 3, 50, 1, 100).replicas == 7


def test_without_a_behavior_what_is_above_the_bounds_says_which_one_it_met() -> None:
    many = decide(None, Memory(), NOW, 10, 50, 1, 12)
    assert (many.replicas, many.limited[1]) == (12, "TooManyReplicas")
    few = decide(None, Memory(), NOW, 10, 1, 3, 12)
    assert (few.replicas, few.limited[1]) == (3, "TooFewReplicas")


def test_samples_of_pods_that_are_gone_do_not_lower_the_average() -> None:
    used = {**samples(400, 600), "gone": Sample(0, NOW)}
    assert by_utilization(pods(2), used, requests(2), 50, 2, True, NOW, NEAR)[1:] == (50, 500)


def test_policies_count_what_was_done_in_their_period() -> None:
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}}
    memory = Memory()
    memory.scaled(NOW - 30, 2, 5)
    assert decide(behavior, memory, NOW, 5, 50, 1, 100).replicas == 6
    assert decide(behavior, memory, NOW + 60, 6, 50, 1, 100).replicas == 10


def test_a_disabled_direction_stays() -> None:
    behavior = {"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}
    assert decide(behavior, Memory(), NOW, 9, 2, 1, 100).replicas == 9


@given(st.integers(1, 60), st.integers(0, 200), st.integers(1, 20), st.integers(20, 60))
def test_a_decision_never_leaves_the_bounds(current: int, wanted: int, least: int, most: int) -> None:
    current = min(max(current, least), most)
    assert least <= decide(None, Memory(), NOW, current, wanted, least, most).replicas <= most


@pytest.fixture
async def cluster() -> AsyncIterator[Any]:
    async with running(None, 1) as found:
        await found.namespace()
        yield found


async def serve_pod_metrics(cluster: Any, eventually: Any) -> None:
    """metrics.k8s.io as a custom resource: the same paths and shapes as the aggregated API has."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    approved = {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"}
    names = {"plural": "pods", "kind": "PodMetrics", "singular": "podmetric", "listKind": "PodMetricsList"}
    definition = {
        "metadata": {"name": "pods.metrics.k8s.io", "annotations": approved},
        "spec": {"group": "metrics.k8s.io", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    await cluster.client.create(DEFINITIONS, definition)

    async def established() -> bool:
        found = await cluster.client.get(DEFINITIONS, "pods.metrics.k8s.io")
        return objects.is_true(found, "Established")

    await eventually(established)


async def report(cluster: Any, cpu: str) -> None:
    """Every pod uses this much."""
    now = objects.rfc3339(time.time())
    for found in await cluster.items("pods"):
        usage = [{"name": "c", "usage": {"cpu": cpu, "memory": "10Mi"}}]
        metadata = {"name": found["metadata"]["name"], "labels": {"app": "web"}}
        made = {
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": "PodMetrics",
            "metadata": metadata,
            "timestamp": now,
            "window": "30s",
            "containers": usage,
        }
        await cluster.client.create(POD_METRICS, made, "test")


async def autoscaled(cluster: Any, target: str = "web", metrics: Any = None) -> None:
    resources = {"requests": {"cpu": "100m"}}
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx", "resources": resources}]},
    }
    await cluster.make(
        "deployments.apps", "web",
        {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    )  # fmt: skip
    source = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "minReplicas": 1, "maxReplicas": 5, "metrics": metrics or [{"type": "Resource", "resource": source}],
    }  # fmt: skip
    await cluster.make("horizontalpodautoscalers.autoscaling", "web", spec)


async def test_busy_pods_get_company(cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sublet.controllers.horizontal_pod_autoscaler.reconciler._PERIOD", 0.2)
    monkeypatch.setattr("sublet.controllers.horizontal_pod_autoscaler.proposals._CPU_INITIALIZATION", 0.0)
    await serve_pod_metrics(cluster, eventually)
    await autoscaled(cluster)

    async def ready(count: int) -> bool:
        status = (await cluster.get("deployments.apps", "web")).get("status") or {}
        return bool(status.get("readyReplicas") == count)

    await eventually(lambda: ready(2))
    await report(cluster, "90m")
    await eventually(lambda: ready(4))

    async def status() -> Any:
        found = (await cluster.get("horizontalpodautoscalers.autoscaling", "web")).get("status") or {}
        return found if found.get("lastScaleTime") and found.get("currentMetrics") else None

    found = await eventually(status)
    assert found["desiredReplicas"] == 4
    shown = found["currentMetrics"][0]["resource"]
    assert shown == {"name": "cpu", "current": {"averageUtilization": 90, "averageValue": "90m"}}
    states = {c["type"]: c["status"] for c in found["conditions"]}
    assert states["AbleToScale"] == states["ScalingActive"] == "True"
    messages = [e["message"] for e in await cluster.items("events") if e["reason"] == "SuccessfulRescale"]
    assert "New size: 4; reason: cpu resource utilization (percentage of request) above target" in messages


@pytest.mark.parametrize(("target", "kind", "reason"), [
    ("web", "ScalingActive", "FailedGetResourceMetric"), ("none", "AbleToScale", "FailedGetScale"),
])  # fmt: skip
async def test_what_stands_in_the_way_is_a_condition(
    cluster: Any, eventually: Any, target: str, kind: str, reason: str
) -> None:
    await autoscaled(cluster, target)

    async def failing() -> Any:
        state = objects.condition(await cluster.get("horizontalpodautoscalers.autoscaling", "web"), kind)
        return state if state is not None and state["status"] == "False" else None

    assert (await eventually(failing))["reason"] == reason
    assert (await cluster.get("deployments.apps", "web"))["spec"]["replicas"] == 2


NOT_SERVED = "the server could not find the requested resource (get "


@pytest.mark.parametrize(("metric", "reason", "message", "source"), [
    (
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
        "FailedGetResourceMetric",
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
        f"resource metrics API: {NOT_SERVED}pods.metrics.k8s.io)",
        "cpu resource metric value",
    ),
    (
        {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "3"}}},
        "FailedGetExternalMetric",
        "unable to get external metric test/queue/nil: unable to fetch metrics from external metrics API: "
        f"{NOT_SERVED}queue.external.metrics.k8s.io)",
        "queue external metric value: failed to get queue external metric",
    ),
    (
        {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "3"}}},
        "FailedGetPodsMetric",
        "unable to get metric qps: unable to fetch metrics from custom metrics API: no custom metrics API "
        "(custom.metrics.k8s.io) registered",
        "pods metric value",
    ),
])  # fmt: skip
async def test_a_metrics_api_that_is_not_there_is_named_in_the_words_of_kubernetes(
    cluster: Any, eventually: Any, metric: Any, reason: str, message: str, source: str
) -> None:
    await autoscaled(cluster, "web", metrics=[metric])

    async def said() -> Any:
        found = {e["reason"]: e["message"] for e in await cluster.items("events")}
        return found if "FailedComputeMetricsReplicas" in found else None

    found = await eventually(said)
    assert found[reason] == message
    wrapped = f"failed to get {source}: {message}"
    assert found["FailedComputeMetricsReplicas"] == (
        f"invalid metrics (1 invalid out of 1), first error is: {wrapped}"
    )


async def test_two_autoscalers_of_the_same_pods_stand_still_and_say_so(cluster: Any, eventually: Any) -> None:
    await autoscaled(cluster)

    async def scaled() -> Any:
        return (await cluster.get("deployments.apps", "web"))["status"].get("replicas") == 2

    await eventually(scaled)
    first = await cluster.get("horizontalpodautoscalers.autoscaling", "web")
    await cluster.make("horizontalpodautoscalers.autoscaling", "again", first["spec"])
    message = "pods by selector app=web are controlled by multiple HPAs: [{again test} {web test}]"

    async def told() -> Any:
        found = await cluster.get("horizontalpodautoscalers.autoscaling", "again")
        return objects.condition(found, "ScalingActive")

    found = await eventually(told)
    assert (found["reason"], found["message"]) == ("AmbiguousSelector", message)


async def test_a_target_without_replicas_is_not_scaled_and_shows_no_metrics(
    cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.controllers.horizontal_pod_autoscaler.reconciler._PERIOD", 0.2)
    await autoscaled(cluster)
    await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, "test")
    patch = {"spec": {"maxReplicas": 6}}
    await cluster.client.patch(AUTOSCALERS, "web", patch, "test")

    async def disabled() -> Any:
        found = await cluster.get("horizontalpodautoscalers.autoscaling", "web")
        active = objects.condition(found, "ScalingActive") or {}
        return active.get("reason") == "ScalingDisabled" and found["status"]

    status = await eventually(disabled)
    assert not status.get("currentMetrics")
    assert not status.get("desiredReplicas")


async def test_a_metric_that_fails_keeps_its_place_among_the_current_ones(
    cluster: Any, eventually: Any
) -> None:
    await autoscaled(cluster)

    async def shown() -> Any:
        found = await cluster.get("horizontalpodautoscalers.autoscaling", "web")
        return (found.get("status") or {}).get("currentMetrics")

    assert await eventually(shown) == [{"type": ""}]


async def test_a_scale_that_is_refused_is_told_and_tried_again_in_the_next_round(
    cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.controllers.horizontal_pod_autoscaler.reconciler._PERIOD", 0.2)
    rules = [
        {
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "operations": ["UPDATE"],
            "resources": ["deployments/scale"],
        }
    ]
    policy = {
        "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "not now"}],
    }  # fmt: skip
    await cluster.client.create(
        resource("validatingadmissionpolicies.admissionregistration.k8s.io"),
        {"metadata": {"name": "fixed"}, "spec": policy},
    )
    binding = {"policyName": "fixed", "validationActions": ["Deny"]}
    await cluster.client.create(
        resource("validatingadmissionpolicybindings.admissionregistration.k8s.io"),
        {"metadata": {"name": "fixed"}, "spec": binding},
    )
    await autoscaled(cluster)

    async def forbidden() -> bool:
        try:
            scale = await cluster.client.get(DEPLOYMENTS, "web", "test", "scale")
            await cluster.client.update(DEPLOYMENTS, scale, subresource="scale")
        except Invalid:
            return True
        return False

    await eventually(forbidden)
    await cluster.client.patch(AUTOSCALERS, "web", {"spec": {"minReplicas": 4}}, "test")

    async def refused() -> Any:
        found = await cluster.get("horizontalpodautoscalers.autoscaling", "web")
        able = objects.condition(found, "AbleToScale") or {}
        return able.get("reason") == "FailedUpdateScale" and found["status"]

    status = await eventually(refused)
    assert status["currentReplicas"] == 2 and "lastScaleTime" not in status
    assert status.get("desiredReplicas", 0) != 4

    async def told() -> Any:
        return [e["message"] for e in await cluster.items("events") if e["reason"] == "FailedRescale"]

    assert (await eventually(told))[0].startswith(
        "New size: 4; reason: Current number of replicas below Spec.MinReplicas; error: "
    )
