"""Decoding as Go's typed decoder does it: types, unknown and duplicate fields, nulls, canonical scalars.

A built-in object received as JSON or YAML passes :func:`check` before anything else looks at it; custom resources, whose
types are a matter of validation, pass :func:`prune`. Both change the object in place. Source: reference B.5 and B.9;
Go's encoding/json and sigs.k8s.io/json for the texts.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from sublet.machinery import quantity, zeros
from sublet.machinery.duplicates import shown_path
from sublet.machinery.objects import parse_time, rfc3339, rfc3339_micro
from sublet.machinery.schema import Schema
from sublet.machinery.status import BadRequest

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_MICRO_TIME = f"{_META}.MicroTime"
_OBJECT_META = f"{_META}.ObjectMeta"
_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
_TO_THE_SECOND = r"\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_CANONICAL_TIME = re.compile(rf"{_TO_THE_SECOND}Z").fullmatch
_CANONICAL_MICRO_TIME = re.compile(rf"{_TO_THE_SECOND}\.\d{{6}}Z").fullmatch
_SCALARS = frozenset(("string", "boolean", "integer"))
_NEVER_ZERO = frozenset((_QUANTITY, _MICRO_TIME, f"{_META}.Time"))
"""Types whose values are written as strings but are structs."""
_MEANINGFUL_WHEN_EMPTY = frozenset((f"{_OBJECT_META}.managedFields",))
"""Optional lists that say something when empty: this one asks to forget all managers."""


class StrictResult(Struct):
    """What was wrong with a received object."""

    errors: list[str] = field(default_factory=list)
    """At most one: why it cannot be decoded at all; the object is then only partly converted."""
    unknown: list[str] = field(default_factory=list)
    """``unknown field "spec.containers[0].foo"``, in the order of the document; those fields were dropped."""


class _Mismatch(Exception):
    """The value at the walk's current path does not fit."""

    def __init__(self, text: str = "", *, value: Any = None, found: str = "", wanted: str = "") -> None:
        super().__init__(text)
        self.text, self.value, self.wanted = text, value, wanted
        self.found = found or json_kind(value)


class _Walk:
    """Where a check is: field names, list indices and (one-tuples) map keys from the root."""

    __slots__ = ("path", "unknown")

    def __init__(self) -> None:
        self.path: list[Any] = []
        self.unknown: list[str] = []

    def report_unknown(self, name: str) -> None:
        self.unknown.append(f'unknown field "{shown_path([*self.path, name])}"')


_Check = Callable[[Any, _Walk], Any]
"""(value, walk) -> the value to keep. Raises :class:`_Mismatch`."""


def check(
    obj: Any, schema: Schema, *, path: Sequence[str] = (), converted: bool = False, apart: bool = False
) -> StrictResult:
    """Decodes a JSON-shaped value in place as the built-in type ``schema`` stands for.

    Drops unknown fields, nulls, empty optional lists and maps, and zeros that are no more than the absence of a field
    (:mod:`sublet.machinery.zeros`); writes quantities and times canonically.
    ``path``: where the value sits in the whole object, for the texts. ``converted``: the texts are those of Go's
    converter from maps, which strategic merge patches pass, not of its JSON decoder. ``apart``: the value was decoded
    by itself, so that errors do not know of the path; unknown fields do.
    """
    walk = _Walk()
    walk.path.extend(path)
    result = StrictResult(unknown=walk.unknown)
    try:
        _checker(schema)(obj, walk)
    except _Mismatch as mismatch:
        text = _conversion_text(mismatch) if converted else ""
        if apart:
            del walk.path[: len(path)]
            path = ()
        result.errors.append(mismatch.text or text or _mismatch_text(mismatch, schema, walk.path, len(path)))
    return result


def refusal(kind: str, version: str, why: str) -> BadRequest:
    """The 400 for an object that cannot be decoded (``why`` from :attr:`StrictResult.errors`)."""
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def strict_refusal(kind: str, version: str, found: Sequence[str]) -> BadRequest:
    """The 400 of ``fieldValidation=Strict`` for unknown and duplicate fields."""
    return refusal(kind, version, "strict decoding error: " + ", ".join(found))


def prune(obj: dict[str, Any], schema: Schema, object_meta: Schema | None = None) -> list[str]:
    """Drops what a custom resource's structural schema does not declare; returns ``unknown field "…"`` texts.

    With ``object_meta`` the metadata of embedded resources is pruned to it.
    """
    walk = _Walk()
    _prune_object(obj, schema, walk, object_meta, whole=True)
    return walk.unknown


# -- checks, compiled once per node of a schema --


def _checker(schema: Schema) -> _Check:
    found: _Check | None = schema.__dict__.get("_strict_check")
    if found is None:
        found = schema.__dict__["_strict_check"] = _compile(schema)
    return found


def _compile(schema: Schema) -> _Check:
    if schema.name == _QUANTITY:
        return _quantity
    if schema.int_or_string:
        return _int_or_string
    if schema.type == "string":
        if schema.format == "byte":
            return _base64
        if schema.format == "date-time":
            return _micro_time if schema.name == _MICRO_TIME else _time
        return _string
    if schema.type == "integer":
        return _integer(schema.format or "int64")
    if schema.type == "number":
        return _number
    if schema.type == "boolean":
        return _boolean
    if schema.type == "array" and schema.items is not None:
        return _list_of(schema.items)
    if schema.type == "object":
        if schema.properties:
            return _struct(schema)
        if schema.additional is not None:
            return _map_of(schema.additional)
        return _any_object
    return _anything


def _anything(value: Any, _walk: _Walk) -> Any:
    return value


def _any_object(value: Any, _walk: _Walk) -> Any:
    if type(value) is not dict:
        raise _Mismatch(value=value, wanted="map[string]interface {}")
    return value


def _string(value: Any, _walk: _Walk) -> str:
    if type(value) is not str:
        raise _Mismatch(value=value, wanted="string")
    return value


def _boolean(value: Any, _walk: _Walk) -> bool:
    if type(value) is not bool:
        raise _Mismatch(value=value, wanted="bool")
    return value


def _integer(wanted: str) -> _Check:
    low, high = _RANGES[wanted]

    def integer(value: Any, _walk: _Walk) -> int:
        if type(value) is int and low <= value <= high:
            return value
        found = f"number {value}" if type(value) in (int, float) else json_kind(value)
        raise _Mismatch(value=value, found=found, wanted=wanted)

    return integer


def _number(value: Any, _walk: _Walk) -> Any:
    if type(value) not in (int, float):
        raise _Mismatch(value=value, wanted="float64")
    return value


def _base64(value: Any, _walk: _Walk) -> str:
    if type(value) is not str:
        raise _Mismatch(value=value, wanted="[]uint8")
    text = value.replace("\r", "").replace("\n", "")
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise _Mismatch(f"illegal base64 data at input byte {_bad_base64_at(text)}") from None
    return text


def _bad_base64_at(text: str) -> int:
    wrong = re.search(r"[^A-Za-z0-9+/]", text)
    return wrong.start() if wrong else len(text) - len(text) % 4


def _quantity(value: Any, _walk: _Walk) -> str:
    try:
        return quantity.parse(value if type(value) is str else json.dumps(value)).canonical()
    except ValueError as error:
        raise _Mismatch(str(error)) from None


def _int_or_string(value: Any, _walk: _Walk) -> Any:
    if type(value) is str:
        return value
    low, high = _RANGES["int32"]
    if type(value) is int and low <= value <= high:
        return value
    found = f"number {value}" if type(value) in (int, float) else json_kind(value)
    raise _Mismatch(f"json: cannot unmarshal {found} into Go value of type int32")


def _time(value: Any, _walk: _Walk) -> str:
    if type(value) is str and _CANONICAL_TIME(value):
        return value
    return rfc3339(_parsed_time(value, "2006-01-02T15:04:05Z07:00"))


def _micro_time(value: Any, _walk: _Walk) -> str:
    if type(value) is str and _CANONICAL_MICRO_TIME(value):
        return value
    return rfc3339_micro(_parsed_time(value, "2006-01-02T15:04:05.000000Z07:00"))


def _parsed_time(value: Any, layout: str) -> float:
    if type(value) is not str:
        raise _Mismatch(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
    try:
        return parse_time(value)
    except ValueError:
        text = json.dumps(value)
        raise _Mismatch(f'parsing time {text} as "{layout}": cannot parse {text} as "2006"') from None


def _list_of(items: Schema) -> _Check:
    plain = _plain_type(items)
    go_type = "[]" + _go_type(items)

    def list_check(value: Any, walk: _Walk) -> Any:
        if type(value) is not list:
            raise _Mismatch(value=value, wanted=go_type)
        item_check = _checker(items)
        path = walk.path
        for index, item in enumerate(value):
            if type(item) is plain:
                continue
            if item is None:
                value[index] = _zero(items)
                continue
            path.append(index)
            kept = item_check(item, walk)
            if kept is not item:
                value[index] = kept
            path.pop()
        return value

    return list_check


def _map_of(values: Schema) -> _Check:
    plain = _plain_type(values)
    go_type = "map[string]" + _go_type(values)

    def map_check(value: Any, walk: _Walk) -> Any:
        if type(value) is not dict:
            raise _Mismatch(value=value, wanted=go_type)
        item_check = _checker(values)
        path = walk.path
        for key, item in value.items():
            if type(item) is plain:
                continue
            if item is None:
                value[key] = _zero(values)
                continue
            path.append((key,))
            kept = item_check(item, walk)
            if kept is not item:
                value[key] = kept
            path.pop()
        return value

    return map_check


def _struct(schema: Schema) -> _Check:
    go_type = _go_type(schema)
    fields: dict[str, tuple[type | None, bool, Schema]] = {
        name: (_plain_type(child), _left_out_when_empty(schema, name, child), child)
        for name, child in schema.properties.items()
    }

    def struct_check(value: Any, walk: _Walk) -> Any:
        if type(value) is not dict:
            raise _Mismatch(value=value, wanted=go_type)
        dropped: list[str] = []
        path = walk.path
        for key, item in value.items():
            known = fields.get(key)
            if known is None:
                walk.report_unknown(key)
                dropped.append(key)
                continue
            plain, droppable, child = known
            if type(item) is plain:
                if droppable and not item:
                    dropped.append(key)
                continue
            if item is None:
                dropped.append(key)
                continue
            path.append(key)
            kept = _checker(child)(item, walk)
            if droppable and not kept:
                dropped.append(key)
            elif kept is not item:
                value[key] = kept
            path.pop()
        for key in dropped:
            del value[key]
        return value

    return struct_check


def _plain_type(schema: Schema) -> type | None:
    """The Python type whose values need no closer look."""
    check = _compile(schema) if schema.type in ("string", "boolean") else None
    return str if check is _string else bool if check is _boolean else None


def _left_out_when_empty(parent: Schema, name: str, child: Schema) -> bool:
    """Whether a field is as good as absent when it holds an empty list or map, or a zero."""
    if name in parent.required or f"{parent.name}.{name}" in _MEANINGFUL_WHEN_EMPTY:
        return False
    if child.type in _SCALARS and not child.int_or_string and child.name not in _NEVER_ZERO:
        return not zeros.meaningful(parent.name, name)
    return child.type == "array" or (
        child.type == "object" and not child.properties and child.additional is not None
    )


def _zero(schema: Schema) -> Any:
    """What Go makes of a null where there is no absence: in a list or a map."""
    if schema.name == _QUANTITY:
        return "0"
    if schema.int_or_string:
        return 0
    zeros = {"string": "", "boolean": False, "integer": 0, "number": 0, "array": [], "object": {}}
    return zeros.get(schema.type)


# -- texts --


def json_kind(value: Any) -> str:
    """What Go's decoder calls a JSON value: ``string number bool object array null``."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    kinds: dict[type, str] = {str: "string", dict: "object", list: "array"}
    return kinds.get(type(value), "null")


def _go_type(schema: Schema) -> str:
    if schema.name:
        package, _, name = schema.name.rpartition(".")
        return f"{package.rpartition('.')[2]}.{name}"
    if schema.type == "array" and schema.items is not None:
        return "[]" + _go_type(schema.items)
    if schema.type == "object" and schema.additional is not None:
        return "map[string]" + _go_type(schema.additional)
    plain = {"boolean": "bool", "number": "float64", "string": "string"}
    if schema.type == "integer":
        return schema.format or "int64"
    return "[]uint8" if schema.format == "byte" else plain.get(schema.type, "interface {}")


def _mismatch_text(mismatch: _Mismatch, root: Schema, path: Sequence[Any], skip: int) -> str:
    """Go names the innermost struct, then all field names from the root, without indices and keys."""
    what = f"json: cannot unmarshal {mismatch.found} into Go "
    fields = [step for step in path if isinstance(step, str)]
    if not fields:
        return f"{what}value of type {mismatch.wanted}"
    struct = node = root
    for step in path[skip:]:
        if isinstance(step, int):
            child = node.items
        else:
            child = node.additional if isinstance(step, tuple) else node.properties.get(step)
            struct = node if isinstance(step, str) else struct
        if child is None:
            break
        node = child
    name = struct.name.rpartition(".")[2]
    return f"{what}struct field {name}.{'.'.join(fields)} of type {mismatch.wanted}"


def _conversion_text(mismatch: _Mismatch) -> str:
    """What apimachinery's converter says; it does not tell where."""
    go_types = {bool: "bool", int: "int64", float: "float64", str: "string", dict: "map", list: "slice"}
    found = go_types.get(type(mismatch.value), "nil")
    wanted = mismatch.wanted
    if wanted.startswith("map["):
        return f"cannot restore map from {found}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {found}"
    if "." in wanted:
        return f"cannot restore struct from: {found}"
    if found in ("int64", "float64") and (wanted != "bool") and (found, wanted) != ("float64", "string"):
        return f"cannot convert {found} to {wanted}"
    return f"unrecognized type: {wanted}"


# -- custom resources --

_TYPE_META = ("apiVersion", "kind", "metadata")


def _prune_object(
    obj: dict[str, Any], schema: Schema, walk: _Walk, meta: Schema | None, *, whole: bool = False
) -> None:
    properties: Mapping[str, Schema] = schema.properties
    additional = schema.additional
    implicit = _TYPE_META if whole or schema.embedded_resource else ()
    for key in list(obj):
        child = properties.get(key)
        if key in implicit and (child is None or key == "metadata"):
            if key == "metadata" and meta is not None and not whole and isinstance(obj[key], dict):
                walk.unknown += check(obj[key], meta, path=(*walk.path, key)).unknown
            continue
        if child is None:
            child = additional
        if child is not None:
            walk.path.append(key)
            _prune(obj[key], child, walk, meta)
            walk.path.pop()
        elif not schema.preserve_unknown:
            walk.report_unknown(key)
            del obj[key]


def _prune(value: Any, schema: Schema, walk: _Walk, meta: Schema | None) -> None:
    if type(value) is dict:
        _prune_object(value, schema, walk, meta)
    elif type(value) is list and schema.items is not None:
        for index, item in enumerate(value):
            walk.path.append(index)
            _prune(item, schema.items, walk, meta)
            walk.path.pop()
