"""Writing a pod's status: only what changed, without touching what others wrote."""

from __future__ import annotations

import logging
from typing import Any

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, NotFound, StatusError

log = logging.getLogger(__name__)

_LEFT_OUT = ("reason", "message", "podIP", "podIPs")
"""What a status has no more when it leaves it out."""
_REPLACED = ("podIPs", "hostIPs", "addresses")
_OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


class StatusWriter:
    """Remembers what it wrote last, since the informer may be behind."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._written: dict[str, Any] | None = None

    def overlay(self, pod: Object) -> Object:
        """A pod from a watch with what was written since: the watch may be behind."""
        if self._written is None:
            return pod
        seen = {k: v for k, v in (pod.get("status") or {}).items() if k not in _LEFT_OUT}
        others = [c for c in seen.get("conditions") or [] if c["type"] not in _OWNED]
        mine = [c for c in self._written.get("conditions") or [] if c["type"] in _OWNED]
        return {**pod, "status": {**seen, **self._written, "conditions": [*mine, *others]}}

    async def write(self, pod: Object, status: dict[str, Any]) -> Object:
        """The pod with the new status. An API that does not answer is logged: the next write will do."""
        old = dict(self.overlay(pod).get("status") or {})
        kept = {key: value for key, value in old.items() if key in status or key not in _LEFT_OUT}
        merged = {**pod, "status": {**kept, **status, "conditions": _merged(old, status)}}
        patch = difference(old, status)
        if not patch:
            return merged
        body = {"metadata": {"uid": objects.uid(pod)}, "status": patch}
        try:
            await self._client.patch(
                resource("pods"),
                objects.name(pod),
                body,
                objects.namespace(pod),
                kind="strategic",
                subresource="status",
            )
        except (NotFound, Conflict) as error:
            # another pod has the name, or none: the watch will tell
            log.info("status of pod %s: %s", objects.key(pod), error.message)
            return merged
        except StatusError as error:
            log.warning("status of pod %s is not written: %s", objects.key(pod), error.message)
            return pod
        self._written = {**kept, **status}
        return merged


def _merged(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    mine = {c["type"]: c for c in new.get("conditions") or []}
    others = [c for c in old.get("conditions") or [] if c["type"] not in mine]
    return [*mine.values(), *others]


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A strategic merge patch of the status; conditions that others own are not in it."""
    patch: dict[str, Any] = {}
    for key, value in new.items():
        if key == "conditions":
            before = {c["type"]: c for c in old.get("conditions") or []}
            changed = [
                _cleared(before.get(c["type"]), c)
                for c in value
                if _plain(before.get(c["type"])) != _plain(c)
            ]
            if changed:
                patch[key] = changed
        elif old.get(key) != value:
            patch[key] = replaced(key, value)
    for key in _LEFT_OUT:
        if key in old and key not in new and old[key] is not None:
            patch[key] = None
    return patch


def replaced(key: str, value: Any) -> Any:
    """A part of a status as it goes into a strategic merge patch: addresses replace those that were before."""
    return [{"$patch": "replace"}, *value] if key in _REPLACED else value


def _cleared(before: dict[str, Any] | None, condition: dict[str, Any]) -> dict[str, Any]:
    """A condition with null for what it had and has no more: a merge would keep it."""
    gone = (key for key in before or {} if key not in condition)
    return {**condition, **dict.fromkeys(gone)}


def _plain(condition: dict[str, Any] | None) -> dict[str, Any] | None:
    """A condition without empty parts, so that absent and null are the same."""
    return None if condition is None else {k: v for k, v in condition.items() if v is not None}
