"""nodeSelector and required node affinity must match; preferred node affinity adds its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sublet.machinery.scheduling import AFFINITY, matches_affinity, matches_node_selector, preference
from sublet.scheduler.framework import NODE_LABELS, SKIP, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


def _configure(args: Mapping[str, Any]) -> Plugin:
    """``addedAffinity``: node affinity that every pod of the profile must meet besides its own."""
    added = args.get("addedAffinity") or {}
    if not added:
        return PLUGIN
    required = added.get("requiredDuringSchedulingIgnoredDuringExecution")
    stated = {"spec": {"affinity": {"nodeAffinity": added}}}

    def fits(_state: Any, pod: PodInfo, node: NodeInfo) -> str | None:
        if required is not None and not matches_node_selector(required, node.node):
            return "node(s) didn't match scheduler-enforced node affinity"
        return _filter(_state, pod, node)

    return replace(
        PLUGIN,
        prepare=lambda _pod, _cluster: None,
        filter=fits,
        prepare_score=lambda _pod, _cluster: None,
        score=lambda state, pod, node: _score(state, pod, node) + preference(stated, node.node),
    )


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
    configure=_configure,
)
