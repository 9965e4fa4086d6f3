"""PriorityLevelConfiguration."""

from __future__ import annotations

import math
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import flows, gotypes, show
from sublet.kinds.rules.common import Errors, fill, fill_empty, rule, spec_of, update_rule, within
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

_MAX_QUEUES, _HASH_BITS = 10_000_000, 60


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    if (exempt := spec.get("exempt")) is not None:
        fill(exempt, nominalConcurrencyShares=0, lendablePercent=0)
    if (limited := spec.get("limited")) is not None:
        fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
        if (queuing := (limited.get("limitResponse") or {}).get("queuing")) is not None:
            fill_empty(queuing, queues=64, handSize=8, queueLengthLimit=50)


def _validate(obj: Object) -> Errors:
    called, spec = show.name(obj), spec_of(obj)
    kind, exempt, limited = spec.get("type") or "", spec.get("exempt"), spec.get("limited")
    if (called == "exempt") != (kind == "Exempt"):
        yield invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'")
    if kind == "Exempt":
        if limited is not None:
            yield field_forbidden("spec.limited", "must be nil if the type is not Limited")
        if exempt is not None:
            yield from _shares("spec.exempt", exempt)
    elif kind == "Limited":
        if exempt is not None:
            yield field_forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited("spec.limited", limited)
    else:
        yield not_supported("spec.type", kind, ("Exempt", "Limited"))
    yield from _mandatory(called, spec)
    yield from flows.conditions(obj)


def _mandatory(called: str, spec: Object) -> Errors:
    fixed = flows.LEVELS.get(called)
    if fixed is None:
        return
    kept = {key: value for key, value in spec.items() if called != "exempt" or key != "exempt"}
    if flows.stated(kept) != flows.stated(fixed):
        but = " except the 'spec.exempt' field" if called == "exempt" else ""
        shown = gotypes.shown("PriorityLevelConfigurationSpec", spec)
        yield invalid("spec", shown, f"spec of '{called}'{but} must equal the fixed value")


def _shares(path: str, found: Object) -> Errors:
    shares = found.get("nominalConcurrencyShares") or 0
    if shares < 0:
        yield invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    yield from within(f"{path}.lendablePercent", found.get("lendablePercent"), 0, 100)


def _limited(path: str, limited: Object) -> Errors:
    yield from _shares(path, limited)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        yield invalid(f"{path}.borrowingLimitPercent", borrowing, detail)
    response = limited.get("limitResponse") or {}
    where, kind, queuing = f"{path}.limitResponse", response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            detail = "must be nil if limited.limitResponse.type is not Limited"
            yield field_forbidden(f"{where}.queuing", detail)
    elif kind != "Queue":
        yield not_supported(f"{where}.type", kind, ("Queue", "Reject"))
    elif queuing is None:
        yield required(f"{where}.queuing", "must not be empty if limited.limitResponse.type is Limited")
    else:
        yield from _queuing(f"{where}.queuing", queuing)


def _queuing(path: str, queuing: Object) -> Errors:
    length, queues, hand = (queuing.get(field) or 0 for field in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        yield invalid(f"{path}.queueLengthLimit", length, "must be positive")
    if queues <= 0:
        yield invalid(f"{path}.queues", queues, "must be positive")
    elif queues > _MAX_QUEUES:
        yield invalid(f"{path}.queues", queues, f"must not be greater than {_MAX_QUEUES}")
    if hand <= 0:
        yield invalid(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        yield invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")
    elif math.ceil(math.log2(queues) * hand) > _HASH_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} "
            f"should not be greater than {_HASH_BITS}"
        )
        yield invalid(f"{path}.handSize", hand, detail)


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
    validate_status=update_rule(lambda new, _old: flows.conditions(new)),
    cells=_cells,
)
