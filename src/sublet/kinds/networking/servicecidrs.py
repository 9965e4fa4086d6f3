"""ServiceCIDR."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import IMMUTABLE, Errors, named, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import NIL, invalid, required

_PATH = "spec.cidrs"


def _validate(obj: Object) -> Errors:
    cidrs = spec_of(obj).get("cidrs") or []
    if not cidrs:
        yield required(_PATH, "at least one CIDR required")
        return
    if len(cidrs) > 2:
        yield invalid(_PATH, {"CIDRs": cidrs}, "may only hold up to 2 values")
        return
    wrong = [
        error for i, cidr in enumerate(cidrs) for error in named(f"{_PATH}[{i}]", cidr, names.canonical_cidr)
    ]
    yield from wrong
    if len(cidrs) == 2 and not wrong and len({":" in cidr for cidr in cidrs}) == 1:
        detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        yield invalid(_PATH, {"CIDRs": cidrs}, detail)


def _validate_update(new: Object, old: Object) -> Errors:
    """A second family may join; nothing else changes."""
    now, then = spec_of(new).get("cidrs") or [], spec_of(old).get("cidrs") or []
    if len(now) != len(then) and (len(then), len(now)) != (1, 2):
        yield invalid(_PATH, now or NIL, IMMUTABLE)
        return
    for index, (mine, theirs) in enumerate(zip(now, then, strict=False)):
        if mine != theirs:
            yield invalid(f"{_PATH}[{index}]", mine, IMMUTABLE)
    if len(now) > len(then):
        yield from _validate(new)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), ",".join(spec_of(obj).get("cidrs") or ()), show.age(obj, now)]


KIND = builtin(
    "servicecidrs.networking.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=_cells,
)
