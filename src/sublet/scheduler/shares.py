"""How much of a node would be in use with a pod on it: what the plug-ins that score resources go by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


def weighted_shares(
    weights: Iterable[tuple[str, int]], pod: PodInfo, node: NodeInfo
) -> Iterator[tuple[float, int]]:
    """(share in use, weight) of each resource the node has; cpu and memory with defaults for pods without requests.

    A resource other than cpu and memory counts only for pods that ask for it, as upstream.
    """
    for name, weight in weights:
        capacity = node.allocatable.get(name, 0)
        if not capacity:
            continue
        if name == "cpu":
            used = node.scored[0] + pod.scored_cpu
        elif name == "memory":
            used = node.scored[1] + pod.scored_memory
        elif pod.requests.get(name):
            used = node.requested.get(name, 0) + pod.requests[name]
        else:
            continue
        yield used / capacity, weight
