"""A pod that names its node goes there or nowhere."""

from __future__ import annotations

from typing import Any

from sublet.scheduler.framework import SKIP, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


def _prepare(pod: PodInfo, _cluster: Cluster) -> Any:
    return None if pod.node_name else SKIP


def _filter(_state: Any, pod: PodInfo, node: NodeInfo) -> str | None:
    return None if pod.node_name == node.name else "node(s) didn't match the requested node name"


PLUGIN = Plugin("NodeName", prepare=_prepare, filter=_filter)
