"""Types of expressions: what the checker knows of a value before there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

UNBOUNDED = 3 * 1024 * 1024
"""Size of anything no schema bounds: that of the largest request."""


@dataclass(frozen=True)
class Field:
    """A property of an object type: its type, and its name in the object."""

    type: Type
    key: str


@dataclass(frozen=True)
class Type:
    """``name`` with parameters; object types know their fields, and all may bound their size."""

    name: str
    parameters: tuple[Type, ...] = ()
    kind: str = "simple"
    """simple, list, map, optional, object, opaque, parameter, type."""
    fields: Callable[[], Mapping[str, Field]] | None = field(default=None, compare=False, repr=False)
    """Of an object type; None: any field may be there (``Object`` of mutating policies)."""
    max_size: int = field(default=UNBOUNDED, compare=False)
    """Most characters, items or entries."""
    list_type: str = field(default="", compare=False)
    list_keys: tuple[str, ...] = field(default=(), compare=False)
    """``set`` and ``map`` of lists that are compared and added without regard to order."""

    null_is_absent: bool = field(default=False, compare=False)
    """Of an object type: a field that is null counts as one that is not there."""

    def __str__(self) -> str:
        if self.kind in ("list", "map", "optional", "type") and self.parameters:
            return f"{self.name}({', '.join(map(str, self.parameters))})"
        return self.name


DYN = Type("dyn")
ERROR = Type("!error!")
"""Of what has already been complained of."""
NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")

_PROTOBUF = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}
SIMPLE = {t.name: t for t in (DYN, NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION)}
SIMPLE |= {"null_type": NULL, "google.protobuf.Timestamp": TIMESTAMP, "google.protobuf.Duration": DURATION}

TYPE_NAMES: Mapping[str, str] = {
    "bool": "bool", "int": "int", "uint": "uint", "double": "double", "string": "string", "bytes": "bytes",
    "list": "list", "map": "map", "null_type": "null_type", "type": "type",
    "google.protobuf.Timestamp": "google.protobuf.Timestamp",
    "google.protobuf.Duration": "google.protobuf.Duration",
    "optional_type": "optional_type", "net.IP": "net.IP", "net.CIDR": "net.CIDR",
    "kubernetes.URL": "kubernetes.URL", "kubernetes.Quantity": "kubernetes.Quantity",
    "kubernetes.Semver": "kubernetes.Semver",
}  # fmt: skip
"""Names that are type values in expressions such as ``type(x) == int``."""


def go_text(kind: Type) -> str:
    """A type as cel-go writes it."""
    name = {"null": "null_type"}.get(kind.name, _PROTOBUF.get(kind.name, kind.name))
    return f"{name}({', '.join(map(go_text, kind.parameters))})" if kind.parameters else name


def list_of(item: Type, max_size: int = UNBOUNDED, list_type: str = "", keys: tuple[str, ...] = ()) -> Type:
    return Type("list", (item,), "list", max_size=max_size, list_type=list_type, list_keys=keys)


def map_of(key: Type, value: Type, max_size: int = UNBOUNDED) -> Type:
    return Type("map", (key, value), "map", max_size=max_size)


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,), "optional")


def object_type(
    name: str, fields: Callable[[], Mapping[str, Field]] | None = None, *, null_is_absent: bool = False
) -> Type:
    return Type(name, (), "object", fields, null_is_absent=null_is_absent)


def sized(name: str, max_size: int) -> Type:
    """A string or bytes type with a bound."""
    return Type(name, max_size=max_size)


@lru_cache(maxsize=1024)
def parse(text: str) -> Type:
    """A type from its name: ``list(string)``, ``map(A, dyn)``, single capitals being parameters."""
    text = text.strip()
    if text in SIMPLE:
        return SIMPLE[text]
    head, bracket, rest = text.partition("(")
    if bracket:
        parameters = tuple(parse(part) for part in split(rest[:-1]))
        if head == "list":
            return list_of(parameters[0])
        if head == "map":
            return map_of(parameters[0], parameters[1])
        if head == "optional":
            return optional_of(parameters[0])
        return Type("type", parameters, "type")
    if len(text) == 1 and text.isupper():
        return Type(text, kind="parameter")
    if text == "type":
        return Type("type", kind="type")
    return Type(text, kind="opaque")


def split(text: str) -> list[str]:
    """Parts between commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    if text[start:].strip():
        parts.append(text[start:])
    return parts


def assignable(formal: Type, actual: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of ``actual`` can stand where ``formal`` is asked for; fills in parameters."""
    if formal.kind == "parameter":
        known = bound.get(formal.name)
        if known is None or known == DYN or (known == NULL and actual != NULL):
            bound[formal.name] = actual
            return True
        if assignable(known, actual, bound):
            return True
        if assignable(actual, known, bound):
            bound[formal.name] = actual
            return True
        return False
    if DYN in (formal, actual) or ERROR in (formal, actual):
        return True
    if actual == NULL:
        return formal.kind in ("object", "optional", "opaque") or formal in (NULL, TIMESTAMP, DURATION)
    if formal.kind != actual.kind or formal.name != actual.name:
        return False
    if formal.kind == "type":
        return True  # of whatever types the two are
    if not formal.parameters or not actual.parameters:
        return True
    return all(assignable(f, a, bound) for f, a in zip(formal.parameters, actual.parameters, strict=True))


def substitute(formal: Type, bound: Mapping[str, Type]) -> Type:
    """The type with its parameters filled in; unknown ones become ``dyn``."""
    if formal.kind == "parameter":
        return bound.get(formal.name, DYN)
    if not formal.parameters:
        return formal
    return Type(
        formal.name, tuple(substitute(p, bound) for p in formal.parameters), formal.kind,
        max_size=formal.max_size, list_type=formal.list_type, list_keys=formal.list_keys,
    )  # fmt: skip


def join(one: Type, other: Type) -> Type | None:
    """The type both fit, or None."""
    if one == other:
        return one if one.max_size >= other.max_size else other
    if DYN in (one, other):
        return DYN
    if assignable(one, other, {}):
        return one
    if assignable(other, one, {}):
        return other
    return None
