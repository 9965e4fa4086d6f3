"""Prefers nodes on which the shares of the resources in use are alike. Source: NodeResourcesBalancedAllocation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sublet.scheduler.framework import MAX_SCORE, SKIP, Cluster, Plugin, Score
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.shares import weighted_shares

_DEFAULT = ("cpu", "memory")


def _prepare_score(pod: PodInfo, _cluster: Cluster) -> Any:
    """A pod without requests changes no balance."""
    return None if any(pod.requests.get(name) for name in pod.requests if name != "pods") else SKIP


def _scorer(names: Sequence[str]) -> Score:
    weights = [(name, 1) for name in names]

    def score(_state: Any, pod: PodInfo, node: NodeInfo) -> float:
        shares = [min(share, 1.0) for share, _ in weighted_shares(weights, pod, node)]
        deviation = 0.0
        if len(shares) == 2:
            deviation = abs(shares[0] - shares[1]) / 2
        elif len(shares) > 2:
            mean = sum(shares) / len(shares)
            deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
        return (1.0 - deviation) * MAX_SCORE

    return score


def _configure(args: Mapping[str, Any]) -> Plugin:
    names = [str(each["name"]) for each in args.get("resources") or ()]
    return replace(PLUGIN, score=_scorer(names or _DEFAULT))


PLUGIN = Plugin(
    "NodeResourcesBalancedAllocation",
    prepare_score=_prepare_score,
    score=_scorer(_DEFAULT),
    configure=_configure,
)
