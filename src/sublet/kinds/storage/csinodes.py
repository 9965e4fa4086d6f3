"""CSINode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, show, volumes
from sublet.kinds.rules.common import (
    IMMUTABLE,
    Errors,
    fill,
    made,
    named,
    not_negative,
    rule,
    spec_of,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, required

_MAX_ID = 256


def _default(obj: Object) -> None:
    fill(made(obj, "spec"), drivers=None)


def _validate(obj: Object) -> Errors:
    seen: set[str] = set()
    for index, driver in enumerate(spec_of(obj).get("drivers") or ()):
        where, name, node_id = f"spec.drivers[{index}]", driver.get("name") or "", driver.get("nodeID") or ""
        yield from volumes.driver_name(f"{where}.name", name)
        if not node_id:
            yield required(f"{where}.nodeID")
        elif len(node_id) > _MAX_ID:
            yield invalid(f"{where}.nodeID", node_id, f"must be {_MAX_ID} characters or less")
        count = (driver.get("allocatable") or {}).get("count")
        yield from not_negative(f"{where}.allocatable.count", count)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        yield from _topology(where, driver.get("topologyKeys") or ())


def _topology(path: str, keys: Sequence[str]) -> Errors:
    for index, key in enumerate(keys):
        if not key:
            yield required(path)
        if key in keys[:index]:
            yield duplicate(path, key)
        yield from named(path, key, names.qualified_name)


def _validate_update(new: Object, old: Object) -> Errors:
    """A driver may come and go, not change; how many volumes it takes may."""
    before = {driver.get("name"): driver for driver in spec_of(old).get("drivers") or ()}
    for driver in spec_of(new).get("drivers") or ():
        then = before.get(driver.get("name"))
        if then is not None and {**driver, "allocatable": 0} != {**then, "allocatable": 0}:
            shown = gotypes.shown("CSINodeDriver", {**driver, "allocatable": None})
            yield invalid("spec.drivers", shown, IMMUTABLE)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), len(spec_of(obj).get("drivers") or ()), show.age(obj, now)]


KIND = builtin(
    "csinodes.storage.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
