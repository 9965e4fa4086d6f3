"""Taints NoSchedule and NoExecute must be tolerated; nodes with fewer untolerated PreferNoSchedule are preferred."""

from __future__ import annotations

from typing import Any

from sublet.machinery.scheduling import tolerated
from sublet.scheduler.framework import NODE_TAINTS, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


def _filter(_state: Any, pod: PodInfo, node: NodeInfo) -> str | None:
    for taint in node.taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerated(taint, pod.tolerations):
            return "node(s) had untolerated taint(s)"
    return None


def _prepare_score(pod: PodInfo, _cluster: Cluster) -> Any:
    return [t for t in pod.tolerations if (t.get("effect") or "PreferNoSchedule") == "PreferNoSchedule"]


def _score(tolerations: Any, _pod: PodInfo, node: NodeInfo) -> float:
    if not node.taints:
        return 0.0
    soft = (taint for taint in node.taints if taint.get("effect") == "PreferNoSchedule")
    return float(sum(not tolerated(taint, tolerations) for taint in soft))


PLUGIN = Plugin(
    "TaintToleration",
    filter=_filter,
    prepare_score=_prepare_score,
    score=_score,
    normalize="reverse",
    weight=3,
    wakes=frozenset({NODE_TAINTS}),
)
