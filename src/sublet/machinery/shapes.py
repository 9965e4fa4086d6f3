"""How values merge, compiled from a schema: what is one field, what has fields, which lists have keys.

A shape is made once per schema node and kept on it, so that comparing two objects of a kind costs little more than
looking at what differs. Source: structured-merge-diff's typed package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sublet.machinery.fieldsets import LEAF, Fields
from sublet.machinery.schema import Schema

ATOMIC, STRUCT, MAP, KEYED, SET, DEDUCED = "atomic", "struct", "map", "keyed", "set", "deduced"
"""Scalars are atomic too. DEDUCED: no schema, so maps have fields and everything else is atomic."""

_KEPT = "_shape"


class Shape:
    """One node. ``labels`` caches field name -> (path element, shape of the value)."""

    __slots__ = ("declared", "defaults", "element", "keys", "kind", "labels", "nullable", "single_key")

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
        if self.kind == SET:
            return {
                "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False): value for value in values
            }
        return {self.element_of(item, index): item for index, item in enumerate(values)}

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
        return _nullable(schema, ATOMIC)
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
        return _nullable(schema, ATOMIC)
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
        return {".": LEAF} | {key: everything(item, child) for key, child in shape.elements(value).items()}
    if kind == SET:
        return {".": LEAF} | dict.fromkeys(shape.elements(value), LEAF)
    node: Fields = {".": LEAF}
    labels = shape.labels
    for name, child in value.items():
        element, below = labels.get(name) or shape.field(name)
        node[element] = everything(below, child)
    return node


def owned(shape: Shape, value: Any) -> Fields:
    """The set, as a whole, of what an applied configuration owns: its leaves, and the items of keyed lists."""
    kind = kind_for(shape, value)
    node: Fields = {}
    if kind in (STRUCT, MAP):
        for name, child in value.items():
            element, below = shape.field(name)
            sort = kind_for(below, child)
            if sort == ATOMIC or not child:
                node[element] = LEAF
                continue
            inner = owned(below, child)
            if name not in shape.declared and shape.kind != DEDUCED and inner:
                inner = {".": LEAF} | inner
            if inner:
                node[element] = inner
    elif kind == KEYED:
        item = shape.items()
        for element, child in shape.elements(value).items():
            inner = owned(item, child) if isinstance(child, dict) else {}
            node[element] = {".": LEAF} | inner if inner else LEAF
    elif kind == SET:
        node = dict.fromkeys(shape.elements(value), LEAF)
    return node
