"""Namespace."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, name_rule, named, rule, spec_of, update_rule
from sublet.kinds.rules.conditions import untold_times
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
_STANDARD = (FINALIZER, "orphan", "foregroundDeletion")


def _default(namespace: Object) -> None:
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        if metadata.get("labels") is None:
            metadata["labels"] = {}
        metadata["labels"][NAME_LABEL] = metadata["name"]
    status = namespace.get("status")
    if isinstance(status, dict) and not status.get("phase"):
        status["phase"] = "Active"
    untold_times(namespace, "lastTransitionTime")


def _prepare_create(namespace: Object) -> None:
    spec = namespace.setdefault("spec", {})
    finalizers = spec.get("finalizers") or []
    if FINALIZER not in finalizers:
        spec["finalizers"] = [*finalizers, FINALIZER]


def _prepare_update(new: Object, old: Object) -> None:
    """Finalizers of the spec change through ``/finalize`` alone."""
    new["spec"] = old.get("spec") or {}


def _validate(namespace: Object) -> Errors:
    for finalizer in spec_of(namespace).get("finalizers") or ():
        yield from finalizer_rules("spec.finalizers", finalizer)


def finalizer_rules(path: str, finalizer: str) -> Errors:
    """One of Kubernetes' own finalizers, or one with a domain."""
    yield from named(path, finalizer, names.qualified_name)
    if "/" not in finalizer and finalizer not in _STANDARD:
        detail = "name is neither a standard finalizer name nor is it fully qualified"
        yield invalid(path, finalizer, detail)


def _validate_status(new: Object, _old: Object) -> Errors:
    phase = (new.get("status") or {}).get("phase")
    if (new.get("metadata") or {}).get("deletionTimestamp"):
        if phase != "Terminating":
            yield invalid(
                "status.Phase", phase or "", "may only be 'Terminating' if `deletionTimestamp` is not empty"
            )
    elif phase != "Active":
        yield invalid("status.Phase", phase or "", "may only be 'Active' if `deletionTimestamp` is empty")


def _cells(namespace: Object, now: float) -> list[Any]:
    phase = (namespace.get("status") or {}).get("phase") or ""
    return [show.name(namespace), phase, show.age(namespace, now)]


KIND = builtin(
    "namespaces",
    reset={"finalize": ("status",)},
    status={"phase": "Active"},
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=rule(_validate),
    validate_status=update_rule(_validate_status),
    validate_name=name_rule(names.dns1123_label),
    cells=_cells,
    selectable={"status.phase": lambda ns: str((ns.get("status") or {}).get("phase") or "")},
)
