"""VolumeAttributesClass."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, rule, update_rule
from sublet.kinds.storage.storageclasses import DEFAULT_ANNOTATION, driver, parameters
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden


def _validate(obj: Object) -> Errors:
    yield from driver("driverName", obj.get("driverName"))
    yield from parameters("parameters", obj.get("parameters"), empty=False)


def _validate_update(new: Object, old: Object) -> Errors:
    if new.get("driverName") != old.get("driverName"):
        yield field_forbidden("driverName", "updates to driverName are forbidden.")
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        yield field_forbidden("parameters", "updates to parameters are forbidden.")
    yield from _validate(new)


def _cells(obj: Object, now: float) -> list[Any]:
    name = show.name(obj)
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if annotations.get(DEFAULT_ANNOTATION) == "true":
        name += " (default)"
    return [name, obj.get("driverName", ""), show.age(obj, now)]


KIND = builtin(
    "volumeattributesclasses.storage.k8s.io",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=_cells,
)
