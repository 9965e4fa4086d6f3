"""PriorityClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, one_of, rule, update_rule
from sublet.machinery.kind import Object
from sublet.machinery.objects import name
from sublet.machinery.status import field_forbidden, invalid

HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_SYSTEM_PREFIX = "system-"


def _default(obj: Object) -> None:
    fill(obj, value=0, preemptionPolicy="PreemptLowerPriority")


def _validate(obj: Object) -> Errors:
    called, value = name(obj), obj.get("value") or 0
    if called.startswith(_SYSTEM_PREFIX):
        if (why := _unlike_system(called, value, obj)) is not None:
            detail = "priority class names with 'system-' prefix are reserved for system use only"
            yield field_forbidden("metadata.name", f"{detail}. error: {why}")
    elif value > HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        yield field_forbidden("value", detail)
    if (policy := obj.get("preemptionPolicy")) is not None:
        yield from one_of("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"), needed=True)


def _unlike_system(called: str, value: int, obj: Object) -> str | None:
    if called not in SYSTEM:
        return f"{called} is not a known system priority class"
    if value != SYSTEM[called]:
        return f"value of {called} PriorityClass must be {SYSTEM[called]}"
    return f"globalDefault of {called} PriorityClass must be false" if obj.get("globalDefault") else None


def _validate_update(new: Object, old: Object) -> Errors:
    if (new.get("value") or 0) != (old.get("value") or 0):
        yield field_forbidden("value", "may not be changed in an update.")
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        yield invalid("preemptionPolicy", new.get("preemptionPolicy"), "field is immutable")


def _cells(obj: Object, now: float) -> list[Any]:
    return [
        show.name(obj),
        obj.get("value") or 0,
        bool(obj.get("globalDefault")),
        show.age(obj, now),
        obj.get("preemptionPolicy") or "",
    ]


KIND = builtin(
    "priorityclasses.scheduling.k8s.io",
    default=_default,
    generation_grows=False,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=_cells,
    undeletable=dict.fromkeys(SYSTEM, "this is a system priority class and cannot be deleted"),
)
