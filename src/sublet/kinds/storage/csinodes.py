"""CSINode."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, immutable, named, needs, rule, spec_of, unique, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object


def _validate(obj: Object) -> Errors:
    drivers = spec_of(obj).get("drivers") or ()
    yield from unique("spec.drivers", drivers, "name")
    for index, driver in enumerate(drivers):
        where = f"spec.drivers[{index}]"
        yield from needs(f"{where}.name", driver.get("name"), lambda v: names.dns1123_subdomain(v.lower()))
        yield from needs(f"{where}.nodeID", driver.get("nodeID"))
        for key in driver.get("topologyKeys") or ():
            yield from named(f"{where}.topologyKeys", key, names.qualified_name)


def _validate_update(new: Object, old: Object) -> Errors:
    before = {driver.get("name"): driver for driver in spec_of(old).get("drivers") or ()}
    for index, driver in enumerate(spec_of(new).get("drivers") or ()):
        then = before.get(driver.get("name"))
        if then is not None:
            now_fixed = {key: value for key, value in driver.items() if key != "allocatable"}
            then_fixed = {key: value for key, value in then.items() if key != "allocatable"}
            yield from immutable(f"spec.drivers[{index}]", now_fixed, then_fixed)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), len(spec_of(obj).get("drivers") or ()), show.age(obj, now)]


KIND = builtin(
    "csinodes.storage.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
