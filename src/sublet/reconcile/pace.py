"""How fast more pods may be made for an owner whose pods come to nothing.

Upstream's controllers ask the API at most twenty times a second, whatever they do, so pods that find no room or fail
as soon as they begin are a slow stream. Ours are as fast as the API: without a pace they would fill it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.reconcile import workloads

PER_SECOND = 20
_MANY_WAITING = workloads.BURST
_CERTAIN = 20
_MANY_FAILED = 20
_LATELY = 60.0


def come_to_nothing(pods: Iterable[Object], wanted: int, now: float) -> bool:
    """Whether many of an owner's pods fit nowhere, or more than it wants were made in the last minute and failed."""
    waiting = refused = failed = 0
    for pod in pods:
        if workloads.phase(pod) == "Failed":
            failed += now - objects.parse_time(pod["metadata"]["creationTimestamp"]) < _LATELY
        elif not (pod.get("spec") or {}).get("nodeName"):
            waiting += 1
            refused += (objects.condition(pod, "PodScheduled") or {}).get("reason") == "Unschedulable"
    if waiting >= _MANY_WAITING and refused >= _CERTAIN:
        return True  # the others only wait for the scheduler to say the same of them
    return failed >= max(_MANY_FAILED, wanted)


class Pace:
    """Per owner (by key): when the next pods may be made."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}

    def allows(self, key: str, missing: int) -> tuple[int, float]:
        """How many of the missing pods may be made now, and the seconds until the next may."""
        now = self._clock.monotonic()
        left = self._next.get(key, now) - now
        if left > 0:
            return 0, left
        self._next[key] = now + 1.0
        return min(missing, PER_SECOND), 1.0

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._next.pop(key, None)
