"""ConfigMap."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, decoded_length, named, rule, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, too_long

MAX_BYTES = 1024 * 1024


def _validate(obj: Object) -> Errors:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        yield from named(f"data[{key}]", key, names.config_key)
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len(value.encode())
    for key, value in binary.items():
        yield from named(f"binaryData[{key}]", key, names.config_key)
        size += decoded_length(value)
    if size > MAX_BYTES:
        yield too_long("", MAX_BYTES)


def _validate_update(new: Object, old: Object) -> Errors:
    if old.get("immutable"):
        yield from _kept(new, old)
    yield from _validate(new)


def _kept(new: Object, old: Object) -> Errors:
    refused = "field is immutable when `immutable` is set"
    if not new.get("immutable"):
        yield field_forbidden("immutable", refused)
    for field in ("data", "binaryData"):
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield field_forbidden(field, refused)


def _cells(obj: Object, now: float) -> list[Any]:
    count = len(obj.get("data") or {}) + len(obj.get("binaryData") or {})
    return [show.name(obj), count, show.age(obj, now)]


KIND = builtin(
    "configmaps",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    cells=_cells,
)
