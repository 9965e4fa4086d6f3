"""Cordoned nodes take only pods that tolerate ``node.kubernetes.io/unschedulable``."""

from __future__ import annotations

from typing import Any

from sublet.machinery.scheduling import UNSCHEDULABLE, tolerated
from sublet.scheduler.framework import NODE_TAINTS, SKIP, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo

_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _prepare(pod: PodInfo, _cluster: Cluster) -> Any:
    return SKIP if tolerated(_TAINT, pod.tolerations) else None


def _filter(_state: Any, _pod: PodInfo, node: NodeInfo) -> str | None:
    return UNSCHEDULABLE if node.unschedulable else None


PLUGIN = Plugin("NodeUnschedulable", prepare=_prepare, filter=_filter, wakes=frozenset({NODE_TAINTS}))
