"""How values merge, compiled from a schema: what is one field, what has fields, which lists have keys.

A shape is made once per schema node and kept on it, so that comparing two objects of a kind costs little more than
looking at what differs. Source: structured-merge-diff's typed package.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from sublet.machinery.fieldsets import LEAF, Fields
from sublet.machinery.schema import Schema

ATOMIC, STRUCT, MAP, KEYED, SET, DEDUCED = "atomic", "struct", "map", "keyed", "set", "deduced"
"""Scalars are atomic too. DEDUCED: no schema, so maps have fields and everything else is atomic."""

_KEPT = "_shape"


class Shape:
    """One node. ``labels`` caches field name -> (path element, shape of the value)."""

    __slots__ = (
        "declared",
        "defaults",
        "element",
        "keys",
        "kind",
        "labels",
        "nullable",
        "single_key",
        "whole",
    )

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.declared: Mapping[str, Schema] = {}
        self.labels: dict[str, tuple[str, Shape]] = {}
        self.element: Schema | None = None
        """Values of maps without a declared field; items of keyed lists."""
        self.keys: tuple[str, ...] = ()
        self.single_key = ""
        self.defaults: Mapping[str, Any] = {}
        self.nullable = False
        self.whole = False
        """An atomic list or map: nobody owns a part of it."""

    def field(self, name: str) -> tuple[str, Shape]:
        """The path element and shape of a field of a struct or map, declared or not."""
        found = self.labels.get(name)
        if found is not None:
            return found
        schema = self.declared.get(name)
        if schema is not None:
            found = self.labels[name] = (f"f:{name}", shape_of(schema))
            return found
        # Keys of maps are the users': they are not kept.
        return f"f:{name}", shape_of(self.element)

    def items(self) -> Shape:
        return shape_of(self.element)

    def knows(self, name: str) -> bool:
        """Whether a field may be there at all."""
        return self.kind != STRUCT or name in self.declared

    def elements(self, values: list[Any]) -> dict[str, Any]:
        """Path element -> item of a keyed list or set, in order; the last of equal ones counts."""
        return dict(self.pairs(values))

    def pairs(self, values: list[Any]) -> list[tuple[str, Any]]:
        """(path element, item) for each item of a keyed list or set; other writes than applies may repeat some."""
        if self.kind == SET:
            return [
                ("v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False), value)
                for value in values
            ]
        return [(self.element_of(item, index), item) for index, item in enumerate(values)]

    def element_of(self, item: Any, index: int) -> str:
        """``k:{"name":"a"}``; ``i:N`` for an item that lacks a key."""
        if not isinstance(item, dict):
            return f"i:{index}"
        if self.single_key:
            value = item.get(self.single_key)
            if type(value) is str and value.isascii() and '"' not in value and "\\" not in value:
                return f'k:{{"{self.single_key}":"{value}"}}'
        found = {}
        for key in self.keys:
            value = item.get(key)
            if value is None:
                value = self.defaults.get(key)
            if value is None:
                return f"i:{index}"
            found[key] = value
        return "k:" + json.dumps(found, separators=(",", ":"), ensure_ascii=False)


_ATOMIC = Shape(ATOMIC)
_DEDUCED = Shape(DEDUCED)


def shape_of(schema: Schema | None) -> Shape:
    """The shape of a schema node; of None: deduced from the values."""
    if schema is None:
        return _DEDUCED
    kept: Shape | None = schema.__dict__.get(_KEPT)
    if kept is None:
        kept = schema.__dict__[_KEPT] = _compile(schema)
    return kept


def _compile(schema: Schema) -> Shape:
    if schema.int_or_string or schema.type in ("string", "integer", "number", "boolean"):
        return _nullable(schema, ATOMIC)
    if schema.type == "array" or schema.items is not None:
        return _compile_list(schema)
    properties, additional = schema.properties, schema.additional
    if schema.map_type == "atomic":
        return _whole(schema)
    if schema.embedded_resource or schema.preserve_unknown:
        shape = _nullable(schema, MAP if properties else DEDUCED)
        shape.declared = properties
        return shape
    if additional is not None:
        shape = _nullable(schema, MAP)
        shape.declared, shape.element = properties, additional
        return shape
    if properties:
        shape = _nullable(schema, STRUCT)
        shape.declared = properties
        return shape
    # An object of which nothing is said (RawExtension) is one field; so is a value of any type in a custom resource.
    return _nullable(schema, ATOMIC if schema.type == "object" else DEDUCED)


def _compile_list(schema: Schema) -> Shape:
    items = schema.items
    if schema.list_type == "set":
        return _nullable(schema, SET)
    if schema.list_type != "map" or not schema.list_keys or items is None:
        return _whole(schema)
    shape = _nullable(schema, KEYED)
    shape.element = items
    shape.keys = tuple(sorted(schema.list_keys))
    shape.single_key = shape.keys[0] if len(shape.keys) == 1 else ""
    shape.defaults = {
        key: child.default
        for key in shape.keys
        if (child := items.properties.get(key)) is not None and child.has_default
    } | ({"protocol": "TCP"} if "protocol" in shape.keys else {})
    return shape


def _whole(schema: Schema) -> Shape:
    shape = _nullable(schema, ATOMIC)
    shape.whole = True
    return shape


def _nullable(schema: Schema, kind: str) -> Shape:
    shape = Shape(kind)
    shape.nullable = schema.nullable
    return shape


# -- comparing --


def kind_for(shape: Shape, value: Any) -> str:
    """How this very value is treated: a deduced map has fields, and a value of another type than declared is one."""
    kind = shape.kind
    if kind == DEDUCED:
        return MAP if isinstance(value, dict) else ATOMIC
    if kind in (STRUCT, MAP):
        return kind if isinstance(value, dict) else ATOMIC
    if kind in (KEYED, SET):
        return kind if isinstance(value, list) else ATOMIC
    return ATOMIC


def compare(shape: Shape, old: Any, new: Any, changed: Fields, removed: Fields) -> None:
    """Adds to ``changed`` what was added or modified below two values that differ, to ``removed`` what is gone."""
    if kind_for(shape, new) in (KEYED, SET):
        before, after = shape.elements(old), shape.elements(new)
        item = shape.items() if shape.kind == KEYED else _ATOMIC
        if len(before) != len(old) or len(after) != len(new):
            before, after = _compare_repeated(shape, old, new, changed, removed)
        for element, value in after.items():
            if element not in before:
                changed[element] = everything(item, value)
            elif before[element] != value:
                _descend(item, element, before[element], value, changed, removed)
        for element, value in before.items():
            if element not in after:
                removed[element] = everything(item, value)
        return
    for name, value in new.items():
        if name not in old:
            element, child = shape.field(name)
            changed[element] = everything(child, value)
        elif old[name] != value:
            element, child = shape.field(name)
            _descend(child, element, old[name], value, changed, removed)
    for name, value in old.items():
        if name not in new:
            element, child = shape.field(name)
            removed[element] = everything(child, value)


def _compare_repeated(
    shape: Shape, old: list[Any], new: list[Any], changed: Fields, removed: Fields
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compares what either list repeats: equal elements are one field. Returns the elements that are left to compare."""
    before, after = _grouped(shape, old), _grouped(shape, new)
    for element in [*before, *(element for element in after if element not in before)]:
        one, other = before.get(element, []), after.get(element, [])
        if len(one) < 2 and len(other) < 2:
            continue
        if len(one) > 1:
            if len(other) < 2:
                removed[element] = LEAF
            elif one != other:
                changed[element] = LEAF
        else:
            changed[element] = LEAF
        before[element], after[element] = (
            (one, []) if len(one) == 1 else ([], other if len(other) == 1 else [])
        )
    return _single(before), _single(after)


def _grouped(shape: Shape, values: list[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for element, value in shape.pairs(values):
        groups.setdefault(element, []).append(value)
    return groups


def repeated_in(shape: Shape, values: list[Any]) -> set[str]:
    """The elements that more than one item of a keyed list or set has."""
    return {element for element, items in _grouped(shape, values).items() if len(items) > 1}


def _single(groups: dict[str, list[Any]]) -> dict[str, Any]:
    return {element: items[0] for element, items in groups.items() if items}


def _descend(shape: Shape, element: str, old: Any, new: Any, changed: Fields, removed: Fields) -> None:
    kind = kind_for(shape, new)
    if kind == ATOMIC or kind_for(shape, old) != kind or (not old and not new):
        if kind_for(shape, old) != ATOMIC and old:
            removed[element] = everything(shape, old)
        changed[element] = everything(shape, new) if kind != ATOMIC and new else LEAF
        return
    below_changed: Fields = {}
    below_removed: Fields = {}
    compare(shape, old, new, below_changed, below_removed)
    if below_changed:
        changed[element] = below_changed
    if below_removed:
        removed[element] = below_removed


def everything(shape: Shape, value: Any) -> Fields:
    """The set, as a node, of a value that was not there before: itself and all it has."""
    kind = kind_for(shape, value)
    if kind == ATOMIC or not value:
        return LEAF
    if kind == KEYED:
        item = shape.items()
        found = shape.elements(value)
        repeated: Container[str] = () if len(found) == len(value) else repeated_in(shape, value)
        return {".": LEAF} | {
            key: LEAF if key in repeated else everything(item, child) for key, child in found.items()
        }
    if kind == SET:
        return {".": LEAF} | dict.fromkeys(shape.elements(value), LEAF)
    node: Fields = {".": LEAF}
    labels = shape.labels
    for name, child in value.items():
        element, below = labels.get(name) or shape.field(name)
        node[element] = everything(below, child)
    return node


def reconciled(shape: Shape, fields: Fields) -> Fields:
    """A set made before the schema was changed: whoever owned parts of what is atomic now owns all of it.

    What was atomic and has fields now stays as it is. Source: structured-merge-diff's typed/reconcile_schema.go.
    """
    result: Fields | None = None
    for element, child in fields.items():
        if not child:
            continue
        if element.startswith("f:"):
            below = shape.field(element[2:])[1]
        elif shape.kind == KEYED:
            below = shape.items()
        else:
            continue
        renewed = LEAF if below.whole else reconciled(below, child)
        if renewed is not child:
            result = result or dict(fields)
            result[element] = renewed
    return fields if result is None else result


def owned(shape: Shape, value: Any) -> Fields:
    """The set, as a whole, of what an applied configuration owns: its leaves, and the items of keyed lists."""
    kind = kind_for(shape, value)
    node: Fields = {}
    if kind in (STRUCT, MAP):
        for name, child in value.items():
            element, below = shape.field(name)
            sort = kind_for(below, child)
            if sort == ATOMIC or (not child and sort in (STRUCT, MAP)):
                node[element] = LEAF
                continue
            inner = owned(below, child)
            if name not in shape.declared:
                node[element] = {".": LEAF} | inner if inner else LEAF
            elif inner:
                node[element] = inner
    elif kind == KEYED:
        item = shape.items()
        for element, child in shape.elements(value).items():
            inner = owned(item, child) if isinstance(child, dict) else {}
            node[element] = {".": LEAF} | inner if inner else LEAF
    elif kind == SET:
        node = dict.fromkeys(shape.elements(value), LEAF)
    return node
