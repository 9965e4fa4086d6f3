"""Functions of expressions: signatures, implementations and what a call costs; the table they are looked up in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.machinery.cel.types import Type, parse, split
from sublet.machinery.cel.values import Opaque, Optional, TypeValue, UInt, type_name

Cost = Callable[[Sequence[int]], int]
"""From the sizes of all arguments (characters, items; 1 for scalars) to cost units."""


def tenth(size: int) -> int:
    """Reading a text through once."""
    return math.ceil(size * 0.1)


def constant(_sizes: Sequence[int]) -> int:
    return 1


def traverse(sizes: Sequence[int]) -> int:
    """Reads its first argument through once."""
    return tenth(sizes[0])


def traverse_twice(sizes: Sequence[int]) -> int:
    return math.ceil(sizes[0] * 0.2)


def traverse_all(sizes: Sequence[int]) -> int:
    return tenth(sum(sizes))


def shorter(sizes: Sequence[int]) -> int:
    return tenth(min(sizes))


def argument(sizes: Sequence[int]) -> int:
    """Reads no more than its second argument."""
    return tenth(sizes[1])


def product(sizes: Sequence[int]) -> int:
    """Looks for its second argument everywhere in the first."""
    return tenth(sizes[0]) * tenth(sizes[1])


def each(sizes: Sequence[int]) -> int:
    """One unit per item."""
    return sizes[0]


def found(arguments: Sequence[Any]) -> int:
    """Looking through a text or a list once."""
    size = len(arguments[0])
    return tenth(size) if isinstance(arguments[0], str) else size


def pairs(sizes: Sequence[int]) -> int:
    return 1 + sizes[0] * sizes[1]


def pairs_twice(sizes: Sequence[int]) -> int:
    return 1 + 2 * sizes[0] * sizes[1]


def search(sizes: Sequence[int]) -> int:
    """A regular expression (second) over a text."""
    return tenth(sizes[0] + 1) * math.ceil(sizes[1] * 0.25)


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature; a member's first parameter is its target."""

    member: bool
    parameters: tuple[Type, ...]
    result: Type


@dataclass(frozen=True, slots=True)
class Function:
    """All overloads of one name share an implementation, which tells them apart by the values it gets."""

    name: str
    overloads: tuple[Overload, ...]
    call: Callable[..., Any]
    cost: Cost = constant
    price: Callable[[Sequence[Any]], int] | None = None
    """What a call costs where that depends on more than sizes; for evaluation, not for estimates."""


def overload(text: str) -> Overload:
    """From ``string.(string) bool`` (member), ``(int, int) int``."""
    start = _bracket(text)
    target = text[: start - 1] if start else ""
    depth, end = 0, start
    for end in range(start, len(text)):
        depth += (text[end] == "(") - (text[end] == ")")
        if not depth:
            break
    arguments = [parse(part) for part in split(text[start + 1 : end])]
    if target:
        arguments.insert(0, parse(target))
    return Overload(bool(target), tuple(arguments), parse(text[end + 1 :]))


def _bracket(text: str) -> int:
    """Where the arguments open: at the start, or behind the target's dot."""
    if text.startswith("("):
        return 0
    found = text.find(".(")
    if found < 0:
        raise ValueError(f"no signature: {text}")
    return found + 1


def define(
    name: str, signatures: str, call: Callable[..., Any], cost: Cost = constant,
    price: Callable[[Sequence[Any]], int] | None = None,
) -> Function:  # fmt: skip
    """A function from signatures separated by ``;``."""
    return Function(name, tuple(overload(s.strip()) for s in signatures.split(";")), call, cost, price)


def table(*libraries: Iterable[Function]) -> Mapping[str, Function]:
    """Functions by name; a later library may add overloads to the name of an earlier one."""
    found: dict[str, Function] = {}
    for library in libraries:
        for function in library:
            known = found.get(function.name)
            found[function.name] = function if known is None else _joined(known, function)
    return found


def _joined(one: Function, other: Function) -> Function:
    def call(*arguments: Any) -> Any:
        for candidate in other.overloads:
            if fits(candidate, arguments):
                return other.call(*arguments)
        return one.call(*arguments)

    def cost(sizes: Sequence[int]) -> int:
        return max(
            f.cost(sizes) for f in (one, other) if any(len(o.parameters) == len(sizes) for o in f.overloads)
        )

    return Function(one.name, one.overloads + other.overloads, call, cost, one.price or other.price)


def fits(candidate: Overload, arguments: Sequence[Any]) -> bool:
    """Whether values match a signature."""
    return len(candidate.parameters) == len(arguments) and all(
        _is(value, parameter) for value, parameter in zip(arguments, candidate.parameters, strict=True)
    )


_CLASSES: Mapping[str, Callable[[Any], bool]] = {
    "dyn": lambda _v: True,
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, (bool, UInt)),
    "uint": lambda v: isinstance(v, UInt),
    "double": lambda v: isinstance(v, float),
    "string": lambda v: isinstance(v, str),
    "bytes": lambda v: isinstance(v, bytes),
    "null": lambda v: v is None,
    "list": lambda v: isinstance(v, list),
    "map": lambda v: isinstance(v, dict),
    "type": lambda v: isinstance(v, TypeValue),
    "optional_type": lambda v: isinstance(v, Optional),
    "timestamp": lambda v: type_name(v) == "google.protobuf.Timestamp",
    "duration": lambda v: type_name(v) == "google.protobuf.Duration",
}


def _is(value: Any, formal: Type) -> bool:
    if formal.kind == "parameter":
        return True
    if formal.kind == "opaque":
        return isinstance(value, Opaque) and value.type_name == formal.name
    check = _CLASSES.get(formal.name)
    if check is None or not check(value):
        return False
    if formal.kind == "list" and formal.parameters[0].name != "dyn":
        return all(_is(item, formal.parameters[0]) for item in value)
    return True


def size_of(value: Any) -> int:
    """What an argument counts in costs."""
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    return value.size if isinstance(value, Opaque) else 1
