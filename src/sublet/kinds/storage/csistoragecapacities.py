"""CSIStorageCapacity."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, show, warn
from sublet.kinds.rules.common import (
    Errors,
    immutable,
    label_selector,
    named,
    rule,
    selector_value,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import Object


def _validate(obj: Object) -> Errors:
    yield from label_selector("nodeTopology", obj.get("nodeTopology"))
    yield from named("storageClassName", obj.get("storageClassName") or "", names.dns1123_subdomain)
    if (capacity := obj.get("capacity")) is not None:
        yield from amounts.not_negative("capacity", capacity)


def _validate_update(new: Object, old: Object) -> Errors:
    """What was asked of the driver stays."""
    now, then = (selector_value(obj.get("nodeTopology")) for obj in (new, old))
    yield from immutable("nodeTopology", now, then)
    yield from immutable("storageClassName", new.get("storageClassName"), old.get("storageClassName"))


def _cells(obj: Object, _now: float) -> list[Any]:
    return [show.name(obj), obj.get("storageClassName", ""), obj.get("capacity") or "<unset>"]


KIND = builtin(
    "csistoragecapacities.storage.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.storage_capacity,
    cells=_cells,
)
