"""What hollow nodes record of pods: the events that a node agent would have written for the same change of status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.tokenbucket import TokenBucket
from sublet.node import poddata

_PARTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_PER_SECOND, _BURST = 50.0, 100.0
"""A kubelet's ``--event-qps`` and ``--event-burst``."""

Happened = tuple[str, str, str, str]
"""Type, reason, message, the container's place in the pod."""


class Budget:
    """How many events all hollow nodes of one process may write: as many as one kubelet, so that a thousand pods at
    once are not held up by the story of their containers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = TokenBucket(_BURST, clock.monotonic())

    def take(self) -> bool:
        return self._bucket.take(self._clock.monotonic(), _BURST, _PER_SECOND)


Seen = dict[str, tuple[str, str]]
"""Container -> its id and why it waits, as far as events have told of them."""


def seen(status: Object) -> Seen:
    """What a status says of the containers."""
    return {
        each["name"]: (str(each.get("containerID") or ""), str(_waiting(each).get("reason") or ""))
        for part in _PARTS
        for each in status.get(part) or ()
    }


def changed(pod: Object, before: Seen, status: Object) -> Iterator[Happened]:
    """What happened between what was told ``before`` and the status that is written now."""
    for part in _PARTS:
        for now in status.get(part) or ():
            where = poddata.field_path(pod, now["name"])
            for kind, reason, message in _of_container(pod, before.get(now["name"], ("", "")), now):
                yield kind, reason, message, where


def stopping(pod: Object) -> Iterator[Happened]:
    """Of a pod that is deleted: each container that runs is stopped."""
    status = pod.get("status") or {}
    for part in _PARTS:
        for each in status.get(part) or ():
            if "running" in (each.get("state") or {}):
                where = poddata.field_path(pod, each["name"])
                yield "Normal", "Killing", f"Stopping container {each['name']}", where


def _of_container(pod: Object, before: tuple[str, str], now: Object) -> Iterator[tuple[str, str, str]]:
    name, image = now["name"], now["image"]
    if now.get("containerID") and now["containerID"] != before[0]:
        yield "Normal", "Pulled", f'Container image "{image}" already present on machine'
        yield "Normal", "Created", f"Container created: {name}"
        yield "Normal", "Started", f"Container started: {name}"
    waiting = _waiting(now)
    reason = waiting.get("reason")
    if reason == before[1]:
        return
    if reason == "ErrImagePull":
        yield "Normal", "Pulling", f'Pulling image "{image}"'
        yield "Warning", "Failed", f'Failed to pull image "{image}": {waiting.get("message")}'
        yield "Warning", "Failed", "Error: ErrImagePull"
    elif reason == "ImagePullBackOff":
        yield "Normal", "BackOff", f'Back-off pulling image "{image}"'
        yield "Warning", "Failed", "Error: ImagePullBackOff"
    elif reason == "CrashLoopBackOff":
        where = f"{objects.name(pod)}_{objects.namespace(pod)}({objects.uid(pod)})"
        yield "Warning", "BackOff", f"Back-off restarting failed container {name} in pod {where}"


def _waiting(status: Object) -> Any:
    return (status.get("state") or {}).get("waiting") or {}
