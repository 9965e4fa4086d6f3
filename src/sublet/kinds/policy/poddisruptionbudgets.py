"""PodDisruptionBudget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import (
    Errors,
    at_most_hundred_percent,
    int_or_percent,
    label_selector,
    one_of,
    rule,
    spec_of,
)
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            yield from int_or_percent(f"spec.{field}", value)
            yield from at_most_hundred_percent(f"spec.{field}", value)
    yield from label_selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    yield from one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))


def _warnings(obj: Object, _old: Object | None) -> Sequence[str]:
    selector = spec_of(obj).get("selector")
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [
            "spec.selector: an empty selector in a PodDisruptionBudget of policy/v1 selects every pod in the namespace"
        ]
    return []


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
    validate=rule(_validate),
    warnings=_warnings,
    cells=_cells,
)
