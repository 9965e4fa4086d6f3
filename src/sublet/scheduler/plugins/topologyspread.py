"""Topology spread constraints: how unevenly matching pods may lie over zones, hosts or other domains.

Source: kube-scheduler's PodTopologySpread, without its built-in default constraints' log weighting: pods of one
controller without constraints are spread softly over hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery import objects, selectors
from sublet.machinery.scheduling import matches_affinity, tolerated
from sublet.machinery.selectors import Selector
from sublet.scheduler.framework import (
    NODE_LABELS,
    NODE_TAINTS,
    POD_ADDED,
    POD_DELETED,
    SKIP,
    Cluster,
    Plugin,
)
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


@dataclass(slots=True)
class _Constraint:
    key: str
    max_skew: int
    selector: Selector
    min_domains: int
    honour_affinity: bool
    honour_taints: bool
    matches_itself: bool
    counts: dict[str, int] = field(default_factory=dict)
    """Domain -> matching pods in it."""

    def lowest(self) -> int:
        if len(self.counts) < self.min_domains:
            return 0
        return min(self.counts.values(), default=0)


def _constraints(pod: PodInfo, when: str) -> list[_Constraint]:
    found = []
    for stated in pod.spec.get("topologySpreadConstraints") or ():
        if stated.get("whenUnsatisfiable") != when:
            continue
        selector = _with_keys(selectors.from_label_selector(stated.get("labelSelector")), stated, pod)
        found.append(
            _Constraint(
                key=stated["topologyKey"],
                max_skew=int(stated.get("maxSkew") or 1),
                selector=selector,
                min_domains=int(stated.get("minDomains") or 1),
                honour_affinity=(stated.get("nodeAffinityPolicy") or "Honor") == "Honor",
                honour_taints=stated.get("nodeTaintsPolicy") == "Honor",
                matches_itself=selector.matches(pod.labels),
            )
        )
    return found


def _with_keys(selector: Selector, stated: Mapping[str, Any], pod: PodInfo) -> Selector:
    labels = {key: pod.labels[key] for key in stated.get("matchLabelKeys") or () if key in pod.labels}
    if not labels or selector.nothing:
        return selector
    return Selector(selector.requirements + selectors.from_labels(labels).requirements)


def _count(constraint: _Constraint, pod: PodInfo, nodes: Mapping[str, NodeInfo]) -> None:
    for node in nodes.values():
        domain = node.labels.get(constraint.key)
        if domain is None or not _counts(constraint, pod, node):
            continue
        here = sum(
            other.namespace == pod.namespace
            and constraint.selector.matches(other.labels)
            and not objects.is_deleting(other.pod)
            for other in node.pods.values()
        )
        constraint.counts[domain] = constraint.counts.get(domain, 0) + here


def _counts(constraint: _Constraint, pod: PodInfo, node: NodeInfo) -> bool:
    if constraint.honour_affinity and not matches_affinity(pod.pod, node.node):
        return False
    if constraint.honour_taints:
        hard = (t for t in node.taints if t.get("effect") in ("NoSchedule", "NoExecute"))
        return all(tolerated(taint, pod.tolerations) for taint in hard)
    return True


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    constraints = _constraints(pod, "DoNotSchedule")
    if not constraints:
        return SKIP
    for constraint in constraints:
        _count(constraint, pod, cluster.nodes)
    return constraints


def _filter(constraints: Any, _pod: PodInfo, node: NodeInfo) -> str | None:
    for constraint in constraints:
        domain = node.labels.get(constraint.key)
        if domain is None:
            return "node(s) didn't match pod topology spread constraints (missing required label)"
        after = constraint.counts.get(domain, 0) + constraint.matches_itself
        if after - constraint.lowest() > constraint.max_skew:
            return "node(s) didn't match pod topology spread constraints"
    return None


def _shift(constraints: Any, pod: PodInfo, other: PodInfo, node: NodeInfo, by: int) -> None:
    for constraint in constraints:
        domain = node.labels.get(constraint.key)
        if (
            domain in constraint.counts
            and other.namespace == pod.namespace
            and constraint.selector.matches(other.labels)
        ):
            constraint.counts[domain] += by


def _prepare_score(pod: PodInfo, cluster: Cluster) -> Any:
    constraints = _constraints(pod, "ScheduleAnyway")
    if not constraints:
        owner = objects.controller_of(pod.pod)
        if owner is None or pod.spec.get("topologySpreadConstraints") or not pod.labels:
            return SKIP
        return str(owner.get("uid"))
    for constraint in constraints:
        _count(constraint, pod, cluster.nodes)
    return constraints


def _score(state: Any, _pod: PodInfo, node: NodeInfo) -> float:
    """How many matching pods share the node's domains: fewer is better."""
    if isinstance(state, str):
        return float(sum(other.controller_uid == state for other in node.pods.values()))
    total = 0.0
    for constraint in state:
        domain = node.labels.get(constraint.key)
        if domain is None:
            total += max(constraint.counts.values(), default=0) + 1
        else:
            total += constraint.counts.get(domain, 0) / constraint.max_skew
    return total


PLUGIN = Plugin(
    "PodTopologySpread",
    prepare=_prepare,
    filter=_filter,
    prepare_score=_prepare_score,
    score=_score,
    normalize="reverse",
    weight=2,
    wakes=frozenset({NODE_LABELS, NODE_TAINTS, POD_ADDED, POD_DELETED}),
    preemptible=True,
    remove_pod=lambda state, pod, other, node: _shift(state, pod, other, node, -1),
    add_pod=lambda state, pod, other, node: _shift(state, pod, other, node, 1),
)
