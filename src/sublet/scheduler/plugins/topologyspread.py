"""Topology spread constraints: how unevenly matching pods may lie over zones, hosts or other domains.

Source: kube-scheduler's PodTopologySpread. Pods without constraints get those of ``defaultConstraints``, counted over the
pods of their controller; where none are configured they are spread softly over hosts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    selects: Callable[[PodInfo], bool]
    min_domains: int
    honour_affinity: bool
    honour_taints: bool
    matches_itself: bool
    counts: dict[str, int] = field(default_factory=dict)
    """Domain -> matching pods in it."""

    @property
    def weight(self) -> float:
        """Many small domains count for more than few large ones (upstream's formula)."""
        return math.log(len(self.counts) + 2)

    def lowest(self) -> int:
        if len(self.counts) < self.min_domains:
            return 0
        return min(self.counts.values(), default=0)


def _stated(pod: PodInfo, defaults: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    own = pod.spec.get("topologySpreadConstraints")
    return own or (defaults if pod.controller_uid else ())


def _selects(pod: PodInfo, stated: Mapping[str, Any]) -> Callable[[PodInfo], bool]:
    if stated.get("labelSelector") is None and not pod.spec.get("topologySpreadConstraints"):
        return lambda other: other.controller_uid == pod.controller_uid
    selector = _with_keys(selectors.from_label_selector(stated.get("labelSelector")), stated, pod)
    return lambda other: other.namespace == pod.namespace and selector.matches(other.labels)


def _constraints(pod: PodInfo, when: str, defaults: Sequence[Mapping[str, Any]] = ()) -> list[_Constraint]:
    found = []
    for stated in _stated(pod, defaults):
        if stated.get("whenUnsatisfiable") != when:
            continue
        selects = _selects(pod, stated)
        found.append(
            _Constraint(
                key=stated["topologyKey"],
                max_skew=int(stated.get("maxSkew") or 1),
                selects=selects,
                min_domains=int(stated.get("minDomains") or 1),
                honour_affinity=(stated.get("nodeAffinityPolicy") or "Honor") == "Honor",
                honour_taints=stated.get("nodeTaintsPolicy") == "Honor",
                matches_itself=selects(pod),
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
            constraint.selects(other) and not objects.is_deleting(other.pod) for other in node.pods.values()
        )
        constraint.counts[domain] = constraint.counts.get(domain, 0) + here


def _counts(constraint: _Constraint, pod: PodInfo, node: NodeInfo) -> bool:
    if constraint.honour_affinity and not matches_affinity(pod.pod, node.node):
        return False
    if constraint.honour_taints:
        hard = (t for t in node.taints if t.get("effect") in ("NoSchedule", "NoExecute"))
        return all(tolerated(taint, pod.tolerations) for taint in hard)
    return True


def _prepare(pod: PodInfo, cluster: Cluster, defaults: Sequence[Mapping[str, Any]] = ()) -> Any:
    constraints = _constraints(pod, "DoNotSchedule", defaults)
    if not constraints:
        return SKIP
    for constraint in constraints:
        _count(constraint, pod, cluster.nodes)
    return constraints


_NO_DOMAIN = "node(s) didn't match pod topology spread constraints (missing required label)"


def _filter(constraints: Any, _pod: PodInfo, node: NodeInfo) -> str | None:
    for constraint in constraints:
        domain = node.labels.get(constraint.key)
        if domain is None:
            return _NO_DOMAIN
        after = constraint.counts.get(domain, 0) + constraint.matches_itself
        if after - constraint.lowest() > constraint.max_skew:
            return "node(s) didn't match pod topology spread constraints"
    return None


def _shift(constraints: Any, pod: PodInfo, other: PodInfo, node: NodeInfo, by: int) -> None:
    for constraint in constraints:
        domain = node.labels.get(constraint.key)
        if domain in constraint.counts and constraint.selects(other):
            constraint.counts[domain] += by


def _prepare_score(
    pod: PodInfo, cluster: Cluster, defaults: Sequence[Mapping[str, Any]] | None = None
) -> Any:
    constraints = _constraints(pod, "ScheduleAnyway", defaults or ())
    if not constraints and defaults is not None:
        return SKIP
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
        return float(node.controllers.get(state, 0))
    total = 0.0
    for constraint in state:
        domain = node.labels.get(constraint.key)
        if domain is None:
            total += (max(constraint.counts.values(), default=0) + 1) * constraint.weight
        else:
            total += constraint.counts.get(domain, 0) * constraint.weight + constraint.max_skew - 1
    return total


def _configure(args: Mapping[str, Any]) -> Plugin:
    kind = args.get("defaultingType") or "System"
    defaults = list(args.get("defaultConstraints") or ())
    if kind not in ("System", "List"):
        raise ValueError(f'defaultingType: Unsupported value: "{kind}": supported values: "System", "List"')
    if kind == "System":
        if defaults:
            raise ValueError(
                'defaultingType: Invalid value: "System": when .defaultConstraints are not empty'
            )
        return PLUGIN
    for stated in defaults:
        if stated.get("labelSelector") is not None:
            raise ValueError(
                "defaultConstraints.labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"
            )
    return replace(
        PLUGIN,
        prepare=lambda pod, cluster: _prepare(pod, cluster, defaults),
        prepare_score=lambda pod, cluster: _prepare_score(pod, cluster, defaults),
    )


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
    unresolvable=lambda _state, _pod, _node, reason: reason == _NO_DOMAIN,
    remove_pod=lambda state, pod, other, node: _shift(state, pod, other, node, -1),
    add_pod=lambda state, pod, other, node: _shift(state, pod, other, node, 1),
    configure=_configure,
)
