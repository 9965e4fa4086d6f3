"""ServiceCIDR."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, named, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required, too_many


def _validate(obj: Object) -> Errors:
    cidrs = spec_of(obj).get("cidrs") or []
    if not cidrs:
        yield required("spec.cidrs", "at least one CIDR required")
    elif len(cidrs) > 2:
        yield too_many("spec.cidrs", len(cidrs), 2)
    elif len(cidrs) == 2 and len({":" in cidr for cidr in cidrs}) == 1:
        yield invalid(
            "spec.cidrs",
            cidrs,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        )
    for index, cidr in enumerate(cidrs):
        yield from named(f"spec.cidrs[{index}]", cidr, names.cidr)


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = spec_of(new).get("cidrs") or [], spec_of(old).get("cidrs") or []
    if now[: len(then)] != then:
        yield invalid("spec.cidrs", now, "field is immutable")


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), ",".join(spec_of(obj).get("cidrs") or ()), show.age(obj, now)]


KIND = builtin(
    "servicecidrs.networking.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
