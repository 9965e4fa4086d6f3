"""What a DaemonSet does next on its nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sublet.controllers.daemonset import placement
from sublet.controllers.daemonset.placement import Verdict
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile import workloads

_FAILED_FIRST = 1.0
_FAILED_LONGEST = 900.0
FAILURES_FORGOTTEN = 2 * _FAILED_LONGEST
"""Seconds without a failure after which a node's failures are counted anew."""


@dataclass
class Steps:
    create: list[str] = field(default_factory=list)
    """Nodes that get a pod."""
    delete: list[Object] = field(default_factory=list)
    ended: list[Object] = field(default_factory=list)
    """Failed or succeeded pods, deleted so that another takes their place."""


def by_node(pods: Sequence[Object]) -> dict[str, list[Object]]:
    """Without those that have ended and are being deleted: they hold no place."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        if not (workloads.is_finished(pod) and objects.is_deleting(pod)):
            found.setdefault(placement.node_of(pod), []).append(pod)
    return found


def manage(
    daemon_set: Object,
    verdicts: Mapping[str, Verdict],
    pods: Mapping[str, Sequence[Object]],
    revision: str,
    now: float,
) -> Steps:
    """One pod per node that should have one, none elsewhere."""
    steps = Steps()
    seconds = int(daemon_set["spec"].get("minReadySeconds") or 0)
    for node, verdict in verdicts.items():
        here = [pod for pod in pods.get(node, ()) if not objects.is_deleting(pod)]
        if not verdict.keep:
            steps.delete += here
            continue
        steps.ended += [pod for pod in here if workloads.is_finished(pod)]
        if verdict.run and not pods.get(node):
            steps.create.append(node)
        running = sorted((pod for pod in here if not workloads.is_finished(pod)), key=_age)
        if allows_surge(daemon_set):
            steps.delete += _beyond_surge(running, revision, seconds, now)
        else:
            steps.delete += running[1:]
    for node, lost in pods.items():
        if node and node not in verdicts:
            # Those that were bound are the pod garbage collector's.
            steps.delete += [pod for pod in lost if not objects.is_deleting(pod) and not _is_bound(pod)]
    return steps


def _beyond_surge(running: Sequence[Object], revision: str, seconds: int, now: float) -> list[Object]:
    """Two pods may be there while the old one is ready and the new one is not yet available."""
    if len(running) < 2:
        return []
    new = [pod for pod in running if objects.labels(pod).get(placement.REVISION) == revision]
    old = [pod for pod in running if objects.labels(pod).get(placement.REVISION) != revision]
    surplus = [*new[1:], *old[1:]]
    if new and old and (not workloads.is_ready(old[0]) or workloads.is_available(new[0], seconds, now)):
        surplus.append(old[0])
    return surplus


def _is_bound(pod: Object) -> bool:
    return bool((pod.get("spec") or {}).get("nodeName"))


def _age(pod: Object) -> tuple[bool, tuple[str, str]]:
    return not _is_bound(pod), workloads.creation_key(pod)


@dataclass(frozen=True)
class Limits:
    surge: int
    unavailable: int


def limits(daemon_set: Object, desired: int) -> Limits:
    """maxSurge and maxUnavailable, both rounded up; where both come to 0, one may be unavailable."""
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = workloads.scaled(rolling.get("maxSurge", 0), desired, round_up=True)
    unavailable = workloads.scaled(rolling.get("maxUnavailable", 1), desired, round_up=True)
    return Limits(surge, unavailable if surge or unavailable else 1)


def allows_surge(daemon_set: Object) -> bool:
    """Whether a new pod may be started beside an old one."""
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return is_rolling(daemon_set) and rolling.get("maxSurge", 0) not in (0, "0%")


def is_rolling(daemon_set: Object) -> bool:
    kind = (daemon_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate"
    return bool(kind == "RollingUpdate")


def update(
    daemon_set: Object,
    verdicts: Mapping[str, Verdict],
    pods: Mapping[str, Sequence[Object]],
    revision: str,
    now: float,
) -> Steps:
    """Replaces pods of old revisions within maxUnavailable and maxSurge."""
    wanted = [node for node, verdict in verdicts.items() if verdict.run]
    allowed = limits(daemon_set, len(wanted))
    seconds = int(daemon_set["spec"].get("minReadySeconds") or 0)
    if allowed.surge:
        return _surge(wanted, pods, revision, seconds, now, allowed.surge)
    steps = Steps()
    unavailable = 0
    candidates: list[Object] = []
    for node in wanted:
        new, old = _of_node(pods.get(node, ()), revision)
        if (new is None) == (old is None):
            unavailable += 1  # the next round makes or deletes what has to be
        elif new is not None:
            unavailable += not _is_up(new, seconds, now)
        elif old is not None and _is_up(old, seconds, now):
            candidates.append(old)
        else:
            unavailable += 1
            if old is not None and not objects.is_deleting(old):
                steps.delete.append(old)  # it serves nobody: replacing it costs nothing
    steps.delete += candidates[: max(0, allowed.unavailable - unavailable)]
    return steps


def _surge(
    wanted: Sequence[str],
    pods: Mapping[str, Sequence[Object]],
    revision: str,
    seconds: int,
    now: float,
    allowed: int,
) -> Steps:
    """New pods beside old ones; an old one goes once the new one is available."""
    steps = Steps()
    surging = 0
    candidates: list[str] = []
    for node in wanted:
        new, old = _of_node(pods.get(node, ()), revision)
        if old is None:
            continue
        if new is None:
            (candidates if _is_up(old, seconds, now) else steps.create).append(node)
        elif not _is_up(new, seconds, now):
            surging += 1
        elif not objects.is_deleting(old):
            steps.delete.append(old)
    steps.create += candidates[: max(0, allowed - surging)]
    return steps


def _of_node(here: Sequence[Object], revision: str) -> tuple[Object | None, Object | None]:
    """(the pod of the present revision, the one of another) among those that have not ended."""
    running = [pod for pod in here if not workloads.is_finished(pod)]
    new = next((p for p in running if objects.labels(p).get(placement.REVISION) == revision), None)
    old = next((p for p in running if objects.labels(p).get(placement.REVISION) != revision), None)
    return new, old


def _is_up(pod: Object, seconds: int, now: float) -> bool:
    return not objects.is_deleting(pod) and workloads.is_available(pod, seconds, now)


def status(
    daemon_set: Object,
    verdicts: Mapping[str, Verdict],
    pods: Mapping[str, Sequence[Object]],
    revision: str,
    collisions: int | None,
    now: float,
    *,
    observed: bool = True,
) -> Object:
    """Of each node its first pod counts. ``observed``: this generation was acted upon, not only counted."""
    seconds = int(daemon_set["spec"].get("minReadySeconds") or 0)
    counted = dict.fromkeys(("desired", "current", "misscheduled", "ready", "updated", "available"), 0)
    for node, verdict in verdicts.items():
        here = sorted(pods.get(node, ()), key=_age)
        if not verdict.run:
            counted["misscheduled"] += bool(here)
            continue
        counted["desired"] += 1
        if not here:
            continue
        counted["current"] += 1
        first = here[0]
        counted["ready"] += workloads.is_ready(first)
        counted["available"] += workloads.is_available(first, seconds, now)
        counted["updated"] += objects.labels(first).get(placement.REVISION) == revision
    made: Object = {
        "currentNumberScheduled": counted["current"],
        "numberMisscheduled": counted["misscheduled"],
        "desiredNumberScheduled": counted["desired"],
        "numberReady": counted["ready"],
        "observedGeneration": _observed(daemon_set, observed),
    }
    optional = {
        "updatedNumberScheduled": counted["updated"],
        "numberAvailable": counted["available"],
        "numberUnavailable": counted["desired"] - counted["available"],
        "collisionCount": collisions,
    }
    made |= {name: value for name, value in optional.items() if value}
    if conditions := (daemon_set.get("status") or {}).get("conditions"):
        made["conditions"] = conditions
    return made


def _observed(daemon_set: Object, observed: bool) -> int:
    if observed:
        return int(daemon_set["metadata"].get("generation") or 0)
    return int((daemon_set.get("status") or {}).get("observedGeneration") or 0)


def failed_backoff(failures: int) -> float:
    """Seconds before the pod that failed so many times on its node is deleted again."""
    return float(min(_FAILED_LONGEST, _FAILED_FIRST * 2 ** min(failures, 20))) if failures else 0.0
