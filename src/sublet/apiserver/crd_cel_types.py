"""How rules see the values of a structural schema: types, sizes, and JSON turned into the language's own values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct

from sublet.machinery.cel import types, values
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.schematypes import escape
from sublet.machinery.cel.types import BOOL, INT, STRING, UNBOUNDED, Field, Type

Adapt = Callable[[Any], Any]
Document = Mapping[str, Any]

_LONGEST = UNBOUNDED - 2
"""Characters of a string that nothing bounds: a request less its quotes."""
_DAY, _MOMENT, _SPAN = types.sized("timestamp", 12), types.sized("timestamp", 32), types.sized("duration", 32)
_ROOT: Mapping[str, Document] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
    },
}
"""What every resource has and rules may look at."""


class Shape(Struct, frozen=True):
    """The type of a part of a schema."""

    type: Type
    adapt: Adapt | None
    """From JSON to the language's value; None: it is the same."""
    least: int
    """Bytes that a value takes at least."""

    @property
    def most(self) -> int:
        """How many of them a request can hold."""
        return UNBOUNDED // (self.least + 1)


class Shapes:
    """The types of one schema's parts, each made once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Document, Shape | None]] = {}

    def of(self, document: Document, path: str, *, root: bool = False) -> Shape | None:
        """The type of a part; None where the schema does not say enough for rules to look at it.

        ``path`` names object types, which differ even where they look alike.
        """
        known = self._known.get(id(document))
        if known is None:
            # Kept beside its document: an id is only unique while the object lives.
            known = self._known[id(document)] = document, self._made(document, path, root)
        return known[1]

    def _made(self, document: Document, path: str, root: bool) -> Shape | None:
        if document.get("x-kubernetes-int-or-string"):
            return Shape(types.sized("dyn", _characters(document)), None, 1)
        match document.get("type") or "":
            case "array":
                items = document.get("items")
                inner = self.of(items, f"{path}.items") if isinstance(items, dict) else None
                return None if inner is None else _list(document, inner)
            case "object":
                additional = document.get("additionalProperties")
                if isinstance(additional, dict):
                    inner = self.of(additional, f"{path}.additionalProperties")
                    return None if inner is None else _map(document, inner)
                root = root or bool(document.get("x-kubernetes-embedded-resource"))
                return self._object(document, path, root)
            case "string":
                return _string(document)
            case kind:
                return _SCALARS.get(kind)

    def _object(self, document: Document, path: str, root: bool) -> Shape:
        properties: dict[str, Document] = dict(document.get("properties") or {})
        if root:
            properties |= _ROOT
        shapes = {
            name: found
            for name, child in properties.items()
            if isinstance(child, dict) and (found := self.of(child, f"{path}.{name}")) is not None
        }
        needed = {
            n for n in document.get("required") or () if (properties.get(n) or {}).get("default") is None
        }
        return _object(path, shapes, needed)


def _double(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


_SCALARS: Mapping[str, Shape] = {
    "boolean": Shape(BOOL, None, 4), "integer": Shape(INT, None, 1), "number": Shape(types.DOUBLE, _double, 1),
}  # fmt: skip


def _string(document: Document) -> Shape:
    format_ = document.get("format") or ""
    if format_ == "date":
        return Shape(_DAY, _date, 12)
    if format_ == "date-time":
        return Shape(_MOMENT, _parsed(values.timestamp), 21)
    if format_ == "duration":
        return Shape(_SPAN, _parsed(values.duration), 3)
    if format_ == "byte":
        most = document.get("maxLength")
        return Shape(types.sized("bytes", _LONGEST if most is None else int(most)), _bytes, 2)
    return Shape(types.sized("string", _characters(document)), None, 2)


def _characters(document: Document) -> int:
    """The longest text: four bytes for a character where the schema bounds it."""
    most, stated = document.get("maxLength"), document.get("enum")
    if most is not None:
        return max(int(most), 0) * 4
    if stated and not document.get("x-kubernetes-int-or-string"):
        return max(len(each.encode()) if isinstance(each, str) else 0 for each in stated)
    return _LONGEST


def _parsed(parse: Callable[[str], Any]) -> Adapt:
    def adapt(value: Any) -> Any:
        try:
            return parse(value) if isinstance(value, str) else value
        except EvaluationError:
            return value  # the schema has complained of it already

    return adapt


def _date(value: Any) -> Any:
    return _parsed(values.timestamp)(f"{value}T00:00:00Z") if isinstance(value, str) else value


def _bytes(value: Any) -> Any:
    import base64
    import binascii

    try:
        return base64.b64decode(value) if isinstance(value, str) else value
    except binascii.Error:
        return value


def _list(document: Document, inner: Shape) -> Shape:
    stated = document.get("maxItems")
    most = max(int(stated), 0) if stated is not None else _LONGEST // (inner.least + 1)
    list_type = str(document.get("x-kubernetes-list-type") or "")
    keys = tuple(document.get("x-kubernetes-list-map-keys") or ())
    item = inner.adapt

    def adapt(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = value if item is None else [item(each) for each in value]
        if list_type == "set":
            return values.SetList(items)
        return values.MapList(items, keys) if list_type == "map" else items

    plain = item is None and list_type not in ("set", "map")
    return Shape(types.list_of(inner.type, most, list_type, keys), None if plain else adapt, 2)


def _map(document: Document, inner: Shape) -> Shape:
    stated = document.get("maxProperties")
    most = max(int(stated), 0) if stated is not None else _LONGEST // (inner.least + 6)
    item = inner.adapt

    def adapt(value: Any) -> Any:
        if item is None or not isinstance(value, dict):
            return value
        return {key: item(each) for key, each in value.items()}

    return Shape(types.map_of(STRING, inner.type, most), None if item is None else adapt, 2)


def _object(path: str, shapes: Mapping[str, Shape], needed: Collection[str]) -> Shape:
    fields = {escaped: Field(found.type, name) for name, found in shapes.items() if (escaped := escape(name))}
    adapts = {name: found.adapt for name, found in shapes.items() if found.adapt is not None}
    least = 2 + sum(len(name) + 4 + found.least for name, found in shapes.items() if name in needed)

    def adapt(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        changed = {name: convert(value[name]) for name, convert in adapts.items() if name in value}
        return {**value, **changed} if changed else value

    return Shape(
        types.object_type(f"object{path}", lambda: fields, null_is_absent=True),
        adapt if adapts else None,
        least,
    )
