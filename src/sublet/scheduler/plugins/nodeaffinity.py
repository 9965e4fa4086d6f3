"""nodeSelector and required node affinity must match; preferred node affinity adds its weights."""

from __future__ import annotations

from typing import Any

from sublet.machinery.scheduling import AFFINITY, matches_affinity, preference
from sublet.scheduler.framework import NODE_LABELS, SKIP, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


def _prepare(pod: PodInfo, _cluster: Cluster) -> Any:
    labels = pod.spec.get("nodeSelector") or {}
    required = (pod.affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return None if labels or required is not None else SKIP


def _filter(_state: Any, pod: PodInfo, node: NodeInfo) -> str | None:
    return None if matches_affinity(pod.pod, node.node) else AFFINITY


def _prepare_score(pod: PodInfo, _cluster: Cluster) -> Any:
    stated = pod.affinity.get("nodeAffinity") or {}
    return None if stated.get("preferredDuringSchedulingIgnoredDuringExecution") else SKIP


def _score(_state: Any, pod: PodInfo, node: NodeInfo) -> float:
    return float(preference(pod.pod, node.node))


PLUGIN = Plugin(
    "NodeAffinity",
    prepare=_prepare,
    filter=_filter,
    prepare_score=_prepare_score,
    score=_score,
    normalize="max",
    weight=2,
    wakes=frozenset({NODE_LABELS}),
)
