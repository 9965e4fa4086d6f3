"""ReplicaSet."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, show, warn, workload
from sublet.kinds.rules.common import Errors, fill, immutable, rule, selector_value, spec_of, update_rule
from sublet.machinery.kind import Object


def _default(obj: Object) -> None:
    fill(obj.setdefault("spec", {}), replicas=1)
    pod_defaults.template(obj)


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from workload.counts(spec, "replicas", "minReadySeconds")
    yield from workload.selector(spec, "deployment")
    yield from workload.replica_template(spec)


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = spec_of(new).get("selector"), spec_of(old).get("selector")
    yield from immutable("spec.selector", selector_value(now), selector_value(then))


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    yield from workload.status_counts(
        status,
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    )
    yield from workload.no_more_than_replicas(
        status, "fullyLabeledReplicas", "readyReplicas", "availableReplicas"
    )


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    return [
        show.name(obj),
        spec.get("replicas") or 0,
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        show.age(obj, now),
        *show.container_cells(spec.get("template")),
        show.selector_text(spec.get("selector")),
    ]


KIND = builtin(
    "replicasets.apps",
    status={"replicas": 0},
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_status=update_rule(_validate_status),
    warnings=warn.named_workload,
    cells=_cells,
)
