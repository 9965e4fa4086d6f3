"""Functions over lists and sets, and Kubernetes' quantities and semantic versions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from sublet.machinery import quantity as quantities
from sublet.machinery.cel import functions as f
from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.functions import define
from sublet.machinery.cel.standard import add
from sublet.machinery.cel.values import Opaque

# -- lists --


def _is_sorted(items: list[Any]) -> bool:
    return all(v.compare(a, b) <= 0 for a, b in itertools.pairwise(items))


_NOTHING: Mapping[str, Any] = {"double": 0.0, "uint": v.UInt(0), "duration": v.Duration(0)}
"""Sums of no items, where they are not the int 0."""


def _sum(items: list[Any], nothing: Any = 0) -> Any:
    if not items:
        return nothing
    total = items[0]
    for item in items[1:]:
        total = add(total, item)
    return total


def sum_of(kind: str) -> Callable[[list[Any]], Any]:
    """``sum()`` where the type of the result is known."""
    nothing = _NOTHING.get(kind, 0)
    return lambda items: _sum(items, nothing)


def _extreme(name: str, sign: int) -> Callable[[list[Any]], Any]:
    def pick(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if v.compare(item, best) * sign > 0:
                best = item
        return best

    return pick


def _index_of(items: list[Any], value: Any) -> int:
    return next((i for i, item in enumerate(items) if v.equal(item, value)), -1)


def _last_index_of(items: list[Any], value: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if v.equal(items[i], value)), -1)


_ORDERED = ("int", "uint", "double", "bool", "string", "bytes", "duration", "timestamp")


def _over(names: tuple[str, ...], result: str) -> str:
    return "; ".join(f"list({n}).() {result or n}" for n in names)


# -- sets --


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    held = {v.key_hash(item) for item in items}
    return all(v.key_hash(item) in held for item in wanted)


def _equivalent(a: list[Any], b: list[Any]) -> bool:
    return {v.key_hash(item) for item in a} == {v.key_hash(item) for item in b}


def _intersects(a: list[Any], b: list[Any]) -> bool:
    return bool({v.key_hash(item) for item in a} & {v.key_hash(item) for item in b})


# -- quantities --


class Quantity(Opaque):
    __slots__ = ("amount",)
    type_name = "kubernetes.Quantity"

    def __init__(self, amount: quantities.Quantity) -> None:
        self.amount = amount

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and other.amount == self.amount

    def __hash__(self) -> int:
        return hash(self.amount)

    def __str__(self) -> str:
        return self.amount.canonical()


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantities.parse(text))
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def _amount(value: Any) -> quantities.Quantity:
    amount: quantities.Quantity = quantities.from_value(value) if isinstance(value, int) else value.amount
    return amount


def _is_integer(value: Quantity) -> bool:
    return value.amount.nano % 10**9 == 0 and v.INT_MIN <= value.amount.nano // 10**9 <= v.INT_MAX


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return value.amount.nano // 10**9


def _three_way(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


# -- semantic versions --

_SEMVER = re.compile(
    r"(0|[1-9]\d{0,18})\.(0|[1-9]\d{0,18})\.(0|[1-9]\d{0,18})"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?\Z"
)


class Semver(Opaque):
    __slots__ = ("order", "text")
    type_name = "kubernetes.Semver"

    def __init__(self, text: str, order: tuple[Any, ...]) -> None:
        self.text = text
        self.order = order
        """(major, minor, patch, prerelease) as semver compares them; build metadata does not count."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and other.order == self.order

    def __hash__(self) -> int:
        return hash(self.order)

    def __str__(self) -> str:
        return self.text


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    core = re.match(r"\d+(\.\d+){0,2}", text)
    if core is None:
        return text
    numbers = [str(int(n)) if len(n) < 40 else n for n in core.group().split(".")]
    return ".".join([*numbers, "0", "0"][:3]) + text[core.end() :]


def semver(text: str, normalize: bool = False) -> Semver:
    text = _normalized(text) if normalize else text
    match = _SEMVER.match(text) if len(text) <= 1000 else None
    if match is None:
        raise EvaluationError(f'invalid semantic version "{text[:100]}"')
    before = match[4]
    parts: tuple[Any, ...] = (1,)
    if before is not None:
        parts = (0, tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in before.split(".")))
    return Semver(text, (int(match[1]), int(match[2]), int(match[3]), parts))


def _good(make: Callable[..., Any]) -> Callable[..., bool]:
    def test(*arguments: Any) -> bool:
        try:
            make(*arguments)
        except EvaluationError:
            return False
        return True

    return test


def _both(name: str, step: Callable[[Any, Any], Any], result: str) -> tuple[f.Function, ...]:
    """One comparison for quantities and versions."""
    q, s = "kubernetes.Quantity", "kubernetes.Semver"

    def call(a: Any, b: Any) -> Any:
        return step(a.amount, b.amount) if isinstance(a, Quantity) else step(a.order, b.order)

    return (define(name, f"{q}.({q}) {result}; {s}.({s}) {result}", call),)


_Q, _S = "kubernetes.Quantity", "kubernetes.Semver"
_ARITHMETIC = f"{_Q}.({_Q}) {_Q}; {_Q}.(int) {_Q}"
LISTS = (
    define("isSorted", _over(_ORDERED, "bool"), _is_sorted, f.each),
    define("sum", _over(("int", "uint", "double", "duration"), ""), _sum, f.each),
    define("min", _over(_ORDERED, ""), _extreme("min", -1), f.each),
    define("max", _over(_ORDERED, ""), _extreme("max", 1), f.each),
    define("indexOf", "list(A).(A) int", _index_of, f.each, f.found),
    define("lastIndexOf", "list(A).(A) int", _last_index_of, f.each, f.found),
    define("sets.contains", "(list(A), list(A)) bool", _contains, f.pairs),
    define("sets.equivalent", "(list(A), list(A)) bool", _equivalent, f.pairs),
    define("sets.intersects", "(list(A), list(A)) bool", _intersects, f.pairs),
    define("quantity", f"(string) {_Q}", _quantity, f.traverse),
    define("isQuantity", "(string) bool", _good(_quantity), f.traverse),
    define("isInteger", f"{_Q}.() bool", _is_integer),
    define("asInteger", f"{_Q}.() int", _as_integer),
    define("asApproximateFloat", f"{_Q}.() double", lambda q: q.amount.nano / 1e9),
    define("sign", f"{_Q}.() int", lambda q: _three_way(q.amount.nano, 0)),
    define("add", _ARITHMETIC, lambda a, b: Quantity(a.amount + _amount(b))),
    define("sub", _ARITHMETIC, lambda a, b: Quantity(a.amount - _amount(b))),
    *_both("isLessThan", lambda a, b: a < b, "bool"),
    *_both("isGreaterThan", lambda a, b: a > b, "bool"),
    *_both("compareTo", _three_way, "int"),
    define("semver", f"(string) {_S}; (string, bool) {_S}", semver, f.traverse),
    define("isSemver", "(string) bool; (string, bool) bool", _good(semver), f.traverse),
    define("major", f"{_S}.() int", lambda s: s.order[0]),
    define("minor", f"{_S}.() int", lambda s: s.order[1]),
    define("patch", f"{_S}.() int", lambda s: s.order[2]),
)
