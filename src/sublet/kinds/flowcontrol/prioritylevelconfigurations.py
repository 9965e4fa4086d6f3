"""PriorityLevelConfiguration."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, fill_empty, not_negative, one_of, rule, spec_of, within
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, required


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    if (exempt := spec.get("exempt")) is not None:
        fill(exempt, nominalConcurrencyShares=0, lendablePercent=0)
    if (limited := spec.get("limited")) is not None:
        fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
        if (queuing := (limited.get("limitResponse") or {}).get("queuing")) is not None:
            fill_empty(queuing, queues=64, handSize=8, queueLengthLimit=50)


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    kind = spec.get("type")
    yield from one_of("spec.type", kind, ("Exempt", "Limited"), needed=True)
    if kind == "Exempt":
        if spec.get("limited") is not None:
            yield field_forbidden("spec.limited", "must be nil if the type is not Limited")
    elif kind == "Limited":
        if spec.get("exempt") is not None:
            yield field_forbidden("spec.exempt", "must be nil if the type is Limited")
        if spec.get("limited") is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited("spec.limited", spec["limited"])


def _limited(path: str, limited: Object) -> Errors:
    yield from not_negative(f"{path}.nominalConcurrencyShares", limited.get("nominalConcurrencyShares"))
    yield from within(f"{path}.lendablePercent", limited.get("lendablePercent"), 0, 100)
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type"), response.get("queuing")
    where = f"{path}.limitResponse"
    yield from one_of(f"{where}.type", kind, ("Queue", "Reject"), needed=True)
    if kind == "Reject" and queuing is not None:
        yield field_forbidden(f"{where}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    if kind != "Queue":
        return
    if queuing is None:
        yield required(f"{where}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        return
    for field in ("queues", "queueLengthLimit", "handSize"):
        if (queuing.get(field) or 0) <= 0:
            yield invalid(f"{where}.queuing.{field}", queuing.get(field) or 0, "must be positive")
    if (queuing.get("handSize") or 0) > (queuing.get("queues") or 0):
        detail = f"should not be greater than queues ({queuing.get('queues')})"
        yield invalid(f"{where}.queuing.handSize", queuing["handSize"], detail)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        show.name(obj),
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", show.NONE),
        *(queuing.get(field, show.NONE) for field in ("queues", "handSize", "queueLengthLimit")),
        show.age(obj, now),
    ]


KIND = builtin(
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    default=_default,
    validate=rule(_validate),
    cells=_cells,
)
