"""How rules see the values of a structural schema: types, sizes, and JSON turned into the language's own values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sublet.machinery.cel import types, values
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.schematypes import escape
from sublet.machinery.cel.types import BOOL, DURATION, DYN, INT, STRING, TIMESTAMP, UNBOUNDED, Field, Type

Adapt = Callable[[Any], Any]
Document = Mapping[str, Any]

_FORMAT_SIZES = {"date": 12, "date-time": 32, "datetime": 32, "duration": 32, "byte": UNBOUNDED - 2}
_ROOT: Mapping[str, Document] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
    },
}
"""What every resource has and rules may look at."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a part of a schema."""

    type: Type
    adapt: Adapt | None
    """From JSON to the language's value; None: it is the same."""
    least: int
    """Bytes that a value takes at least."""

    @property
    def most(self) -> float:
        """How many of them a request can hold."""
        return UNBOUNDED / (self.least + 1)


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
            return Shape(DYN, None, 1)
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
        return _object(document, path, shapes)


def _double(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


_SCALARS: Mapping[str, Shape] = {
    "boolean": Shape(BOOL, None, 4), "integer": Shape(INT, None, 1), "number": Shape(types.DOUBLE, _double, 1),
}  # fmt: skip


def _string(document: Document) -> Shape:
    format_ = document.get("format") or ""
    if format_ in ("date", "date-time", "datetime"):
        return Shape(TIMESTAMP, _date if format_ == "date" else _parsed(values.timestamp), 12)
    if format_ == "duration":
        return Shape(DURATION, _parsed(values.duration), 2)
    if format_ == "byte":
        return Shape(types.sized("bytes", int(document.get("maxLength") or UNBOUNDED)), _bytes, 2)
    if document.get("enum"):
        longest = max(len(str(each)) for each in document["enum"])
        return Shape(types.sized("string", longest), None, 2)
    most = document.get("maxLength")
    return Shape(
        STRING if most is None else types.sized("string", int(most)),
        None,
        2 + int(document.get("minLength") or 0),
    )


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
    most = int(stated) if stated is not None else UNBOUNDED // (inner.least + 1)
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
    least = 2 + int(document.get("minItems") or 0) * inner.least
    return Shape(types.list_of(inner.type, most, list_type, keys), None if plain else adapt, least)


def _map(document: Document, inner: Shape) -> Shape:
    stated = document.get("maxProperties")
    most = int(stated) if stated is not None else UNBOUNDED // (inner.least + 6)
    item = inner.adapt

    def adapt(value: Any) -> Any:
        if item is None or not isinstance(value, dict):
            return value
        return {key: item(each) for key, each in value.items()}

    return Shape(types.map_of(STRING, inner.type, most), None if item is None else adapt, 2)


def _object(document: Document, path: str, shapes: Mapping[str, Shape]) -> Shape:
    fields = {escaped: Field(found.type, name) for name, found in shapes.items() if (escaped := escape(name))}
    adapts = {name: found.adapt for name, found in shapes.items() if found.adapt is not None}
    needed = document.get("required") or ()
    least = 2 + sum(len(name) + 4 + found.least for name, found in shapes.items() if name in needed)

    def adapt(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        changed = {name: convert(value[name]) for name, convert in adapts.items() if name in value}
        return {**value, **changed} if changed else value

    return Shape(types.object_type(f"object{path}", lambda: fields), adapt if adapts else None, least)
