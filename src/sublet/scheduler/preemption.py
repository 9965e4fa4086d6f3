"""Which pods to remove so that a more important one fits.

Source: kube-scheduler's DefaultPreemption: on each node where removing pods may help, take all less important pods
away, then put back as many as still leave room, those protected by a disruption budget and the important ones first;
of all such nodes choose the one that loses least.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sublet.machinery import objects, selectors
from sublet.machinery.kind import Object
from sublet.scheduler.framework import Attempt, Cluster, unavailable
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and the pods that must leave it, most important first."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int
    """How many of them a disruption budget would have kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    candidate: Candidate | None
    message: str = ""
    """Why there is none, as it ends the message of the failed attempt."""


def not_eligible(pod: PodInfo, nodes: Mapping[str, NodeInfo]) -> str:
    """Why nobody has to go: ``preemptionPolicy: Never``, or victims of an earlier preemption still leave; or empty."""
    if pod.spec.get("preemptionPolicy") == "Never":
        return "not eligible due to preemptionPolicy=Never."
    node = nodes.get(pod.nominated)
    if node is not None and any(
        other.priority < pod.priority and objects.is_deleting(other.pod) for other in node.pods.values()
    ):
        return "not eligible due to a terminating pod on the nominated node."
    return ""


def choose(attempt: Attempt, cluster: Cluster, budgets: Sequence[Object]) -> Outcome:
    """The best candidate for the pod of a failed attempt; changes nothing."""
    if why := not_eligible(attempt.pod, cluster.nodes):
        return Outcome(None, why)
    reasons: list[str] = []
    candidates = []
    for node in cluster.nodes.values():
        found = _victims(attempt, node, budgets) if attempt.may_yield(node) else NOT_HELPFUL
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            reasons.append(found)
    if candidates:
        return Outcome(min(candidates, key=_loss))
    return Outcome(None, unavailable(len(cluster.nodes), reasons))


def _victims(attempt: Attempt, node: NodeInfo, budgets: Sequence[Object]) -> Candidate | str:
    """Who must leave the node, or why that helps nobody."""
    pod = attempt.pod
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return NO_VICTIMS
    trial = _Trial(attempt, node)
    for other in lower:
        trial.remove(other)
    if (still := trial.refusal()) is not None:
        return still
    violating, others = _by_budget(sorted(lower, key=_importance), budgets)
    victims, violations = [], 0
    for group, counted in ((violating, 1), (others, 0)):
        for other in group:
            trial.add(other)
            if trial.refusal() is not None:
                trial.remove(other)
                victims.append(other)
                violations += counted
    if not victims:
        return NO_VICTIMS
    return Candidate(node.name, tuple(sorted(victims, key=_importance)), violations)


class _Trial:
    """A node on which pods are taken away and put back, with copies of the plug-ins' states."""

    def __init__(self, attempt: Attempt, node: NodeInfo) -> None:
        self._node = node.copy()
        self._attempt = Attempt(attempt.pod, attempt.profile, dict(attempt.states), attempt.skipped)
        self._moving = [
            plugin
            for plugin in attempt.profile.plugins
            if plugin.remove_pod and plugin.name in attempt.states
        ]
        for plugin in self._moving:
            self._attempt.states[plugin.name] = _copied(attempt.states[plugin.name])

    def remove(self, other: PodInfo) -> None:
        self._node.remove(other.uid)
        for plugin in self._moving:
            if plugin.remove_pod:
                plugin.remove_pod(self._attempt.states[plugin.name], self._attempt.pod, other, self._node)

    def add(self, other: PodInfo) -> None:
        self._node.add(other)
        for plugin in self._moving:
            if plugin.add_pod:
                plugin.add_pod(self._attempt.states[plugin.name], self._attempt.pod, other, self._node)

    def refusal(self) -> str | None:
        return self._attempt.refusal(self._node)


def _copied(state: object) -> object:
    """One level of dataclasses with counts is all that plug-ins change."""
    if isinstance(state, list):
        return [_copied(item) for item in state]
    made = copy.copy(state)
    for name in getattr(type(state), "__slots__", ()):
        value = getattr(state, name)
        if isinstance(value, dict):
            setattr(made, name, dict(value))
    return made


def _importance(pod: PodInfo) -> tuple[int, str, str]:
    """Sorts the most important first: higher priority, then older."""
    return -pod.priority, str((pod.pod.get("status") or {}).get("startTime") or pod.created), pod.key


def _by_budget(pods: Iterable[PodInfo], budgets: Sequence[Object]) -> tuple[list[PodInfo], list[PodInfo]]:
    """(pods whose removal would break a budget, the others)."""
    left = {
        objects.key(budget): int((budget.get("status") or {}).get("disruptionsAllowed") or 0)
        for budget in budgets
    }
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        breaks = False
        for budget in budgets:
            if objects.namespace(budget) != pod.namespace:
                continue
            selector = selectors.from_label_selector((budget.get("spec") or {}).get("selector"))
            if selector.matches(pod.labels):
                left[objects.key(budget)] -= 1
                breaks = breaks or left[objects.key(budget)] < 0
        (violating if breaks else others).append(pod)
    return violating, others


def _loss(candidate: Candidate) -> tuple[float, ...]:
    """Fewest violations, lowest highest priority, lowest sum, fewest pods, the youngest of the important ones."""
    highest = candidate.victims[0].priority
    oldest = min(_started(pod) for pod in candidate.victims if pod.priority == highest)
    return (
        candidate.violations,
        highest,
        sum(pod.priority + 2**31 for pod in candidate.victims),
        len(candidate.victims),
        -oldest,
    )


def _started(pod: PodInfo) -> float:
    text = (pod.pod.get("status") or {}).get("startTime") or pod.created
    return objects.parse_time(text) if text else math.inf
