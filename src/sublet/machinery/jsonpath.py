"""JSONPath as printer columns of custom resources use it: ``.status.conditions[?(@.type=="Ready")].status``.

Fields, quoted fields, indices, slices, unions, ``*``, ``..`` and one comparison per filter, with or without braces and
``$``. Source: Kubernetes' documentation of JSONPath support.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_Step = Callable[[Any], Iterator[Any]]

_NAME = re.compile(r"(?:\\.|[^.\[\]\\{}])+")
_COMPARISON = re.compile(r"^(.*?)\s*(==|!=|<=|>=|<|>)\s*(.*)$", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class JSONPath:
    """A parsed path. Raises ``ValueError`` for what is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        body = text.strip()
        if body.startswith("{") and body.endswith("}"):
            body = body[1:-1].strip()
        self._steps = _parse(body.removeprefix("$"), text)

    def find(self, value: Any) -> list[Any]:
        """Every value the path leads to; empty where it leads nowhere."""
        found = [value]
        for step in self._steps:
            found = [result for node in found for result in step(node)]
        return found


def _parse(body: str, whole: str) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    at = 0
    while at < len(body):
        if body.startswith("..", at):
            steps.append(_descendants)
            at += 2
            if at < len(body) and body[at] != "[":
                at = _name(body, at, whole, steps)
        elif body[at] == ".":
            at += 1
            if at == len(body):
                break
            if body[at] != "[":
                at = _name(body, at, whole, steps)
        elif body[at] == "[":
            end = _closing(body, at, whole)
            steps.append(_bracket(body[at + 1 : end].strip(), whole))
            at = end + 1
        elif at == 0:
            at = _name(body, at, whole, steps)
        else:
            raise ValueError(f"{whole!r} is not a JSONPath: unexpected {body[at]!r}")
    return tuple(steps)


def _name(body: str, at: int, whole: str, steps: list[_Step]) -> int:
    found = _NAME.match(body, at)
    if found is None:
        raise ValueError(f"{whole!r} is not a JSONPath: a name is missing at {body[at:]!r}")
    name = re.sub(r"\\(.)", r"\1", found[0])
    steps.append(_every if name == "*" else _field(name))
    return found.end()


def _closing(body: str, start: int, whole: str) -> int:
    """Where the bracket opened at ``start`` closes, past quotes and inner brackets."""
    depth, quote, at = 0, "", start
    while at < len(body):
        char = body[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise ValueError(f"{whole!r} is not a JSONPath: unclosed '['")


def _bracket(inner: str, whole: str) -> _Step:
    if inner == "*":
        return _every
    if inner.startswith("?(") and inner.endswith(")"):
        return _filter(inner[2:-1].strip(), whole)
    parts = _split_union(inner)
    if len(parts) > 1:
        steps = [_bracket(part, whole) for part in parts]
        return lambda value: (result for step in steps for result in step(value))
    if len(inner) > 1 and inner[0] in "'\"" and inner[-1] == inner[0]:
        return _field(inner[1:-1])
    if re.fullmatch(r"-?\d+", inner):
        return _index(int(inner))
    if re.fullmatch(r"(-?\d+)?:(-?\d+)?(:(-?\d+)?)?", inner):
        return _slice([int(part) if part else None for part in inner.split(":")])
    raise ValueError(f"{whole!r} is not a JSONPath: [{inner}] is no index, name or filter")


def _split_union(inner: str) -> list[str]:
    parts, quote, start = [], "", 0
    for at, char in enumerate(inner):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == ",":
            parts.append(inner[start:at].strip())
            start = at + 1
    return [*parts, inner[start:].strip()]


def _field(name: str) -> _Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> _Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _slice(bounds: Sequence[int | None]) -> _Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[slice(*bounds)]

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _descendants(value: Any) -> Iterator[Any]:
    yield value
    for child in _every(value):
        yield from _descendants(child)


def _filter(condition: str, whole: str) -> _Step:
    parts = _COMPARISON.match(condition)
    if parts is None:
        exists = _operand(condition, whole)
        return lambda value: (item for item in _every(value) if exists(item))
    left, right = _operand(parts[1], whole), _operand(parts[3], whole)
    compare = _OPERATORS[parts[2]]

    def holds(item: Any) -> bool:
        a, b = left(item), right(item)
        if not a or not b:
            return False
        try:
            return compare(a[0], b[0])
        except TypeError:
            return False

    return lambda value: (item for item in _every(value) if holds(item))


def _operand(text: str, whole: str) -> Callable[[Any], list[Any]]:
    text = text.strip()
    if text.startswith("@"):
        steps = JSONPath(text[1:] or ".")
        return steps.find
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        constant: Any = text[1:-1]
    elif text in ("true", "false"):
        constant = text == "true"
    else:
        try:
            constant = float(text) if "." in text else int(text)
        except ValueError:
            raise ValueError(f"{whole!r} is not a JSONPath: {text!r} is no path, text or number") from None
    return lambda _item: [constant]
