"""How many replicas each ReplicaSet of a Deployment should have: arithmetic only.

Source: reference/kubernetes-api.md C and the Deployment documentation (maxSurge, maxUnavailable, proportional scaling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile.workloads import creation_key, scaled

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"


def spec_replicas(obj: Object) -> int:
    """``spec.replicas`` of a Deployment or ReplicaSet (1 where absent)."""
    value = (obj.get("spec") or {}).get("replicas")
    return 1 if value is None else int(value)


def available_replicas(replica_set: Object) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def is_rolling(deployment: Object) -> bool:
    return ((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


@dataclass(frozen=True)
class Bounds:
    """How far a rollout may leave ``spec.replicas``: upwards by ``surge``, downwards by ``unavailable``."""

    surge: int
    unavailable: int


def bounds(deployment: Object) -> Bounds:
    """maxSurge rounds up, maxUnavailable down; where both come to 0, one pod may be unavailable."""
    if not is_rolling(deployment):
        return Bounds(0, 0)
    replicas = spec_replicas(deployment)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if not surge and not unavailable:
        unavailable = 1
    return Bounds(surge, min(unavailable, replicas))


def total(replica_sets: Sequence[Object]) -> int:
    return sum(spec_replicas(replica_set) for replica_set in replica_sets)


def new_replicas(deployment: Object, everything: Sequence[Object], current: int) -> int:
    """Replicas of the new ReplicaSet, which has ``current``; ``everything`` includes it where it exists."""
    wanted = spec_replicas(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + bounds(deployment).surge - total(everything)
    if room <= 0:
        return current
    return current + max(0, min(room, wanted - current))


Sizes = dict[str, int]
"""Name of a ReplicaSet -> its new number of replicas; those that stay as they are, are absent."""


def shrink_old(deployment: Object, new: Object, old: Sequence[Object]) -> Sizes:
    """Takes away from the old ReplicaSets what may go: first pods that are not available, then good ones.

    Never more than keeps ``replicas - maxUnavailable`` pods available; pods of the new one that are not yet
    available do not count.
    """
    if not total(old):
        return {}
    everything = [*old, new]
    minimum = spec_replicas(deployment) - bounds(deployment).unavailable
    new_unavailable = spec_replicas(new) - available_replicas(new)
    room = total(everything) - minimum - new_unavailable
    if room <= 0:
        return {}
    oldest_first = sorted(old, key=creation_key)
    sizes = {objects.name(replica_set): spec_replicas(replica_set) for replica_set in oldest_first}
    for replica_set in oldest_first:
        broken = max(0, sizes[objects.name(replica_set)] - available_replicas(replica_set))
        taken = min(room, broken)
        sizes[objects.name(replica_set)] -= taken
        room -= taken
    spare = sum(available_replicas(replica_set) for replica_set in everything) - minimum
    for replica_set in oldest_first:
        if spare <= 0:
            break
        taken = min(spare, sizes[objects.name(replica_set)])
        sizes[objects.name(replica_set)] -= taken
        spare -= taken
    return {
        objects.name(replica_set): sizes[objects.name(replica_set)]
        for replica_set in oldest_first
        if sizes[objects.name(replica_set)] != spec_replicas(replica_set)
    }


def is_scaling(deployment: Object, everything: Sequence[Object]) -> bool:
    """Whether ``spec.replicas`` changed since an active ReplicaSet was last sized."""
    wanted = spec_replicas(deployment)
    for replica_set in everything:
        desired = _number(replica_set, DESIRED)
        if spec_replicas(replica_set) > 0 and desired is not None and desired != wanted:
            return True
    return False


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """Whether the new ReplicaSet alone carries the Deployment, all its pods available."""
    if new is None:
        return False
    wanted = spec_replicas(deployment)
    return spec_replicas(new) == wanted == available_replicas(new) and _number(new, DESIRED) == wanted


def scale(deployment: Object, new: Object | None, old: Sequence[Object]) -> Sizes:
    """Sizes after ``spec.replicas`` changed outside a rollout step.

    One active ReplicaSet takes it all; in the middle of a rollout the change is spread in proportion, what
    rounding leaves goes to the largest. A ReplicaSet in the answer needs its annotations renewed, even where its
    size stays.
    """
    wanted = spec_replicas(deployment)
    if (only := active_or_latest(new, old)) is not None:
        return {} if spec_replicas(only) == wanted else {objects.name(only): wanted}
    if is_saturated(deployment, new):
        return {objects.name(replica_set): 0 for replica_set in old if spec_replicas(replica_set)}
    if not is_rolling(deployment):
        return {}
    active = [r for r in (*old, *([new] if new else [])) if spec_replicas(r) > 0]
    allowed = wanted + bounds(deployment).surge if wanted > 0 else 0
    change = allowed - total(active)
    # Growing favours the newest, shrinking the oldest, of equally large ones.
    active.sort(key=creation_key, reverse=change > 0)
    active.sort(key=spec_replicas, reverse=True)
    sizes: Sizes = {}
    spread = 0
    for replica_set in active:
        share = _share(deployment, replica_set, change, spread)
        sizes[objects.name(replica_set)] = spec_replicas(replica_set) + share
        spread += share
    if active and change:
        first = objects.name(active[0])
        sizes[first] = max(0, sizes[first] + change - spread)
    return sizes


def active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    """The one ReplicaSet with replicas; without any, the new one or else the latest; None where several have."""
    everything = [*old, *([new] if new is not None else [])]
    active = [replica_set for replica_set in everything if spec_replicas(replica_set) > 0]
    if len(active) == 1:
        return active[0]
    if active or not everything:
        return None
    return new if new is not None else max(old, key=creation_key)


def _share(deployment: Object, replica_set: Object, change: int, spread: int) -> int:
    left = change - spread
    if not spec_replicas(replica_set) or not left:
        return 0
    fraction = _fraction(deployment, replica_set)
    return min(fraction, left) if change > 0 else max(fraction, left)


def _fraction(deployment: Object, replica_set: Object) -> int:
    """How much the ReplicaSet would change to keep its share of the Deployment's largest size."""
    size = spec_replicas(replica_set)
    if not spec_replicas(deployment):
        return -size
    largest = spec_replicas(deployment) + bounds(deployment).surge
    before = _number(replica_set, MAX) or int((deployment.get("status") or {}).get("replicas") or 0)
    if not before:
        return 0
    # Half a replica rounds away from zero, as Go's math.Round does.
    return (2 * size * largest + before) // (2 * before) - size


def _number(obj: Object, annotation: str) -> int | None:
    try:
        return int(objects.annotations(obj)[annotation])
    except (KeyError, ValueError):
        return None
