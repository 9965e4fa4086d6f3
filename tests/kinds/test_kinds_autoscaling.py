"""Version 1 of HorizontalPodAutoscaler keeps in annotations, in shapes of old, what it has no fields for."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sublet.kinds import catalog
from sublet.machinery.kind import Object

KIND = catalog.everything()["autoscaling", "horizontalpodautoscalers"]
OLD = KIND.also_served[0]
PREFIX = "autoscaling.alpha.kubernetes.io/"
TARGET = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
}
OTHERS: list[tuple[Object, Object]] = [
    (
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
        {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}},
    ),
    (
        {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}, "container": "c",
            },
        },
        {"type": "ContainerResource",
         "containerResource": {"name": "cpu", "targetAverageUtilization": 5, "container": "c"}},
    ),
    (
        {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "3"}}},
        {"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "3"}},
    ),
    (
        {
            "type": "Object",
            "object": {
                "describedObject": TARGET, "metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "Value", "value": "7"},
            },
        },
        {"type": "Object", "object": {
            "target": TARGET, "metricName": "m", "selector": {"matchLabels": {"a": "b"}}, "targetValue": "7",
        }},
    ),
    (
        {"type": "Object", "object": {
            "describedObject": TARGET, "metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "7"},
        }},
        {"type": "Object",
         "object": {"target": TARGET, "metricName": "m", "targetValue": "0", "averageValue": "7"}},
    ),
    (
        {"type": "External", "external": {
            "metric": {"name": "m", "selector": {}}, "target": {"type": "AverageValue", "averageValue": "2"},
        }},
        {"type": "External", "external": {"metricName": "m", "metricSelector": {}, "targetAverageValue": "2"}},
    ),
]  # fmt: skip


def stored(**spec: Any) -> Object:
    obj = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": TARGET, "minReplicas": 1, "maxReplicas": 3, **spec},
    }  # fmt: skip
    return copy.deepcopy(obj)


def annotation(obj: Object, name: str) -> Any:
    return json.loads(obj["metadata"]["annotations"][PREFIX + name])


@pytest.mark.parametrize(("now", "then"), OTHERS)
def test_metrics_are_told_as_version_1_told_them(now: Object, then: Object) -> None:
    whole = stored(metrics=[now, CPU])
    old = OLD.from_stored(copy.deepcopy(whole))
    assert old["spec"]["targetCPUUtilizationPercentage"] == 60
    assert annotation(old, "metrics") == [then]
    back = OLD.to_stored(old)
    if "selector" in str(now) and not (now.get("external") or {}).get("metric", {}).get("selector", True):
        del whole["spec"]["metrics"][0]["external"]["metric"]["selector"]
    assert back == whole


def test_what_is_reported_and_how_it_behaves_is_told_in_annotations() -> None:
    up = {
        "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
    }  # fmt: skip
    used = {"averageUtilization": 30, "averageValue": "10m"}
    status = {
        "currentReplicas": 1, "desiredReplicas": 1,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": used}}],
        "conditions": [{"type": "AbleToScale", "status": "True"}],
    }  # fmt: skip
    whole = {**stored(metrics=[CPU], behavior={"scaleUp": up}), "status": status}
    old = OLD.from_stored(copy.deepcopy(whole))
    assert old["status"]["currentCPUUtilizationPercentage"] == 30
    assert annotation(old, "current-metrics") == [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "currentAverageUtilization": 30, "currentAverageValue": "10m"},
        }
    ]
    shown = annotation(old, "behavior")
    assert shown["ScaleUp"]["Policies"] == [{"Type": "Pods", "Value": 4, "PeriodSeconds": 15}]
    assert shown["ScaleDown"] is None
    assert OLD.to_stored(old) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "{}",
        "3",
        '["a"]',
        '[{"type": "Pods", "pods": 3}]',
        '[{"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "x"}}]',
    ],
)
def test_an_annotation_that_cannot_be_read_is_dropped(text: str) -> None:
    old = OLD.from_stored(stored())
    old["metadata"]["annotations"] = {PREFIX + name: text for name in ("metrics", "behavior", "conditions")}
    old["metadata"]["annotations"]["own"] = "x"
    made = OLD.to_stored(old)
    assert made["metadata"]["annotations"] == {"own": "x"}
    assert not made["spec"].get("metrics")


def test_version_2_keeps_none_of_the_annotations() -> None:
    obj = stored()
    obj["metadata"]["annotations"] = {PREFIX + "metrics": "[]"}
    KIND.default(obj)
    assert "annotations" not in obj["metadata"]
