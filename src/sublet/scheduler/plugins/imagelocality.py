"""Prefers nodes that have the pod's images. Source: kube-scheduler's ImageLocality.

An image's size counts in proportion to the share of nodes that have it, so that pods do not crowd on the one node
that pulled it first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sublet.scheduler.framework import MAX_SCORE, SKIP, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo

_MEGABYTE = 1024 * 1024
_LEAST = 23 * _MEGABYTE
"""Below this an image is not worth a preference."""
_MOST_PER_CONTAINER = 1000 * _MEGABYTE


@dataclass(frozen=True, slots=True)
class _State:
    spread: dict[str, float]
    """Image -> share of nodes that have it."""
    containers: int


def normal_name(image: str) -> str:
    """With the tag ``:latest`` where none is stated, as nodes report images."""
    if image.rfind(":") <= image.rfind("/") and "@" not in image:
        return f"{image}:latest"
    return image


def _prepare_score(pod: PodInfo, cluster: Cluster) -> Any:
    containers = [*(pod.spec.get("initContainers") or ()), *(pod.spec.get("containers") or ())]
    wanted = {normal_name(str(c.get("image") or "")) for c in containers}
    total = len(cluster.nodes)
    spread = {image: sum(image in node.images for node in cluster.nodes.values()) / total for image in wanted}
    return _State(spread, len(containers)) if any(spread.values()) else SKIP


def _score(state: _State, _pod: PodInfo, node: NodeInfo) -> float:
    size = sum(node.images.get(image, 0) * share for image, share in state.spread.items())
    most = _MOST_PER_CONTAINER * max(state.containers, 1)
    return (min(max(size, _LEAST), most) - _LEAST) * MAX_SCORE / (most - _LEAST)


PLUGIN = Plugin("ImageLocality", prepare_score=_prepare_score, score=_score)
