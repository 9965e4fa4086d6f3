"""DaemonSet."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, pod_defaults, pod_spec, show, warn, workload
from sublet.kinds.rules.common import (
    Errors,
    at_most_hundred_percent,
    fill,
    fill_empty,
    immutable,
    int_or_percent,
    is_zero,
    label_selector,
    rule,
    selector_value,
    spec_of,
    update_rule,
)
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported, required

_GENERATION = "deprecated.daemonset.template.generation"
"""apps/v1 shows in this annotation, which no client can set, how often the template has changed."""


def _default(obj: Object) -> None:
    if workload.noted_number("DaemonSet", obj, _GENERATION) is None:
        _note(obj, 0)
    spec = obj.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    fill_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy, rollingUpdate={})
        fill(strategy["rollingUpdate"], maxUnavailable=1, maxSurge=0)
    elif strategy.get("rollingUpdate") is not None:
        fill(strategy["rollingUpdate"], maxUnavailable=0, maxSurge=0)
    fill(spec, revisionHistoryLimit=10)
    pod_defaults.template(obj)


def _note(obj: Object, generation: int) -> None:
    metadata = obj.setdefault("metadata", {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), _GENERATION: str(generation)}


def _noted(obj: Object) -> int:
    return int(objects.annotations(obj).get(_GENERATION) or 0)


def _prepare_create(new: Object) -> None:
    _note(new, max(_noted(new), 1))


def _prepare_update(new: Object, old: Object) -> None:
    changed = spec_of(new).get("template") != spec_of(old).get("template")
    _note(new, max(_noted(old), 1) + changed)


def _prepare_status(new: Object, old: Object) -> None:
    _note(new, max(_noted(old), 1))


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    selector, template = spec.get("selector"), spec.get("template") or {}
    wrong = list(label_selector("spec.selector", selector))
    yield from wrong
    if not wrong:
        yield from workload.selects_template(spec)
    yield from workload.not_empty(spec, "daemonset")
    yield from pod_spec.template("spec.template", template)
    yield from workload.always_running(template, "DaemonSet")
    yield from workload.counts(spec, "minReadySeconds")
    yield from _strategy(spec.get("updateStrategy") or {})
    yield from workload.counts(spec, "revisionHistoryLimit")


def _strategy(strategy: Object) -> Errors:
    kind = strategy.get("type")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        shown = gotypes.shown("UpdateStrategy", strategy)
        yield not_supported("spec.updateStrategy", shown, ("RollingUpdate", "OnDelete"))
        return
    where, rolling = "spec.updateStrategy.rollingUpdate", strategy.get("rollingUpdate")
    if rolling is None:
        yield required(where)
        return
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        yield from int_or_percent(f"{where}.{field}", value)
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        yield from at_most_hundred_percent(f"{where}.{field}", value)
    if not is_zero(unavailable) and not is_zero(surge):
        yield invalid(f"{where}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif is_zero(unavailable) and is_zero(surge):
        yield required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = spec_of(new).get("selector"), spec_of(old).get("selector")
    yield from immutable("spec.selector", selector_value(now), selector_value(then))


def _validate_status(new: Object, old: Object) -> Errors:
    yield from workload.status_counts(
        new.get("status") or {},
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    )
    yield from workload.collisions(new, old)


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    template = spec.get("template") or {}
    return [
        show.name(obj),
        status.get("desiredNumberScheduled") or 0,
        status.get("currentNumberScheduled") or 0,
        status.get("numberReady") or 0,
        status.get("updatedNumberScheduled") or 0,
        status.get("numberAvailable") or 0,
        show.label_text((template.get("spec") or {}).get("nodeSelector")),
        show.age(obj, now),
        *show.container_cells(template),
        show.selector_text(spec.get("selector")),
    ]


KIND = builtin(
    "daemonsets.apps",
    status={
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    prepare_status=_prepare_status,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_status=update_rule(_validate_status),
    warnings=warn.daemon_set,
    cells=_cells,
)
