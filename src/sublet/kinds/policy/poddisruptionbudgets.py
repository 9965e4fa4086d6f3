"""PodDisruptionBudget."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, show
from sublet.kinds.rules.common import (
    Errors,
    at_most_hundred_percent,
    int_or_percent,
    label_selector,
    made,
    not_negative,
    rule,
    spec_of,
    update_rule,
)
from sublet.kinds.rules.conditions import conditions
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported

_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def _default(obj: Object) -> None:
    made(obj, "spec")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        yield invalid(
            "spec",
            gotypes.shown("PodDisruptionBudgetSpec", spec),
            "minAvailable and maxUnavailable cannot be both set",
        )
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            yield from int_or_percent(f"spec.{field}", value)
            yield from at_most_hundred_percent(f"spec.{field}", value)
    yield from label_selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _POLICIES:
        yield not_supported("spec.unhealthyPodEvictionPolicy", policy, _POLICIES)


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    yield from conditions("status.conditions", status.get("conditions") or ())
    for field in _COUNTS:
        yield from not_negative(f"status.{field}", status.get(field))


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    return [
        show.name(obj),
        str(spec["minAvailable"]) if spec.get("minAvailable") is not None else "N/A",
        str(spec["maxUnavailable"]) if spec.get("maxUnavailable") is not None else "N/A",
        status.get("disruptionsAllowed") or 0,
        show.age(obj, now),
    ]


KIND = builtin(
    "poddisruptionbudgets.policy",
    status={"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    default=_default,
    validate=rule(_validate),
    validate_status=update_rule(_validate_status),
    cells=_cells,
)
