"""How many replicas a metric asks for. Pure; amounts are thousandths, as the metrics APIs are read.

Source: reference/kubernetes-api.md C (horizontal-pod-autoscaler) and Kubernetes' description of the algorithm:
``ceil(ready pods * usage / target)``, nothing within a tolerance of 0.1, and caution where metrics are missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile import workloads

TOLERANCE = 0.1
_CPU_INITIALIZATION = 300.0
_INITIAL_READINESS = 30.0


class NoProposal(Exception):
    """The metric says nothing about the number of replicas; the text says why."""


@dataclass(frozen=True)
class Sample:
    """One pod's usage, over the ``window`` seconds that ended at ``time``."""

    amount: int
    time: float = 0.0
    window: float = 60.0


@dataclass(frozen=True)
class Groups:
    """A target's pods by what their metrics are worth."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


@dataclass(frozen=True)
class Tolerance:
    """Relative deviations from the target that change nothing."""

    up: float = TOLERANCE
    down: float = TOLERANCE

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


def group(pods: Sequence[Object], samples: Mapping[str, Sample], cpu: bool, now: float) -> Groups:
    ready = 0
    unready, missing, ignored = set(), set(), set()
    for pod in pods:
        name = objects.name(pod)
        if objects.is_deleting(pod) or workloads.phase(pod) == "Failed":
            ignored.add(name)
        elif workloads.phase(pod) == "Pending":
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif cpu and _starting(pod, samples[name], now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _starting(pod: Object, sample: Sample, now: float) -> bool:
    """Whether its CPU usage may still be that of its start."""
    condition = objects.condition(pod, "Ready")
    start = (pod.get("status") or {}).get("startTime")
    if condition is None or not start:
        return True
    since = objects.parse_time(condition.get("lastTransitionTime") or start)
    unready = condition.get("status") == "False"
    if objects.parse_time(start) + _CPU_INITIALIZATION > now:
        return unready or sample.time < since + sample.window
    return unready and objects.parse_time(start) + _INITIAL_READINESS > since


def by_utilization(
    pods: Sequence[Object], samples: Mapping[str, Sample], requests: Mapping[str, int], target: int,
    current: int, cpu: bool, now: float, tolerance: Tolerance,
) -> tuple[int, int, int]:  # fmt: skip
    """(replicas, current utilization in percent, current average). ``requests`` are per pod, ``target`` in percent."""
    groups = group(pods, samples, cpu, now)
    usable = {name: s.amount for name, s in samples.items() if name not in groups.ignored | groups.unready}
    if not usable:
        raise NoProposal("did not receive metrics for targeted pods (pods might be unready)")
    ratio, percent, average = _utilization(usable, requests, target)
    if not (groups.unready and ratio > 1.0) and not groups.missing:
        return _plain(current, ratio, groups.ready, tolerance), percent, average
    if ratio < 1.0:
        # What is not known is taken to be busy, so that nothing is taken away in the dark.
        usable |= {name: requests.get(name, 0) * max(100, target) // 100 for name in groups.missing}
    elif ratio > 1.0:
        usable |= dict.fromkeys(groups.missing, 0)
        usable |= dict.fromkeys(groups.unready, 0)
    cautious, _, _ = _utilization(usable, requests, target)
    return _cautious(current, ratio, cautious, len(usable), tolerance), percent, average


def _utilization(
    usable: Mapping[str, int], requests: Mapping[str, int], target: int
) -> tuple[float, int, int]:
    requested = sum(requests.get(name, 0) for name in usable)
    if not requested:
        raise NoProposal("no metrics returned matched known pods")
    known = [amount for name, amount in usable.items() if name in requests]
    percent = sum(known) * 100 // requested
    return percent / target, percent, sum(known) // len(known)


def by_average(
    pods: Sequence[Object], samples: Mapping[str, Sample], target: int, current: int, cpu: bool, now: float,
    tolerance: Tolerance,
) -> tuple[int, int]:  # fmt: skip
    """(replicas, current average) for a wanted average amount per pod."""
    groups = group(pods, samples, cpu, now)
    usable = {name: s.amount for name, s in samples.items() if name not in groups.ignored | groups.unready}
    if not usable:
        raise NoProposal("did not receive metrics for targeted pods (pods might be unready)")
    average = sum(usable.values()) // len(usable)
    ratio = average / target
    if not (groups.unready and ratio > 1.0) and not groups.missing:
        return _plain(current, ratio, groups.ready, tolerance), average
    if ratio < 1.0:
        usable |= dict.fromkeys(groups.missing, target)
    else:
        usable |= dict.fromkeys(groups.missing, 0)
    if ratio > 1.0:
        usable |= dict.fromkeys(groups.unready, 0)
    cautious = sum(usable.values()) // len(usable) / target
    return _cautious(current, ratio, cautious, len(usable), tolerance), average


def by_value(used: int, target: int, current: int, ready: int, tolerance: Tolerance) -> int:
    """For one amount that all pods together shall bring to ``target``."""
    ratio = used / target
    if current == 0:
        return math.ceil(ratio)  # from zero: any use asks for a first replica
    return _plain(current, ratio, ready, tolerance)


def by_shared_average(used: int, target: int, observed: int, tolerance: Tolerance) -> int:
    """For one amount of which each of the ``observed`` replicas shall have ``target``."""
    if observed and tolerance.covers(used / (target * observed)):
        return observed
    return math.ceil(used / target)


def _plain(current: int, ratio: float, ready: int, tolerance: Tolerance) -> int:
    return current if tolerance.covers(ratio) else math.ceil(ratio * ready)


def _cautious(current: int, ratio: float, cautious: float, counted: int, tolerance: Tolerance) -> int:
    """As long as the unknown does not turn the direction around."""
    if tolerance.covers(cautious) or (ratio < 1.0 < cautious) or (cautious < 1.0 < ratio):
        return current
    replicas = math.ceil(cautious * counted)
    turned = (cautious < 1.0 and replicas > current) or (cautious > 1.0 and replicas < current)
    return current if turned else replicas
