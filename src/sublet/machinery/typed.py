"""What is wrong with an applied configuration by the schema's types, in structured-merge-diff's words.

Source: structured-merge-diff's typed package (validate.go, helpers.go); reference B.9 and B.12.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sublet.machinery import fieldsets, gotext
from sublet.machinery.schema import Schema

_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_TYPE_META = ("apiVersion", "kind")


def problems(obj: Any, schema: Schema | None) -> list[str]:
    """``.spec.replicas: expected numeric (int or float), got string`` and the like, in the order of the document.

    Of the fields of one struct that the schema does not declare only the first is told of. Nulls are no values.
    """
    return [] if schema is None else list(_walk(obj, schema, "", whole=True))


def listed(found: list[str]) -> str:
    """Several problems as one text."""
    return found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])


def _walk(value: Any, schema: Schema, path: str, whole: bool = False) -> Iterator[str]:
    if value is None or schema.name == _QUANTITY or schema.int_or_string:
        return
    if schema.type == "array" or schema.items is not None:
        if not isinstance(value, list):
            yield _told(path, f"expected list, got &{{{gotext.shown(value)}}}")
        elif schema.items is not None:
            yield from _items(value, schema, schema.items, path)
    elif schema.properties or schema.additional is not None:
        if not isinstance(value, dict):
            yield _told(path, f"expected map, got &{{{gotext.shown(value)}}}")
        else:
            yield from _fields(value, schema, path, whole)
    elif wrong := _scalar(value, schema.type):
        yield _told(path, wrong)


def _fields(value: dict[str, Any], schema: Schema, path: str, whole: bool) -> Iterator[str]:
    properties, additional = schema.properties, schema.additional
    open_ = schema.preserve_unknown or schema.embedded_resource
    for name, child in value.items():
        if whole and name in _TYPE_META:
            continue
        below = properties.get(name, additional)
        if below is not None:
            yield from _walk(child, below, f"{path}.{name}")
        elif not open_:
            yield f"{path}.{name}: field not declared in schema"
            return


def _items(values: list[Any], schema: Schema, items: Schema, path: str) -> Iterator[str]:
    keys = tuple(sorted(schema.list_keys)) if schema.list_type == "map" else ()
    seen: set[str] = set()
    for index, item in enumerate(values):
        element = f"i:{index}"
        if keys or schema.list_type == "set":
            found = _element(item, keys, items)
            if isinstance(found, _Lacking):
                yield _told(path, f"element {index}: {found.why}")
                return
            element = found
            if element in seen:
                yield _told(path, f"duplicate entries for key {fieldsets.shown(element)}")
            seen.add(element)
        yield from _walk(item, items, path + fieldsets.shown(element))


class _Lacking:
    """Why an item of a list cannot be told from the others."""

    def __init__(self, why: str) -> None:
        self.why = why


def _element(item: Any, keys: tuple[str, ...], items: Schema) -> str | _Lacking:
    if not keys:
        for kind, what in ((dict, "a map"), (list, "a list")):
            if isinstance(item, kind):
                return _Lacking(f"associative list without keys has an element that's {what} type")
        if item is None:
            return _Lacking("associative list without keys has an element that's an explicit null")
        return "v:" + json.dumps(item, separators=(",", ":"), ensure_ascii=False)
    if not isinstance(item, dict):
        nothing = "a null element" if item is None else "non-map elements"
        return _Lacking(f"associative list with keys may not have {nothing}")
    found = {}
    for key in keys:
        value = item.get(key)
        if value is None:
            child = items.properties.get(key)
            default = "TCP" if key == "protocol" else None
            value = child.default if child is not None and child.has_default else default
        if value is None:
            return _Lacking(
                f'associative list with keys has an element that omits key field "{key}" (and doesn\'t have default value)'
            )
        found[key] = value
    return "k:" + json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _scalar(value: Any, kind: str) -> str:
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_literal(value)}}}"
    if kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return f"expected numeric (int or float), got {gotext.go_type(value)}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{gotext.shown(value)}}}"
    return ""


def _literal(value: Any) -> str:
    """A value printed with ``%#v``."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(key)}:{_literal(value[key])}" for key in sorted(value))
        return f"map[string]interface {{}}{{{pairs}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_literal, value))}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else gotext.shown(value)


def _told(path: str, why: str) -> str:
    return f"{path}: {why}" if path else why
