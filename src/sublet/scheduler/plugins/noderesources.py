"""Requests must fit into what a node has left; nodes that keep more free, evenly, are preferred."""

from __future__ import annotations

from typing import Any

from sublet.scheduler.framework import MAX_SCORE, NODE_RESOURCES, POD_DELETED, Cluster, Plugin, reasons
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


def _prepare(pod: PodInfo, _cluster: Cluster) -> Any:
    return [(name, value) for name, value in pod.requests.items() if value > 0 and name != "pods"]


def _filter(wanted: Any, _pod: PodInfo, node: NodeInfo) -> str | None:
    missing: list[str] | None = None
    if len(node.pods) + 1 > node.max_pods:
        missing = ["Too many pods"]
    allocatable, requested = node.allocatable, node.requested
    for name, value in wanted:
        if value > allocatable.get(name, 0) - requested.get(name, 0):
            missing = [*(missing or ()), f"Insufficient {name}"]
    return reasons(missing) if missing else None


def _score(_state: Any, pod: PodInfo, node: NodeInfo) -> float:
    """The mean of least-allocated (free share of cpu and memory) and balanced allocation (their difference)."""
    cpu, memory = node.allocatable.get("cpu", 0), node.allocatable.get("memory", 0)
    if not cpu or not memory:
        return 0.0
    cpu_share = min(1.0, (node.scored[0] + pod.scored_cpu) / cpu)
    memory_share = min(1.0, (node.scored[1] + pod.scored_memory) / memory)
    least = (2.0 - cpu_share - memory_share) / 2
    balanced = 1.0 - abs(cpu_share - memory_share) / 2
    return (least + balanced) / 2 * MAX_SCORE


PLUGIN = Plugin(
    "NodeResourcesFit",
    prepare=_prepare,
    filter=_filter,
    score=_score,
    weight=2,
    wakes=frozenset({NODE_RESOURCES, POD_DELETED}),
    preemptible=True,
)
