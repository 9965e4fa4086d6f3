"""A pod must fit beside the pods that are there: every requested resource, and the number of pods.

Source: kube-scheduler's NodeResourcesFit with its three scoring strategies (NodeResourcesFitArgs of
kubescheduler.config.k8s.io/v1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sublet.scheduler.framework import (
    DEVICE_CHANGED,
    MAX_SCORE,
    NODE_RESOURCES,
    POD_DELETED,
    Cluster,
    Plugin,
    Score,
    reasons,
)
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.shares import weighted_shares

_DEFAULT = ({"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1})
Shape = Sequence[tuple[float, float]]
"""(utilization 0 to 1, score 0 to 100), ascending."""


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    return _wanted(pod, cluster, frozenset(), ())


def _wanted(
    pod: PodInfo, cluster: Cluster, ignored: frozenset[str], groups: Sequence[str]
) -> list[tuple[str, int, bool]]:
    """(resource, amount, whether a device class serves it) of what the pod needs."""
    by_class = cluster.lookup.by_class(pod.requests)
    return [
        (name, value, name in by_class)
        for name, value in pod.requests.items()
        if value > 0 and name != "pods" and name not in ignored and name.partition("/")[0] not in groups
    ]


def _filter(wanted: Any, _pod: PodInfo, node: NodeInfo) -> str | None:
    missing: list[str] | None = None
    if len(node.pods) + 1 > node.max_pods:
        missing = ["Too many pods"]
    allocatable, requested = node.allocatable, node.requested
    for name, value, by_class in wanted:
        there = allocatable.get(name, 0)
        if value > there - requested.get(name, 0) and (there or not by_class):
            missing = [*(missing or ()), f"Insufficient {name}"]
    return reasons(missing) if missing else None


def _too_large(wanted: Any, _pod: PodInfo, node: NodeInfo, _reason: str) -> bool:
    """The node would be too small for the pod if it were empty."""
    return any(
        value > (there := node.allocatable.get(name, 0)) and (there or not by_class)
        for name, value, by_class in wanted
    )


def _scorer(resources: Sequence[Mapping[str, Any]], value: Callable[[float], float]) -> Score:
    """The weighted mean over ``resources`` of what ``value`` makes of the share in use."""
    weights = [(str(each["name"]), int(each.get("weight") or 1)) for each in resources]

    def score(_state: Any, pod: PodInfo, node: NodeInfo) -> float:
        total = sum_of_weights = 0.0
        for share, weight in weighted_shares(weights, pod, node):
            total += value(share) * weight
            sum_of_weights += weight
        return total / sum_of_weights if sum_of_weights else 0.0

    return score


def _least(share: float) -> float:
    return (1.0 - share) * MAX_SCORE if share <= 1.0 else 0.0


def _most(share: float) -> float:
    return min(share, 1.0) * MAX_SCORE


def _by_shape(shape: Shape) -> Callable[[float], float]:
    def value(share: float) -> float:
        share = min(share, 1.0)
        before = shape[0]
        for point in shape:
            if share <= point[0]:
                if point[0] == before[0]:
                    return point[1]
                part = (share - before[0]) / (point[0] - before[0])
                return before[1] + part * (point[1] - before[1])
            before = point
        return before[1]

    return value


def _shape(strategy: Mapping[str, Any]) -> Shape:
    stated = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
    if not stated:
        raise ValueError(
            "scoringStrategy.requestedToCapacityRatio.shape: at least one point must be specified"
        )
    points = [(int(p.get("utilization") or 0) / 100, int(p.get("score") or 0) * 10.0) for p in stated]
    if any(left[0] >= right[0] for left, right in itertools.pairwise(points)):
        raise ValueError(
            "scoringStrategy.requestedToCapacityRatio.shape: utilization values must be sorted in increasing order"
        )
    if not all(0 <= used <= 1 and 0 <= score <= MAX_SCORE for used, score in points):
        raise ValueError(
            "scoringStrategy.requestedToCapacityRatio.shape: utilization must be 0 to 100, score 0 to 10"
        )
    return points


def _configure(args: Mapping[str, Any]) -> Plugin:
    strategy = args.get("scoringStrategy") or {}
    kind = strategy.get("type") or "LeastAllocated"
    values: dict[str, Callable[[float], float]] = {"LeastAllocated": _least, "MostAllocated": _most}
    if kind == "RequestedToCapacityRatio":
        values[kind] = _by_shape(_shape(strategy))
    if kind not in values:
        raise ValueError(
            f'scoringStrategy.type: Unsupported value: "{kind}": supported values: '
            '"LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"'
        )
    ignored = frozenset(args.get("ignoredResources") or ())
    groups = tuple(args.get("ignoredResourceGroups") or ())
    return replace(
        PLUGIN,
        prepare=lambda pod, cluster: _wanted(pod, cluster, ignored, groups),
        score=_scorer(strategy.get("resources") or _DEFAULT, values[kind]),
    )


PLUGIN = Plugin(
    "NodeResourcesFit",
    prepare=_prepare,
    filter=_filter,
    score=_scorer(_DEFAULT, _least),
    wakes=frozenset({NODE_RESOURCES, POD_DELETED, DEVICE_CHANGED}),
    preemptible=True,
    unresolvable=_too_large,
    configure=_configure,
)
