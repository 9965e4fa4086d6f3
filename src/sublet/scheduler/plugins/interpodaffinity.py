"""Affinity and anti-affinity between pods: required terms filter, preferred terms score.

Source: kube-scheduler's InterPodAffinity. Anti-affinity is symmetric: pods that are there may keep this one away. The
first pod of a group that requires affinity to itself is let in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sublet.machinery import objects, selectors
from sublet.machinery.selectors import Selector
from sublet.scheduler.framework import (
    NODE_LABELS,
    POD_ADDED,
    POD_DELETED,
    SKIP,
    Cluster,
    Plugin,
    Prepare,
)
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

Domain = tuple[str, str]
"""(topology key, value)"""


@dataclass(frozen=True, slots=True)
class _Term:
    selector: Selector
    key: str
    namespaces: frozenset[str]
    namespace_selector: Selector | None

    def matches(self, pod: PodInfo, cluster: Cluster) -> bool:
        if pod.namespace not in self.namespaces:
            if self.namespace_selector is None:
                return False
            if not self.namespace_selector.everything:
                namespace = cluster.lookup.namespaces.get("", pod.namespace)
                if namespace is None or not self.namespace_selector.matches(objects.labels(namespace)):
                    return False
        return self.selector.matches(pod.labels)


@dataclass(slots=True)
class _State:
    cluster: Cluster
    affinity: list[_Term]
    anti: list[_Term]
    affinity_counts: dict[Domain, int] = field(default_factory=dict)
    anti_counts: dict[Domain, int] = field(default_factory=dict)
    existing_counts: dict[Domain, int] = field(default_factory=dict)
    """Domains that anti-affinity of pods which are there forbids."""
    matches_itself: bool = False


def _terms(pod: PodInfo, kind: str) -> list[_Term]:
    return [_term(pod, stated) for stated in (pod.affinity.get(kind) or {}).get(_REQUIRED) or ()]


def _term(pod: PodInfo, stated: Mapping[str, Any]) -> _Term:
    selector = selectors.from_label_selector(stated.get("labelSelector"))
    if not selector.nothing:
        same = {k: pod.labels[k] for k in stated.get("matchLabelKeys") or () if k in pod.labels}
        selector = Selector(selector.requirements + selectors.from_labels(same).requirements)
    others = stated.get("namespaceSelector")
    names = frozenset(stated.get("namespaces") or ())
    return _Term(
        selector,
        stated["topologyKey"],
        names if names or others is not None else frozenset({pod.namespace}),
        selectors.from_label_selector(others) if others is not None else None,
    )


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    state = _State(cluster, _terms(pod, "podAffinity"), _terms(pod, "podAntiAffinity"))
    own = bool(state.affinity or state.anti)
    others = any(node.with_affinity for node in cluster.nodes.values())
    if not own and not others:
        return SKIP
    state.matches_itself = bool(state.affinity) and all(t.matches(pod, cluster) for t in state.affinity)
    for node in cluster.nodes.values():
        for other in (node.pods if own else node.with_affinity).values():
            _apply(state, pod, other, node, 1)
    return state if own or state.existing_counts else SKIP


def _apply(state: _State, pod: PodInfo, other: PodInfo, node: NodeInfo, by: int) -> None:
    """Counts one pod that is there."""
    for domain, counts in _effects(state, pod, other, node):
        counts[domain] = counts.get(domain, 0) + by
        if counts[domain] <= 0:
            del counts[domain]


def _effects(
    state: _State, pod: PodInfo, other: PodInfo, node: NodeInfo
) -> Iterator[tuple[Domain, dict[Domain, int]]]:
    cluster = state.cluster
    if state.affinity and all(term.matches(other, cluster) for term in state.affinity):
        for term in state.affinity:
            if (value := node.labels.get(term.key)) is not None:
                yield (term.key, value), state.affinity_counts
    for term in state.anti:
        if (value := node.labels.get(term.key)) is not None and term.matches(other, cluster):
            yield (term.key, value), state.anti_counts
    if other.has_pod_affinity:
        for term in _terms(other, "podAntiAffinity"):
            if (value := node.labels.get(term.key)) is not None and term.matches(pod, cluster):
                yield (term.key, value), state.existing_counts


_NO_COMPANY = "node(s) didn't match pod affinity rules"


def _filter(state: _State, _pod: PodInfo, node: NodeInfo) -> str | None:
    labels = node.labels
    for term in state.affinity:
        value = labels.get(term.key)
        if value is None:
            return _NO_COMPANY
        if not state.affinity_counts.get((term.key, value)) and (
            state.affinity_counts or not state.matches_itself
        ):
            return _NO_COMPANY
    for term in state.anti:
        value = labels.get(term.key)
        if value is not None and state.anti_counts.get((term.key, value)):
            return "node(s) didn't match pod anti-affinity rules"
    for key, value in state.existing_counts:
        if labels.get(key) == value:
            return "node(s) didn't satisfy existing pods anti-affinity rules"
    return None


def _preferred(pod: PodInfo) -> list[tuple[int, _Term]]:
    return [
        (sign * int(stated["weight"]), _term(pod, stated["podAffinityTerm"]))
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1))
        for stated in (pod.affinity.get(kind) or {}).get(_PREFERRED) or ()
    ]


def _scorer(hard_weight: int, ignore_existing: bool) -> Prepare:
    """``hard_weight``: what required affinity of pods that are there is worth to a pod they ask for."""

    def prepare(pod: PodInfo, cluster: Cluster) -> Any:
        own = _preferred(pod)
        scores: dict[Domain, float] = {}

        def add(node: NodeInfo, weight: int, term: _Term, whom: PodInfo) -> None:
            value = node.labels.get(term.key)
            if value is not None and weight and term.matches(whom, cluster):
                scores[term.key, value] = scores.get((term.key, value), 0) + weight

        for node in cluster.nodes.values():
            for other in (node.pods if own else node.with_affinity).values():
                for weight, term in own:
                    add(node, weight, term, other)
                if not other.has_pod_affinity or (ignore_existing and not own):
                    continue
                for weight, term in _preferred(other):
                    add(node, weight, term, pod)
                for term in _terms(other, "podAffinity"):
                    add(node, hard_weight, term, pod)
        return (scores, {key for key, _ in scores}) if scores else SKIP

    return prepare


def _score(state: Any, _pod: PodInfo, node: NodeInfo) -> float:
    """The sum of the weights of the node's domains."""
    scores, keys = state
    return float(sum(scores.get((key, node.labels.get(key)), 0.0) for key in keys))


def _configure(args: Mapping[str, Any]) -> Plugin:
    weight = args.get("hardPodAffinityWeight")
    weight = 1 if weight is None else int(weight)
    if not 0 <= weight <= 100:
        raise ValueError(f"hardPodAffinityWeight: Invalid value: {weight}: not in valid range [0-100]")
    ignore = bool(args.get("ignorePreferredTermsOfExistingPods"))
    return replace(PLUGIN, prepare_score=_scorer(weight, ignore))


PLUGIN = Plugin(
    "InterPodAffinity",
    prepare=_prepare,
    filter=_filter,
    prepare_score=_scorer(1, False),
    score=_score,
    normalize="range",
    weight=2,
    wakes=frozenset({NODE_LABELS, POD_ADDED, POD_DELETED}),
    preemptible=True,
    unresolvable=lambda _state, _pod, _node, reason: reason == _NO_COMPANY,
    remove_pod=lambda state, pod, other, node: _apply(state, pod, other, node, -1),
    add_pod=lambda state, pod, other, node: _apply(state, pod, other, node, 1),
    configure=_configure,
)
