"""The status of a Deployment: counts and conditions, from its ReplicaSets. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.controllers.deployment import rolling
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile.workloads import without_condition

PROGRESSING = "Progressing"
_NO_DEADLINE = 2**31 - 1


def deadline(deployment: Object) -> int | None:
    """progressDeadlineSeconds; None where there is no deadline."""
    seconds = deployment["spec"].get("progressDeadlineSeconds", 600)
    return None if seconds is None or seconds == _NO_DEADLINE else int(seconds)


def condition(kind: str, status: str, reason: str, message: str, now: float) -> Object:
    text = objects.rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": text,
        "lastTransitionTime": text,
        "reason": reason,
        "message": message,
    }


def put(conditions: Sequence[Object], new: Object) -> list[Object]:
    """Sets a condition; one with the same status and reason stays untouched, as upstream does."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None:
        if (old.get("status"), old.get("reason")) == (new["status"], new["reason"]):
            return list(conditions)
        if old.get("status") == new["status"]:
            new = {**new, "lastTransitionTime": old.get("lastTransitionTime") or new["lastTransitionTime"]}
    return [*without_condition(conditions, new["type"]), new]


def counts(deployment: Object, new: Object | None, old: Sequence[Object], now: float) -> Object:
    """The status with fresh counts and the Available condition; other conditions as they were."""
    everything = [*old, *([new] if new is not None else [])]
    replicas = _sum(everything, "replicas")
    available = _sum(everything, "availableReplicas")
    before = deployment.get("status") or {}
    status: dict[str, Any] = {"observedGeneration": (deployment["metadata"].get("generation") or 0)}
    _set(status, "replicas", replicas)
    _set(status, "updatedReplicas", _sum([new] if new is not None else [], "replicas"))
    _set(status, "readyReplicas", _sum(everything, "readyReplicas"))
    _set(status, "availableReplicas", available)
    _set(status, "unavailableReplicas", max(0, rolling.total(everything) - available))
    # As long as one of them does not tell its number, the sum is not known.
    if all("terminatingReplicas" in (r.get("status") or {}) for r in everything):
        status["terminatingReplicas"] = _sum(everything, "terminatingReplicas")
    if before.get("collisionCount") is not None:
        status["collisionCount"] = before["collisionCount"]
    enough = available >= rolling.spec_replicas(deployment) - rolling.bounds(deployment).unavailable
    if enough:
        found = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        found = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status["conditions"] = put(before.get("conditions") or (), condition("Available", *found, now))
    return status


def _set(status: Object, field: str, value: int) -> None:
    """Counts of 0 are absent, as in Go's encoding."""
    if value:
        status[field] = value


def _sum(replica_sets: Sequence[Object], field: str) -> int:
    return sum(int((r.get("status") or {}).get(field) or 0) for r in replica_sets)


def is_complete(deployment: Object, status: Object) -> bool:
    """All replicas updated and available, none of an old template left."""
    wanted = rolling.spec_replicas(deployment)
    counted = {status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")}
    observed = int(status.get("observedGeneration", 0))
    return counted == {wanted} and observed >= int(deployment["metadata"].get("generation") or 0)


def _has_progressed(before: Object, status: Object) -> bool:
    def old_pods(of: Object) -> int:
        return int(of.get("replicas", 0)) - int(of.get("updatedReplicas", 0))

    return (
        status.get("updatedReplicas", 0) > before.get("updatedReplicas", 0)
        or old_pods(status) < old_pods(before)
        or status.get("readyReplicas", 0) > before.get("readyReplicas", 0)
        or status.get("availableReplicas", 0) > before.get("availableReplicas", 0)
    )


def has_timed_out(deployment: Object, now: float) -> bool:
    """Whether nothing progressed for progressDeadlineSeconds."""
    found = objects.condition(deployment, PROGRESSING)
    seconds = deadline(deployment)
    if seconds is None or found is None or found.get("reason") == "NewReplicaSetAvailable":
        return False
    if found.get("reason") == "ProgressDeadlineExceeded":
        return True
    since = found.get("lastUpdateTime") or found.get("lastTransitionTime")
    return since is not None and objects.parse_time(since) + seconds < now


def rollout_status(deployment: Object, new: Object | None, old: Sequence[Object], now: float) -> Object:
    """The whole status in the middle of a rollout: counts, Available, Progressing, ReplicaFailure."""
    status = counts(deployment, new, old, now)
    before = deployment.get("status") or {}
    conditions = status["conditions"]
    found = objects.condition(deployment, PROGRESSING)
    settled = (
        status.get("replicas", 0) == status.get("updatedReplicas", 0)
        and found is not None
        and found.get("reason") == "NewReplicaSetAvailable"
    )
    if deadline(deployment) is None:
        conditions = without_condition(conditions, PROGRESSING)
    elif not settled:
        conditions = _progress(deployment, new, status, before, conditions, now)
    failure = next((c for r in (*([new] if new else []), *old) if (c := _failure(r))), None)
    if failure is None:
        conditions = without_condition(conditions, "ReplicaFailure")
    else:
        conditions = put(conditions, failure)
    status["conditions"] = conditions
    return status


def _failure(replica_set: Object) -> Object | None:
    """The ReplicaSet's ReplicaFailure as a condition of its Deployment."""
    found = objects.condition(replica_set, "ReplicaFailure")
    if found is None:
        return None
    return {**found, "lastUpdateTime": found.get("lastTransitionTime")}


def _progress(
    deployment: Object,
    new: Object | None,
    status: Object,
    before: Object,
    conditions: Sequence[Object],
    now: float,
) -> list[Object]:
    what = (
        f'ReplicaSet "{objects.name(new)}"' if new is not None else f'Deployment "{objects.name(deployment)}"'
    )
    if is_complete(deployment, status):
        text = f"{what} has successfully progressed."
        return put(conditions, condition(PROGRESSING, "True", "NewReplicaSetAvailable", text, now))
    if _has_progressed(before, status):
        text = f"{what} is progressing."
        fresh = condition(PROGRESSING, "True", "ReplicaSetUpdated", text, now)
        old = next((c for c in conditions if c["type"] == PROGRESSING), None)
        if old is not None and old.get("status") == "True":
            fresh["lastTransitionTime"] = old.get("lastTransitionTime") or fresh["lastTransitionTime"]
        return [*without_condition(conditions, PROGRESSING), fresh]
    if has_timed_out(deployment, now):
        text = f"{what} has timed out progressing."
        return put(conditions, condition(PROGRESSING, "False", "ProgressDeadlineExceeded", text, now))
    return list(conditions)


def seconds_to_deadline(deployment: Object, status: Object, now: float) -> float | None:
    """When to look again at a rollout that may get stuck; None where it is done or has no deadline."""
    seconds = deadline(deployment)
    found = next((c for c in status.get("conditions") or () if c["type"] == PROGRESSING), None)
    if seconds is None or found is None or is_complete(deployment, status):
        return None
    if found.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    updated = found.get("lastUpdateTime")
    since = objects.parse_time(updated) if updated else objects.since(found)
    return max(0.0, since + seconds - now) + 1.0


def paused_condition(deployment: Object, now: float) -> list[Object] | None:
    """The conditions when the Deployment was paused or resumed since last time; None where nothing changed."""
    if deadline(deployment) is None:
        return None
    conditions = (deployment.get("status") or {}).get("conditions") or []
    found = objects.condition(deployment, PROGRESSING)
    if found is not None and found.get("reason") == "ProgressDeadlineExceeded":
        return None
    paused = bool(deployment["spec"].get("paused"))
    is_marked = found is not None and found.get("reason") == "DeploymentPaused"
    if paused and not is_marked:
        new = condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not paused and is_marked:
        new = condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    else:
        return None
    return put(conditions, new)
