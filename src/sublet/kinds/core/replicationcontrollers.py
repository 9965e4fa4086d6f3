"""ReplicationController."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, pod_spec, show, warn, workload
from sublet.kinds.rules.common import Errors, fill, rule, spec_of, update_rule
from sublet.machinery.kind import Object
from sublet.machinery.status import required


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    template_labels = workload.template_labels(spec)
    if template_labels:
        if not spec.get("selector"):
            spec["selector"] = dict(template_labels)
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("labels"):
            metadata["labels"] = dict(template_labels)
    fill(spec, replicas=1)
    if spec.get("template") is not None:
        pod_defaults.template(obj)


def _validate(obj: Object, old: Object | None = None) -> Errors:
    spec = spec_of(obj)
    yield from workload.counts(spec, "minReadySeconds")
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        yield required("spec.selector")
    yield from workload.counts(spec, "replicas")
    if template is None:
        yield required("spec.template")
        return
    found = workload.template_labels(spec)
    if any(found.get(key) != value for key, value in selector.items()):
        yield workload.mismatch(found)
    yield from pod_spec.template("spec.template", template, spec_of(old or {}).get("template"))
    yield from workload.always_running(template, "ReplicationController")


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    yield from workload.status_counts(
        status, "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"
    )
    yield from workload.no_more_than_replicas(
        status, "fullyLabeledReplicas", "readyReplicas", "availableReplicas"
    )


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    return [
        show.name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        show.age(obj, now),
        *show.container_cells(spec.get("template")),
        show.label_text(spec.get("selector")),
    ]


KIND = builtin(
    "replicationcontrollers",
    status={"replicas": 0},
    default_propagation="Orphan",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate),
    update_alone=True,
    validate_status=update_rule(_validate_status),
    warnings=warn.named_workload,
    cells=_cells,
    selectable={"status.replicas": lambda obj: str((obj.get("status") or {}).get("replicas") or 0)},
)
