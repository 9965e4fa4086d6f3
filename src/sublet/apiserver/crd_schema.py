"""Structural schemas of custom resources at work: defaults and validation (reference B.18).

Pruning is :func:`sublet.machinery.strict.prune`. Expressions (``x-kubernetes-validations``) are ``crd_cel``'s.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from sublet.machinery import codec, objects, regexp
from sublet.machinery.schema import Schema
from sublet.machinery.status import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
    type_invalid,
)

_SKIPPED_AT_ROOT = frozenset(("apiVersion", "kind", "metadata"))


# -- defaults --


def default(value: Any, schema: Schema) -> None:
    """Fills in defaults, in place; a null where the schema allows none and has a default counts as absent."""
    if isinstance(value, dict):
        for name, child in schema.properties.items():
            absent = name not in value or (value[name] is None and not child.nullable)
            if absent and child.has_default:
                value[name] = _copy(child.default)
            if name in value:
                default(value[name], child)
        if schema.additional is not None:
            for name, item in value.items():
                if name not in schema.properties:
                    if item is None and not schema.additional.nullable and schema.additional.has_default:
                        value[name] = item = _copy(schema.additional.default)
                    default(item, schema.additional)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            default(item, schema.items)


def _copy(value: Any) -> Any:
    return codec.decode_json(codec.encode_json(value)) if isinstance(value, (dict, list)) else value


# -- validation --


def validate(
    obj: Mapping[str, Any], schema: Schema, *, root: bool = True, path: str = ""
) -> list[FieldError]:
    """Every way in which an object breaks its schema. ``root``: apiVersion, kind and metadata are not looked into."""
    errors: list[FieldError] = []
    _Validator(errors).value(obj, schema, path, root=root)
    return errors


class _Validator:
    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors

    def value(self, value: Any, schema: Schema, path: str, *, root: bool = False) -> None:
        if value is None:
            if not schema.nullable and schema.type:
                self.errors.append(_type_error(path, value, schema))
            return
        if not self._typed(value, schema, path):
            return
        document = schema.document
        if "enum" in document and value not in document["enum"]:
            self.errors.append(not_supported(path, value, [_shown(v) for v in document["enum"]]))
        if isinstance(value, dict):
            self._object(value, schema, path, root)
        elif isinstance(value, list):
            self._list(value, schema, path)
        elif isinstance(value, str):
            self._string(value, document, path)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            self._number(value, document, path)
        self._junctors(value, schema, path)

    def _typed(self, value: Any, schema: Schema, path: str) -> bool:
        if schema.int_or_string:
            fits = isinstance(value, (int, str)) and not isinstance(value, bool)
        else:
            fits = _fits(value, schema.type)
        if not fits:
            self.errors.append(_type_error(path, value, schema))
        return fits

    def _object(self, value: dict[str, Any], schema: Schema, path: str, root: bool) -> None:
        for name in sorted(schema.required):
            if name not in value:
                self.errors.append(required(_below(path, name)))
        properties = schema.properties
        for name, item in value.items():
            if (root or schema.embedded_resource) and name in _SKIPPED_AT_ROOT:
                continue
            child = properties.get(name)
            if child is not None:
                if item is None and not child.nullable and name not in schema.required:
                    # A null for an optional field is an absence to every decoder.
                    self.value(item, child, _below(path, name))
                    continue
                self.value(item, child, _below(path, name))
            elif schema.additional is not None:
                self.value(item, schema.additional, _below(path, name))
        self._count(value, schema.document, path, "Properties", "properties")

    def _list(self, value: list[Any], schema: Schema, path: str) -> None:
        if schema.items is not None:
            for index, item in enumerate(value):
                self.value(item, schema.items, f"{path}[{index}]")
        document = schema.document
        if "maxItems" in document and len(value) > document["maxItems"]:
            self.errors.append(too_many(path, len(value), document["maxItems"]))
        if "minItems" in document and len(value) < document["minItems"]:
            self.errors.append(
                invalid(path, len(value), f"{path} in body should have at least {document['minItems']} items")
            )
        if schema.list_type == "set" or document.get("uniqueItems"):
            self._distinct(value, path, lambda item: item)
        elif schema.list_type == "map":
            defaults = {
                key: schema.items.properties[key].default
                for key in schema.list_keys
                if schema.items is not None and key in schema.items.properties
            }
            self._distinct(
                value, path,
                lambda item: {key: item.get(key, defaults.get(key)) for key in schema.list_keys},
            )  # fmt: skip

    def _distinct(self, value: list[Any], path: str, key: Callable[[Any], Any]) -> None:
        seen: set[bytes] = set()
        for index, item in enumerate(value):
            try:
                shown = key(item)
            except AttributeError:
                continue
            encoded = codec.encode_json(shown)
            if encoded in seen:
                self.errors.append(duplicate(f"{path}[{index}]", shown))
            seen.add(encoded)

    def _string(self, value: str, document: Mapping[str, Any], path: str) -> None:
        if "maxLength" in document and len(value) > document["maxLength"]:
            self.errors.append(
                FieldError(
                    "FieldValueTooLong", path, f"Too long: may not be more than {document['maxLength']} bytes"
                )
            )
        if "minLength" in document and len(value) < document["minLength"]:
            self._invalid(path, value, f"should be at least {document['minLength']} chars long")
        pattern = document.get("pattern")
        if pattern and not _matches(pattern, value):
            self._invalid(path, value, f"should match '{pattern}'")
        check = FORMATS.get(document.get("format") or "")
        if check is not None and not check(value):
            self._invalid(path, value, f'must be of type {document["format"]}: "{value}"')

    def _number(self, value: float, document: Mapping[str, Any], path: str) -> None:
        low, high = document.get("minimum"), document.get("maximum")
        if low is not None and (value < low or (document.get("exclusiveMinimum") and value == low)):
            word = "greater than" if document.get("exclusiveMinimum") else "greater than or equal to"
            self._invalid(path, value, f"should be {word} {_number(low)}")
        if high is not None and (value > high or (document.get("exclusiveMaximum") and value == high)):
            word = "less than" if document.get("exclusiveMaximum") else "less than or equal to"
            self._invalid(path, value, f"should be {word} {_number(high)}")
        step = document.get("multipleOf")
        if step and not math.isclose(value / step, round(value / step), rel_tol=0, abs_tol=1e-9):
            self._invalid(path, value, f"should be a multiple of {_number(step)}")

    def _count(
        self, value: Mapping[str, Any], document: Mapping[str, Any], path: str, key: str, word: str
    ) -> None:
        low, high = document.get(f"min{key}"), document.get(f"max{key}")
        if high is not None and len(value) > high:
            self.errors.append(too_many(path, len(value), high))
        if low is not None and len(value) < low:
            self._invalid(path, len(value), f"should have at least {low} {word}")

    def _junctors(self, value: Any, schema: Schema, path: str) -> None:
        document = schema.document
        for part in document.get("allOf") or ():
            self.value(value, _typeless(schema, part), path)
        any_of = document.get("anyOf")
        if (
            any_of
            and not schema.int_or_string
            and not any(self._holds(value, schema, p, path) for p in any_of)
        ):
            self._invalid(path, "", "must validate at least one schema (anyOf)")
        one_of = document.get("oneOf")
        if one_of:
            holding = sum(self._holds(value, schema, part, path) for part in one_of)
            if holding != 1:
                found = "Found none valid" if not holding else f"Found {holding} valid alternatives"
                self._invalid(path, "", f"must validate one and only one schema (oneOf). {found}")
        negated = document.get("not")
        if negated is not None and self._holds(value, schema, negated, path):
            self._invalid(path, "", "must not validate the schema (not)")

    def _holds(self, value: Any, schema: Schema, part: Mapping[str, Any], path: str) -> bool:
        errors: list[FieldError] = []
        _Validator(errors).value(value, _typeless(schema, part), path)
        return not errors

    def _invalid(self, path: str, value: Any, why: str) -> None:
        where = path or "<nil>"
        self.errors.append(invalid(where, value, f"{path} in body {why}" if path else f"in body {why}"))


def _typeless(schema: Schema, part: Mapping[str, Any]) -> Schema:
    """A part of a junctor: value rules without a type of their own, for the same kind of value."""
    known: dict[int, Schema] = schema.__dict__.setdefault("_parts", {})
    found = known.get(id(part))
    if found is None:
        found = known[id(part)] = Schema({"nullable": True, **part}, schema.definitions)
    return found


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "":
            return True
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            if isinstance(value, float):
                return value.is_integer()
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return False


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    for kind in ("boolean", "integer", "number", "string", "array"):
        if _fits(value, kind):
            return kind
    return "object"


def _type_error(path: str, value: Any, schema: Schema) -> FieldError:
    wanted = "integer,string" if schema.int_or_string else schema.type
    name = _type_name(value)
    return type_invalid(path or "<nil>", name, f'{path} in body must be of type {wanted}: "{name}"')


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else codec.encode_json(value).decode()


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


# -- patterns and formats --


def _matches(pattern: str, value: str) -> bool:
    """A pattern that is none (an older release let it in) refuses nothing."""
    try:
        return regexp.compiled(pattern).search(value) is not None
    except ValueError:
        return True


def _date_time(text: str) -> bool:
    try:
        objects.parse_time(text)
    except ValueError:
        return False
    return True


def _date(text: str) -> bool:
    return _date_time(f"{text}T00:00:00Z")


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def _cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _base64(text: str) -> bool:
    return len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) is not None


def _uri(text: str) -> bool:
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|/", text) is not None and not re.search(r"\s", text)


_HOST = re.compile(
    r"(?=.{1,253}\Z)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\Z"
)
_DURATION = re.compile(
    r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)(\d+(\.\d*)?(ns|us|µs|μs|ms|s|m|h|d|w))*\Z|0\Z"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\Z")
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z")

FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "datetime": _date_time,
    "date": _date,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "byte": _base64,
    "uri": _uri,
    "hostname": lambda text: _HOST.match(text) is not None,
    "duration": lambda text: _DURATION.match(text) is not None,
    "uuid": lambda text: _UUID.match(text) is not None,
    "email": lambda text: _EMAIL.match(text) is not None,
    "mac": lambda text: _MAC.match(text) is not None,
}
"""The formats of strings that are checked; unknown ones say nothing, as upstream."""
