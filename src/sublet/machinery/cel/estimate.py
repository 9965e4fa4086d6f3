"""The most an expression can cost, from what schemas say of sizes: cel-go's static estimate, unit for unit.

Sizes come from the declared type that a part's path leads to. cel-go's estimator finds it from ``self``, whatever the
path starts with; so does this one: which definitions are accepted depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sublet.machinery.cel import syntax
from sublet.machinery.cel.evaluator import LIST_COST, MAP_COST, STRUCT_COST
from sublet.machinery.cel.functions import Function
from sublet.machinery.cel.loops import MADE_COST, TURN_COST
from sublet.machinery.cel.syntax import Node
from sublet.machinery.cel.types import STRING, UNBOUNDED, Type

MAX = 2**64 - 1
_SCALARS = frozenset({"bool", "int", "uint", "double", "timestamp", "duration"})
_TEXTS = frozenset({"string", "bytes"})
_SIZED = frozenset({"string", "bytes", "list", "map", "dyn", "timestamp", "duration"})
_KEYS = Type("string", max_size=0)
"""Keys of maps count as if they had no size."""
_KEPT = frozenset({"lowerAscii", "upperAscii", "substring", "trim", "split", "find", "findAll", "url"})
"""Their result is no longer than their first argument."""
_COMPARED = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_FLAT = frozenset({"optional.unwrap", "unwrapOpt"})
"""Cost 1 in estimates, whatever the sizes."""
_FORMAT, _URL = "kubernetes.NamedFormat", "kubernetes.URL"
_LARGEST_FORMAT = 64
_SEARCHED = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"})

Path = tuple[str, ...]


@dataclass(slots=True)
class Found:
    """What is known of a part."""

    cost: int
    size: int = MAX
    path: Path = ()
    least: int = 0
    """Of the size; only of interest for literals."""
    items: int | None = None
    """Size of an item, of lists made by the expression."""


@dataclass(slots=True)
class _Local:
    path: Path
    size: int | None


class Estimator:
    """Walks checked syntax; ``root`` is the type of ``self``, or of ``device``."""

    def __init__(self, functions: Mapping[str, Function], root: Type | None) -> None:
        self._functions = functions
        self._root = root
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> int:
        """Cost units at most."""
        return min(self._walk(node).cost, MAX)

    # -- sizes --

    def _declared(self, path: Path) -> Type | None:
        """The type that the path leads to."""
        found = self._root if path else None
        for name in path[1:]:
            if found is None:
                return None
            found = _below(found, name)
        return found

    def _size(self, kind: Type, path: Path, otherwise: int | None = None) -> int:
        declared = self._declared(path)
        if declared is not None:
            return declared.max_size if declared.name in _SIZED else 0
        if _scalar(kind):
            return 1
        return MAX if otherwise is None else otherwise

    # -- parts --

    def _walk(self, node: Node) -> Found:
        match node:
            case syntax.Literal():
                size = len(node.value) if isinstance(node.value, (str, bytes)) else 1
                return Found(0, size, least=size)
            case syntax.Ident():
                stack = self._locals.get(node.name)
                local = stack[-1] if stack else _Local((node.name,), None)
                return Found(1, self._size(node.type, local.path, local.size), local.path)
            case syntax.Select():
                return self._select(node)
            case syntax.Call():
                return self._call(node)
            case syntax.Conditional():
                yes, no = self._walk(node.yes), self._walk(node.no)
                cost = self._walk(node.condition).cost + max(yes.cost, no.cost)
                items = None if yes.items is None or no.items is None else max(yes.items, no.items)
                return Found(cost, max(yes.size, no.size), least=min(yes.least, no.least), items=items)
            case syntax.Comprehension():
                return self._loop(node)
            case syntax.Bind():
                return self._bind(node)
            case syntax.ListOf():
                parts = [self._walk(item) for item in node.items]
                size = len(parts)
                items = max((part.size for part in parts), default=0)
                return Found(LIST_COST + sum(part.cost for part in parts), size, least=size, items=items)
        own = {syntax.MapOf: MAP_COST, syntax.Construct: STRUCT_COST}.get(type(node), 0)
        size = len(node.entries) if isinstance(node, syntax.MapOf) else self._size(node.type, ())
        return Found(own + sum(self._walk(child).cost for child in node.children()), size)

    def _select(self, node: syntax.Select) -> Found:
        if node.qualified:  # it counts as one name
            return Found(1, self._size(node.type, (node.qualified,)), (node.qualified,))
        operand = self._walk(node.operand)
        if node.test:
            return Found(operand.cost, 1)
        if node.optional:
            return Found(operand.cost + 1, self._size(node.type, ()))
        path = (*operand.path, node.name)
        paid = node.operand.type.kind in ("object", "map")
        return Found(operand.cost + paid, self._size(node.type, path), path)

    def _bind(self, node: syntax.Bind) -> Found:
        """``v.hasValue() ? optional.of(cel.bind(name, v.value(), body)) : optional.none()``."""
        value = self._walk(node.value)
        if not node.optional:
            self._push(node.name, _Local(value.path, value.size))
            body = self._walk(node.body)
            self._locals[node.name].pop()
            return Found(LIST_COST + value.cost + body.cost, body.size, body.path, body.least, body.items)
        inner = node.value.type.parameters[0] if node.value.type.parameters else node.value.type
        with_value = value.cost + 1
        self._push(node.name, _Local((), 1 if _scalar(inner) else None))
        body = self._walk(node.body)
        self._locals[node.name].pop()
        some = LIST_COST + with_value + body.cost + (node.optional == "optMap")
        return Found(with_value + max(some, 1), self._size(node.type, ()))

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _loop(self, node: syntax.Comprehension) -> Found:
        over = self._walk(node.operand)
        ends = ("@indices", "@items") if node.operand.type.kind == "list" else ("@keys", "@values")
        if node.second:
            names = {node.first: ends[0], node.second: ends[1]}
        else:
            names = {node.first: ends[0] if ends[0] == "@keys" else ends[1]}
        for name, end in names.items():
            self._push(name, _Local((*over.path, end), over.items if end == "@items" else None))
        body = self._walk(node.body)
        item = self._walk(syntax.Ident(node.offset, node.first)).size if node.kind == "filter" else body.size
        turn = TURN_COST[node.kind] + body.cost
        if node.filter is not None:
            turn += self._walk(node.filter).cost
        for name in names:
            self._locals[name].pop()
        cost = min(over.cost + MADE_COST[node.kind] + over.size * turn, MAX)
        if node.kind in ("all", "exists", "existsOne"):
            return Found(cost, 1)
        return Found(cost, over.size, items=item)

    # -- calls --

    def _call(self, node: syntax.Call) -> Found:
        nodes = node.all()
        parts = [self._walk(argument) for argument in nodes]
        own, size, path = self._own(node, nodes, parts)
        cost = min(sum(part.cost for part in parts) + own, MAX)
        if size is None:
            size = self._size(node.type, path)
        items = None
        if node.function == "_+_" and None not in (parts[0].items, parts[1].items):
            items = max(part.items or 0 for part in parts)
        elif node.function == "dyn":
            items = parts[0].items
        return Found(cost, min(size, MAX), path, items=items)

    def _own(self, node: syntax.Call, nodes: list[Node], parts: list[Found]) -> tuple[int, int | None, Path]:
        """(cost without that of the arguments, size of the result where it is not that of its type, path)."""
        name, kinds, sizes = node.function, {each.type.name for each in nodes}, [part.size for part in parts]
        if name == "_[_]":
            kind = nodes[0].type.kind
            if kind == "list":
                return 1, parts[0].items, (*parts[0].path, "@items")
            return (1, None, (*parts[0].path, "@values")) if kind == "map" else (1, None, ())
        if name in _COMPARED:
            return (max(self._known(name, sizes), 1) if "dyn" in kinds else
                    self._known(name, sizes) if kinds & _TEXTS else 1), None, ()  # fmt: skip
        if name == "_+_":
            if kinds & {"list", "dyn", *_TEXTS}:
                cost = self._known(name, sizes) if kinds & _TEXTS else 1
                return (max(self._known(name, sizes), 1) if "dyn" in kinds else cost), sum(sizes), ()
            return 1, None, ()
        if name == "@in":
            return (1 if nodes[1].type.kind == "map" else self._known(name, sizes)), None, ()
        if name in _FLAT or (name == "ip" and node.target is not None):
            return 1, None, ()
        if name == "_==_" and nodes[0].type == nodes[1].type and nodes[0].type.kind == "opaque":
            return self._equal(nodes[0].type, sizes[1]), None, ()
        if name == "dyn":
            return 1, sizes[0], ()
        if name in _SEARCHED:
            return self._searched(nodes[0].type, parts[0]), None, ()
        if name == "join":
            return self._joined(nodes[0].type, parts)
        if name == "replace" and len(parts) > 2:
            return _factor(sizes[0], 0.2), _replaced(parts), ()
        if name == "bytes" and "string" in kinds:
            return _factor(sizes[0], 0.1), sizes[0] * 4, ()
        if name == "string":
            return (_factor(sizes[0], 0.1), sizes[0], ()) if "bytes" in kinds else (1, None, ())
        if name == "strings.quote":
            return _factor(sizes[0], 0.1), sizes[0] * 2 + 2, ()
        if name == "containsIP":
            return 4 + self._parsed(nodes[1].type, sizes[1]), None, ()
        if name == "containsCIDR":
            return 7 + self._parsed(nodes[1].type, sizes[1]), None, ()
        return self._known(name, sizes), sizes[0] if name in _KEPT else None, ()

    def _equal(self, kind: Type, size: int) -> int:
        """Comparing two values of a Kubernetes library costs little; that they differ is not known to."""
        if kind.name == _FORMAT:
            return _factor(_LARGEST_FORMAT, 0.1)
        return _factor(size, 0.1) if kind.name == _URL and size < MAX else 1

    def _known(self, name: str, sizes: list[int]) -> int:
        return min(self._functions[name].cost(sizes), MAX)

    def _parsed(self, kind: Type, size: int) -> int:
        return _factor(size, 0.1) if kind.name == "string" else 0

    def _item(self, kind: Type, found: Found) -> int:
        return self._size(kind, (*found.path, "@items") if found.path else (), MAX)

    def _searched(self, kind: Type, found: Found) -> int:
        if not kind.parameters:
            return _factor(found.size, 0.1)
        inner = kind.parameters[0]
        each = 1 + (_factor(self._item(inner, found), 0.1) if inner.name in _TEXTS else 0)
        return min(found.size * each, MAX)

    def _joined(self, kind: Type, parts: list[Found]) -> tuple[int, int, Path]:
        count = parts[0].size
        inner = kind.parameters[0] if kind.parameters else STRING
        size = min(count * self._item(inner, parts[0]), MAX)
        if len(parts) > 1:
            size = min(size + parts[1].size * max(count - 1, 0), MAX)
        return _factor(size, 0.1), size, ()


def _below(kind: Type, name: str) -> Type | None:
    if name in ("@items", "@values"):
        return kind.parameters[-1] if kind.kind in ("list", "map") else None
    if name == "@keys":
        return _KEYS if kind.kind == "map" else None
    if kind.kind == "map" and kind.parameters[-1].name == "dyn" and kind.parameters[-1].max_size < UNBOUNDED:
        return kind.parameters[-1]  # the attributes of a device: all are of one size
    field = kind.fields().get(name) if kind.kind == "object" and kind.fields is not None else None
    return None if field is None else field.type


def _scalar(kind: Type) -> bool:
    if kind.kind == "optional" and kind.parameters:
        return _scalar(kind.parameters[0])
    return kind.name in _SCALARS


def _factor(size: int, factor: float) -> int:
    return min(math.ceil(size * factor), MAX)


def _replaced(parts: list[Found]) -> int:
    """The longest that a text can get."""
    text, old, new = parts[0], parts[1], parts[2]
    if old.least == 0:
        return min((text.size + 1) * new.size + text.size, MAX)
    if new.size <= old.least:
        return text.size
    return min(math.ceil(text.size / old.least) * new.size, MAX)
