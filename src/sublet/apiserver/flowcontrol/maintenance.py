"""Keeps the flow objects as upstream keeps them: the mandatory and suggested ones, and the condition Dangling.

The mandatory ones (``exempt``, ``catch-all``) always have their spec. The suggested ones have theirs as long as their
annotation ``apf.kubernetes.io/autoupdate-spec`` says ``true``; without the annotation, as long as nobody changed them.
What is missing is made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sublet.apiserver.appliedconditions import apply_condition
from sublet.apiserver.flowcontrol.bootstrap import AUTOUPDATE, MANDATORY, PRODUCER, flow_objects
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, Conflict, NotFound

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_GROUP = "flowcontrol.apiserver.k8s.io"
_CONSUMER = "api-priority-and-fairness-config-consumer-v1"
_PLURALS = ("prioritylevelconfigurations", "flowschemas")


async def maintain(api: APIServer) -> None:
    """Puts everything right once. Raises what writes raise."""
    for plural, wanted in zip(_PLURALS, flow_objects(), strict=True):
        if api.kinds.stored(_GROUP, plural) is None:
            return
        await _ensure(api, plural, wanted)
        await _remove_obsolete(api, plural, {objects.name(obj) for obj in wanted})
    await mark_dangling(api)


async def _ensure(api: APIServer, plural: str, wanted: Sequence[Object]) -> None:
    where = resource(f"{plural}.{_GROUP}")
    for obj in wanted:
        current = await api.reader.get(_GROUP, plural, "", objects.name(obj))
        try:
            if current is None:
                await api.client.create(where, obj, field_manager=PRODUCER)
            elif (better := _corrected(current, obj)) is not None:
                await api.client.update(where, better, field_manager=PRODUCER)
        except (AlreadyExists, Conflict, NotFound):
            # Somebody else was quicker; the next round looks again.
            continue


def _corrected(current: Object, wanted: Object) -> Object | None:
    """What ``current`` should be; None where it is right as it is."""
    stated = objects.annotations(current).get(AUTOUPDATE)
    mandatory = objects.name(wanted) in MANDATORY
    automatic = (
        stated == "true" if stated in ("true", "false") else current["metadata"].get("generation") == 1
    )
    annotation = "true" if mandatory or automatic else "false"
    spec = wanted["spec"] if mandatory or automatic else current.get("spec")
    if stated == annotation and _covers(current.get("spec"), spec):
        return None
    metadata = {
        **current["metadata"],
        "annotations": {**objects.annotations(current), AUTOUPDATE: annotation},
    }
    return {**current, "metadata": metadata, "spec": spec}


def _covers(current: Any, wanted: Any) -> bool:
    """Whether they are the same but for defaults that were filled in."""
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(_covers(current.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(current, list) and len(current) == len(wanted) and all(map(_covers, current, wanted))
        )
    return bool(current == wanted)


async def _remove_obsolete(api: APIServer, plural: str, wanted: set[str]) -> None:
    """Deletes what an earlier release suggested and this one does not."""
    for obj in await api.reader.list(_GROUP, plural):
        if objects.name(obj) not in wanted and objects.annotations(obj).get(AUTOUPDATE) == "true":
            try:
                await api.client.delete(resource(f"{plural}.{_GROUP}"), objects.name(obj))
            except NotFound:
                continue


async def mark_dangling(api: APIServer) -> None:
    """Says of every FlowSchema whether its priority level exists."""
    levels = {objects.name(obj) for obj in await api.reader.list(_GROUP, _PLURALS[0])}
    wrong = []
    for obj in await api.reader.list(_GROUP, _PLURALS[1]):
        level = ((obj.get("spec") or {}).get("priorityLevelConfiguration") or {}).get("name") or ""
        there = level in levels
        known = objects.condition(obj, "Dangling")
        if (
            known is None
            or (known.get("status") == "True") is there
            or level not in str(known.get("message"))
        ):
            wrong.append(_set_dangling(api, objects.name(obj), level, there))
    await asyncio.gather(*wrong)


async def _set_dangling(api: APIServer, name: str, level: str, there: bool) -> None:
    refers = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    condition: Object = {
        "type": "Dangling",
        "status": "False" if there else "True",
        "lastTransitionTime": objects.rfc3339(api.clock.now()),
        "reason": "Found" if there else "NotFound",
        "message": f"{refers} and it exists" if there else f"{refers} but there is no such object",
    }

    def edit(obj: Object) -> bool:
        before = objects.condition(obj, "Dangling")
        if before is not None and before.get("status") == condition["status"]:
            condition["lastTransitionTime"] = before.get("lastTransitionTime")
        apply_condition(obj, condition, _CONSUMER, api.clock.now())
        return True

    await api.reader.update(_GROUP, _PLURALS[1], "", name, edit)
