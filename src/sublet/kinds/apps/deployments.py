"""Deployment."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, pod_defaults, show, warn, workload
from sublet.kinds.rules.common import (
    Errors,
    at_most_hundred_percent,
    fill,
    fill_empty,
    immutable,
    int_or_percent,
    is_zero,
    not_negative,
    rule,
    selector_value,
    spec_of,
    update_rule,
)
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

_ROLLBACK = "deprecated.deployment.rollback.to"
"""The annotation that asks for a revision; upstream reads it into a field of a version that is gone."""


def _default(obj: Object) -> None:
    workload.noted_number("Deployment", obj, _ROLLBACK)
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    fill_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy, rollingUpdate={})
        fill(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    pod_defaults.template(obj)


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from workload.counts(spec, "replicas")
    yield from workload.selector(spec, "deployment")
    yield from workload.replica_template(spec)
    yield from _strategy(spec.get("strategy") or {})
    yield from workload.counts(spec, "minReadySeconds", "revisionHistoryLimit")
    if (revision := objects.annotations(obj).get(_ROLLBACK)) is not None:
        yield from not_negative("spec.rollback.version", int(revision))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        yield from workload.counts(spec, "progressDeadlineSeconds")
        if deadline <= (spec.get("minReadySeconds") or 0):
            detail = "must be greater than minReadySeconds"
            yield invalid("spec.progressDeadlineSeconds", deadline, detail)


def _strategy(strategy: Object) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            yield field_forbidden("spec.strategy.rollingUpdate", detail)
    elif kind == "RollingUpdate":
        where = "spec.strategy.rollingUpdate"
        if rolling is None:
            yield required(where, "this should be defaulted and never be nil")
            return
        unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
        yield from int_or_percent(f"{where}.maxUnavailable", unavailable)
        yield from int_or_percent(f"{where}.maxSurge", surge)
        if is_zero(unavailable) and is_zero(surge):
            detail = "may not be 0 when `maxSurge` is 0"
            yield invalid(f"{where}.maxUnavailable", unavailable or 0, detail)
        yield from at_most_hundred_percent(f"{where}.maxUnavailable", unavailable)
    else:
        yield not_supported(
            "spec.strategy", gotypes.shown("UpdateStrategy", strategy), ("Recreate", "RollingUpdate")
        )


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = spec_of(new).get("selector"), spec_of(old).get("selector")
    yield from immutable("spec.selector", selector_value(now), selector_value(then))


def _validate_status(new: Object, old: Object) -> Errors:
    status = new.get("status") or {}
    yield from workload.status_counts(
        status,
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    )
    yield from workload.no_more_than_replicas(status, "updatedReplicas", "readyReplicas", "availableReplicas")
    yield from workload.collisions(new, old)


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    return [
        show.name(obj),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        show.age(obj, now),
        *show.container_cells(spec.get("template")),
        show.selector_text(spec.get("selector")),
    ]


KIND = builtin(
    "deployments.apps",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    reset={"status": ("spec", "metadata.labels")},
    validate_status=update_rule(_validate_status),
    warnings=warn.named_workload,
    cells=_cells,
    generation_metadata=("annotations",),
)
