"""The parts of a parsed expression. ``offset`` is the place in the source; ``type`` is filled by the checker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery.cel.types import DYN, Type


@dataclass(slots=True)
class Node:
    offset: int
    type: Type = field(default=DYN, init=False)

    def children(self) -> Iterator[Node]:
        return iter(())


@dataclass(slots=True)
class Literal(Node):
    value: Any
    """None, bool, int, UInt, float, str, bytes."""


@dataclass(slots=True)
class Ident(Node):
    name: str


@dataclass(slots=True)
class Select(Node):
    operand: Node
    name: str
    test: bool = False
    """``has(operand.name)``."""
    optional: bool = False
    """``operand.?name``."""
    key: str = field(default="", init=False)
    """The property the name stands for, where the schema escapes it; filled by the checker."""
    null_is_absent: bool = field(default=False, init=False)
    """Filled by the checker, from the operand's type."""
    qualified: str = field(default="", init=False)
    """Filled by the checker where the whole is the name of a variable or type."""

    def children(self) -> Iterator[Node]:
        yield self.operand


@dataclass(slots=True)
class Call(Node):
    function: str
    target: Node | None
    arguments: list[Node]
    exact: bool = field(default=False, init=False)
    """Filled by the checker: the types of all arguments are known, no overload need be looked for."""

    def all(self) -> list[Node]:
        return self.arguments if self.target is None else [self.target, *self.arguments]

    def children(self) -> Iterator[Node]:
        return iter(self.all())


@dataclass(slots=True)
class Logical(Node):
    """``&&`` and ``||`` of any number of parts."""

    operator: str
    parts: list[Node]

    def children(self) -> Iterator[Node]:
        return iter(self.parts)


@dataclass(slots=True)
class Conditional(Node):
    condition: Node
    yes: Node
    no: Node

    def children(self) -> Iterator[Node]:
        yield from (self.condition, self.yes, self.no)


@dataclass(slots=True)
class ListOf(Node):
    items: list[Node]
    optional: frozenset[int]
    """Indices written ``?item``: left out when the optional is empty."""

    def children(self) -> Iterator[Node]:
        return iter(self.items)


@dataclass(slots=True)
class MapOf(Node):
    entries: list[tuple[Node, Node, bool]]
    """(key, value, written ``?key``)."""

    def children(self) -> Iterator[Node]:
        for key, value, _ in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class Construct(Node):
    """``Object.spec{replicas: 1, ?paused: x}``."""

    name: str
    fields: list[tuple[str, Node, bool]]

    def children(self) -> Iterator[Node]:
        for _, value, _ in self.fields:
            yield value


@dataclass(slots=True)
class Comprehension(Node):
    """A macro over a list or map. ``body`` may be preceded by ``filter`` (three-argument forms)."""

    kind: str
    """all, exists, existsOne, map, filter, transformList, transformMap, transformMapEntry."""
    operand: Node
    first: str
    second: str
    """Name of the value in forms with two variables, else empty."""
    filter: Node | None
    body: Node

    def children(self) -> Iterator[Node]:
        yield self.operand
        if self.filter is not None:
            yield self.filter
        yield self.body


@dataclass(slots=True)
class Bind(Node):
    """``value.optMap(name, body)`` and ``optFlatMap``, named by ``optional``; else ``cel.bind(name, value, body)``."""

    name: str
    value: Node
    body: Node
    optional: str = ""

    def children(self) -> Iterator[Node]:
        yield self.value
        yield self.body


def qualified_name(node: Node) -> str:
    """``a.b.c`` of plain selections, else empty."""
    parts = []
    while isinstance(node, Select) and not node.test and not node.optional:
        parts.append(node.name)
        node = node.operand
    if not isinstance(node, Ident):
        return ""
    return ".".join([node.name, *reversed(parts)])
