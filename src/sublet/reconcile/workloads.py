"""What the controllers that run pods share: the state of a pod, which pod goes first, creating in growing batches."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object

CONTROLLER_INDEX = "controller"
"""Name of the index that :func:`controller_keys` makes."""
NODE_INDEX = "node"
"""Name of the index that :func:`node_keys` makes."""
BURST = 500
"""How many pods one reconcile creates or deletes at most (upstream's BurstReplicas)."""


def controller_keys(obj: Object) -> Iterator[str]:
    """Index keys: the uid of the controlling owner, or :func:`orphan_key` of the namespace where there is none."""
    owner = objects.controller_of(obj)
    yield owner["uid"] if owner else orphan_key(objects.namespace(obj))


def node_keys(obj: Object) -> Sequence[str]:
    """Index keys: the node that ``spec.nodeName`` names; none where it names none."""
    name = (obj.get("spec") or {}).get("nodeName")
    return (name,) if name else ()


def orphan_key(namespace: str) -> str:
    """The index key under which the objects of a namespace stand that no controller owns."""
    return f"orphans/{namespace}"


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def is_finished(pod: Object) -> bool:
    """Succeeded or Failed: it will not run again."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Neither finished nor being deleted: it counts as a replica."""
    return not objects.is_deleting(pod) and not is_finished(pod)


def is_ready(pod: Object) -> bool:
    return objects.is_true(pod, "Ready")


def available_in(pod: Object, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until a ready pod counts as available: 0 when it does, None while it is not ready."""
    ready = objects.condition(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    if not min_ready_seconds:
        return 0.0
    since = ready.get("lastTransitionTime")
    if not since:
        return None
    return max(0.0, objects.parse_time(since) + min_ready_seconds - now)


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    return available_in(pod, min_ready_seconds, now) == 0.0


def deletion_order(
    pods: Iterable[Object], ranks: Callable[[Object], int] | None = None, now: float = 0.0
) -> list[Object]:
    """Pods, the one to delete first at the front (upstream's ActivePodsWithRanks).

    ``ranks`` says how many related pods share the pod's node: the more, the sooner it goes. Ages are compared by
    their order of magnitude, so that scaling down does not always hit the youngest; ``now`` of 0 compares them as
    they are.
    """
    return sorted(pods, key=functools.cmp_to_key(functools.partial(_compare, ranks, now)))


_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


def _compare(ranks: Callable[[Object], int] | None, now: float, one: Object, other: Object) -> int:
    first, second = _standing(one, ranks), _standing(other, ranks)
    if first != second:
        return -1 if first < second else 1
    if first[2]:
        since = [
            _moment((objects.condition(p, "Ready") or {}).get("lastTransitionTime")) for p in (one, other)
        ]
        if order := _younger(since[0], since[1], now, one, other):
            return order
    if order := _restarts(other) - _restarts(one):
        return order
    made = [_moment((pod.get("metadata") or {}).get("creationTimestamp")) for pod in (one, other)]
    return _younger(made[0], made[1], now, one, other) or _by_uid(one, other)


def _standing(pod: Object, ranks: Callable[[Object], int] | None) -> tuple[bool, int, bool, int, int]:
    assigned = bool((pod.get("spec") or {}).get("nodeName"))
    return (
        assigned,
        _PHASES.get(phase(pod), 2),
        is_ready(pod),
        deletion_cost(pod),
        -(ranks(pod) if ranks else 0),
    )


def _younger(one_since: float, other_since: float, now: float, one: Object, other: Object) -> int:
    """Negative where ``one`` is younger; among ages of one order of magnitude the uid decides; 0 for equal times."""
    if one_since == other_since:
        return 0
    if not now or math.inf in (one_since, other_since):
        return -1 if one_since > other_since else 1
    return _magnitude(now - one_since) - _magnitude(now - other_since) or _by_uid(one, other)


def _magnitude(seconds: float) -> int:
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def _by_uid(one: Object, other: Object) -> int:
    first, second = objects.uid(one), objects.uid(other)
    return (first > second) - (first < second)


def _moment(text: str | None) -> float:
    return objects.parse_time(text) if text else math.inf


def deletion_cost(pod: Object) -> int:
    """Annotation ``controller.kubernetes.io/pod-deletion-cost``; 0 where absent or no integer."""
    try:
        return int(objects.annotations(pod).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        return 0


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)


_AT_ONCE = 32


async def slow_start(
    count: int, create: Callable[[int], Awaitable[object]], *, first: int = 1, largest: int = BURST
) -> tuple[int, Exception | None]:
    """Calls ``create(0)`` … in batches of 1, 2, 4 …, stopping after the batch in which one failed.

    So a create that must fail (quota, a webhook) is tried once and not a thousand times. Returns how many
    succeeded, and the first error. No more than 32 are on their way at once: others ask the API too.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> object:
        async with gate:
            return await create(number)

    done = started = 0
    batch = min(first, count)
    while batch > 0:
        results = await asyncio.gather(*(one(started + i) for i in range(batch)), return_exceptions=True)
        started += batch
        errors = [result for result in results if isinstance(result, BaseException)]
        done += batch - len(errors)
        for error in errors:
            if not isinstance(error, Exception):
                raise error
            return done, error
        batch = min(batch * 2, largest, count - started)
    return done, None


def scaled(value: int | str | None, total: int, *, round_up: bool) -> int:
    """An IntOrString such as ``3`` or ``"25%"`` of ``total``. Raises ``ValueError``."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        return int(value)
    share = int(value[:-1]) * total
    return -(-share // 100) if round_up else share // 100


def pod_from_template(
    template: Object, *, owner: dict[str, Any] | None, generate_name: str = "", name: str = ""
) -> Object:
    """A new pod: the template's labels, annotations, finalizers and spec (shared, not copied), owned by ``owner``."""
    metadata = template.get("metadata") or {}
    made: dict[str, Any] = {"name": name} if name else {"generateName": generate_name}
    for part in ("labels", "annotations", "finalizers"):
        if metadata.get(part):
            made[part] = metadata[part]
    if owner is not None:
        made["ownerReferences"] = [owner]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template.get("spec") or {}}


def pod_prefix(owner_name: str) -> str:
    """generateName of an owner's pods: ``NAME-`` (the server shortens what would be too long)."""
    return f"{owner_name}-"


def creation_key(obj: Object) -> tuple[str, str]:
    """Sorts objects oldest first, by name where equally old."""
    metadata = obj.get("metadata") or {}
    return metadata.get("creationTimestamp") or "", metadata.get("name") or ""


def set_condition(conditions: Sequence[Object], new: Object) -> list[Object]:
    """The conditions with one added or replaced; lastTransitionTime stays while the status does.

    An entry equal in status, reason and message is kept as it is.
    """
    result = []
    found = False
    for old in conditions:
        if old.get("type") != new["type"]:
            result.append(old)
            continue
        found = True
        if all(old.get(part) == new.get(part) for part in ("status", "reason", "message")):
            result.append(old)
        elif old.get("status") == new.get("status") and old.get("lastTransitionTime"):
            result.append({**new, "lastTransitionTime": old["lastTransitionTime"]})
        else:
            result.append(new)
    return result if found else [*result, new]


def without_condition(conditions: Sequence[Object], kind: str) -> list[Object]:
    return [condition for condition in conditions if condition.get("type") != kind]
