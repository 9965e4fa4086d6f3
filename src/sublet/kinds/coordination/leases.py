"""Lease."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, made, not_negative, rule, spec_of
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required


def _default(obj: Object) -> None:
    made(obj, "spec")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    yield from not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    if spec.get("preferredHolder") and not spec.get("strategy"):
        yield invalid(
            "spec.preferredHolder", spec["preferredHolder"], "can only be specified when `strategy` is set"
        )
    if spec.get("strategy") == "":
        yield required("spec.strategy")


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), spec_of(obj).get("holderIdentity") or "", show.age(obj, now)]


KIND = builtin("leases.coordination.k8s.io", default=_default, validate=rule(_validate), cells=_cells)
