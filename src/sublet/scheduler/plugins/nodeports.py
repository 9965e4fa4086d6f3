"""A host port is given to one pod per node, protocol and address."""

from __future__ import annotations

from typing import Any

from sublet.scheduler.framework import POD_DELETED, SKIP, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo, conflicts


def _prepare(pod: PodInfo, _cluster: Cluster) -> Any:
    return None if pod.ports else SKIP


def _filter(_state: Any, pod: PodInfo, node: NodeInfo) -> str | None:
    if node.ports and conflicts(pod.ports, node.ports):
        return "node(s) didn't have free ports for the requested pod ports"
    return None


PLUGIN = Plugin(
    "NodePorts", prepare=_prepare, filter=_filter, wakes=frozenset({POD_DELETED}), preemptible=True
)
