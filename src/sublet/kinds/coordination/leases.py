"""Lease."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, made, named, not_negative, rule, spec_of
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported

_STRATEGIES = ("OldestEmulationVersion",)


def _default(obj: Object) -> None:
    made(obj, "spec")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    yield from not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    if (strategy := spec.get("strategy")) is not None:
        yield from _strategy("spec.strategy.strategy", strategy)
    if spec.get("preferredHolder") and not strategy:
        yield field_forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined")


def _strategy(path: str, strategy: str) -> Errors:
    """One of Kubernetes' own, or ``DOMAIN/NAME``; Kubernetes names the field twice."""
    if "/" in strategy:
        yield from named(path, strategy, names.qualified_name)
    elif strategy not in _STRATEGIES:
        yield not_supported(path, strategy, _STRATEGIES)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), spec_of(obj).get("holderIdentity") or "", show.age(obj, now)]


KIND = builtin("leases.coordination.k8s.io", default=_default, validate=rule(_validate), cells=_cells)
