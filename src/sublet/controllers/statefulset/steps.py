"""What a StatefulSet does next: which pods to make and which to delete, in the order its policy keeps. Pure.

Source: reference/kubernetes-api.md C (statefulset) and the StatefulSet documentation on ordering guarantees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet.controllers.statefulset import identity
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile import workloads

SHORTEST_LIFE = 2.0
"""Seconds from a pod's creation to its replacement."""


@dataclass(frozen=True)
class Steps:
    """``create``: (ordinal, takes the update revision); ``delete``: pods, in order."""

    create: list[tuple[int, bool]] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def partition(stateful_set: Object) -> int:
    rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def is_rolling(stateful_set: Object) -> bool:
    strategy = (stateful_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate"
    return bool(strategy == "RollingUpdate")


def is_ordered(stateful_set: Object) -> bool:
    return bool(stateful_set["spec"].get("podManagementPolicy") != "Parallel")


def is_healthy(stateful_set: Object, pod: Object, now: float) -> bool:
    """Running, ready for minReadySeconds, and not on its way out."""
    seconds = int(stateful_set["spec"].get("minReadySeconds") or 0)
    return (
        workloads.phase(pod) == "Running"
        and not objects.is_deleting(pod)
        and workloads.is_available(pod, seconds, now)
    )


def replaced_in(pod: Object, now: float) -> float:
    """Seconds for which a finished pod is left alone: one that its node refuses would else be made again at once.

    Upstream needs no such pause, since its client asks the API twenty times a second at most.
    """
    created = pod["metadata"].get("creationTimestamp")
    if not created or not workloads.is_finished(pod):
        return 0.0
    age = now - objects.parse_time(created)
    return SHORTEST_LIFE - age if 0 <= age < SHORTEST_LIFE else 0.0


def takes_update(stateful_set: Object, ordinal: int) -> bool:
    """Whether a new pod of this ordinal is made from the update revision."""
    if not is_rolling(stateful_set):
        return True
    return ordinal >= identity.first_ordinal(stateful_set) + partition(stateful_set)


def plan(stateful_set: Object, pods: Mapping[int, Object], update: str, now: float) -> Steps:
    """``pods`` by ordinal, ``update`` the name of the update revision."""
    if objects.is_deleting(stateful_set):
        return Steps()
    wanted = identity.ordinals(stateful_set)
    ordered = is_ordered(stateful_set)
    steps = Steps()
    for ordinal in wanted:
        pod = pods.get(ordinal)
        if pod is None:
            steps.create.append((ordinal, takes_update(stateful_set, ordinal)))
        elif workloads.is_finished(pod):
            if not objects.is_deleting(pod) and not replaced_in(pod, now):
                steps.delete.append(pod)
        elif is_healthy(stateful_set, pod, now):
            continue
        if ordered:
            return steps
    surplus = sorted((ordinal for ordinal in pods if ordinal not in wanted), reverse=True)
    if surplus:
        steps.delete.extend(_condemned(stateful_set, pods, surplus, ordered, now))
        if ordered or steps.delete:
            return steps
    if is_rolling(stateful_set) and not steps.delete:
        steps.delete.extend(_outdated(stateful_set, pods, update, now))
    return steps


def _condemned(
    stateful_set: Object, pods: Mapping[int, Object], surplus: list[int], ordered: bool, now: float
) -> list[Object]:
    """Pods beyond the replicas, highest ordinal first; ordered: one at a time, each only while those below are well."""
    if not ordered:
        return [pods[ordinal] for ordinal in surplus if not objects.is_deleting(pods[ordinal])]
    highest = pods[surplus[0]]
    if objects.is_deleting(highest):
        return []
    unhealthy = [o for o in sorted(pods) if not is_healthy(stateful_set, pods[o], now)]
    if unhealthy and unhealthy[0] != surplus[0] and not is_healthy(stateful_set, highest, now):
        return []
    return [highest]


def _outdated(stateful_set: Object, pods: Mapping[int, Object], update: str, now: float) -> list[Object]:
    """The highest pod of an old revision, once all above it are well."""
    start = identity.first_ordinal(stateful_set)
    for ordinal in reversed(identity.ordinals(stateful_set)):
        if ordinal < start + partition(stateful_set):
            break
        pod = pods.get(ordinal)
        if pod is None:
            return []
        if identity.revision_of(pod) != update and not objects.is_deleting(pod):
            return [pod]
        if not is_healthy(stateful_set, pod, now):
            return []
    return []


def status(
    stateful_set: Object,
    pods: Mapping[int, Object],
    current: str,
    update: str,
    collisions: int | None,
    now: float,
) -> Object:
    """Counts over all pods of the set; a finished rollout makes the update revision the current one."""
    seconds = int(stateful_set["spec"].get("minReadySeconds") or 0)
    living = [pod for pod in pods.values() if not objects.is_deleting(pod)]
    ready = [p for p in pods.values() if workloads.phase(p) == "Running" and workloads.is_ready(p)]
    counted: dict[str, Any] = {
        "observedGeneration": stateful_set["metadata"].get("generation") or 0,
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "currentReplicas": sum(identity.revision_of(pod) == current for pod in living),
        "updatedReplicas": sum(identity.revision_of(pod) == update for pod in living),
        "availableReplicas": sum(workloads.is_available(pod, seconds, now) for pod in ready),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": collisions or 0,
    }
    wanted = len(identity.ordinals(stateful_set))
    done = counted["updatedReplicas"] == counted["replicas"] == counted["readyReplicas"] == wanted
    if is_rolling(stateful_set) and done:
        counted["currentReplicas"] = counted["updatedReplicas"]
        counted["currentRevision"] = update
    if conditions := (stateful_set.get("status") or {}).get("conditions"):
        counted["conditions"] = conditions
    optional = ("readyReplicas", "currentReplicas", "updatedReplicas")
    return {name: value for name, value in counted.items() if value or name not in optional}
