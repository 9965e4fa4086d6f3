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


@dataclass
class Steps:
    create: list[str] = field(default_factory=list)
    """Nodes that get a pod."""
    delete: list[Object] = field(default_factory=list)
    ended: list[Object] = field(default_factory=list)
    """Failed or succeeded pods, deleted so that another takes their place."""


def by_node(pods: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(placement.node_of(pod), []).append(pod)
    return found


def manage(verdicts: Mapping[str, Verdict], pods: Mapping[str, Sequence[Object]]) -> Steps:
    """One pod per node that should have one, none elsewhere."""
    steps = Steps()
    for node, verdict in verdicts.items():
        here = [pod for pod in pods.get(node, ()) if not objects.is_deleting(pod)]
        running = [pod for pod in here if not workloads.is_finished(pod)]
        ended = [pod for pod in here if workloads.is_finished(pod)]
        if not verdict.keep:
            steps.delete += here
            continue
        steps.ended += ended
        if verdict.run and not pods.get(node):
            steps.create.append(node)
        # Pods of an old and a new revision may stand side by side during an update with surge.
        for same in _by_revision(running).values():
            steps.delete += sorted(same, key=_age)[1:]
    for node, lost in pods.items():
        if node and node not in verdicts:
            steps.delete += [pod for pod in lost if not objects.is_deleting(pod)]
    return steps


def _by_revision(pods: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(objects.labels(pod).get(placement.REVISION, ""), []).append(pod)
    return found


def _age(pod: Object) -> tuple[bool, tuple[str, str]]:
    return not (pod.get("spec") or {}).get("nodeName"), workloads.creation_key(pod)


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
    steps = Steps()
    unavailable = surging = 0
    candidates: list[Object] = []
    bases: list[str] = []
    for node in wanted:
        here = [pod for pod in pods.get(node, ()) if not workloads.is_finished(pod)]
        new = next((p for p in here if objects.labels(p).get(placement.REVISION) == revision), None)
        old = next((p for p in here if objects.labels(p).get(placement.REVISION) != revision), None)
        new_is_up = new is not None and _is_up(new, seconds, now)
        old_is_up = old is not None and _is_up(old, seconds, now)
        if not new_is_up and not old_is_up:
            unavailable += 1
        if old is None:
            continue
        if new is not None:
            surging += 1
            if new_is_up and not objects.is_deleting(old):
                steps.delete.append(old)
        elif objects.is_deleting(old):
            continue
        elif not old_is_up:
            steps.delete.append(old)  # it serves nobody: replacing it costs nothing
        else:
            candidates.append(old)
            bases.append(node)
    if allowed.surge:
        steps.create += bases[: max(0, allowed.surge - surging)]
    else:
        steps.delete += candidates[: max(0, allowed.unavailable - unavailable)]
    return steps


def _is_up(pod: Object, seconds: int, now: float) -> bool:
    return not objects.is_deleting(pod) and workloads.is_available(pod, seconds, now)


def status(
    daemon_set: Object,
    verdicts: Mapping[str, Verdict],
    pods: Mapping[str, Sequence[Object]],
    revision: str,
    collisions: int | None,
    now: float,
) -> Object:
    seconds = int(daemon_set["spec"].get("minReadySeconds") or 0)
    counted = dict.fromkeys(("desired", "current", "misscheduled", "ready", "updated", "available"), 0)
    for node, verdict in verdicts.items():
        here = [pod for pod in pods.get(node, ()) if not objects.is_deleting(pod)]
        if not verdict.run:
            counted["misscheduled"] += bool(here)
            continue
        counted["desired"] += 1
        if not here:
            continue
        counted["current"] += 1
        oldest = min(here, key=workloads.creation_key)
        up = [pod for pod in here if workloads.is_ready(pod)]
        counted["ready"] += bool(up)
        counted["available"] += any(workloads.is_available(pod, seconds, now) for pod in up)
        newest = [p for p in here if objects.labels(p).get(placement.REVISION) == revision]
        counted["updated"] += bool(newest) if len(here) > 1 else newest == [oldest]
    made: Object = {
        "currentNumberScheduled": counted["current"],
        "numberMisscheduled": counted["misscheduled"],
        "desiredNumberScheduled": counted["desired"],
        "numberReady": counted["ready"],
        "observedGeneration": daemon_set["metadata"].get("generation") or 0,
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


def failed_backoff(failures: int) -> float:
    """Seconds before the pod that failed so many times on its node is deleted again."""
    return float(min(_FAILED_LONGEST, _FAILED_FIRST * 2 ** min(failures, 20))) if failures else 0.0
