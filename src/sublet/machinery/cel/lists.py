"""Functions over lists and sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from sublet.machinery.cel import functions as f
from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.functions import define
from sublet.machinery.cel.standard import add

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


LISTS = (
    define("isSorted", _over(_ORDERED, "bool"), _is_sorted, f.each),
    define("sum", _over(("int", "uint", "double", "duration"), ""), _sum, f.each),
    define("min", _over(_ORDERED, ""), _extreme("min", -1), f.each),
    define("max", _over(_ORDERED, ""), _extreme("max", 1), f.each),
    define("indexOf", "list(A).(A) int", _index_of, f.each, f.found),
    define("lastIndexOf", "list(A).(A) int", _last_index_of, f.each, f.found),
    define("sets.contains", "(list(A), list(A)) bool", _contains, f.pairs),
    define("sets.equivalent", "(list(A), list(A)) bool", _equivalent, f.pairs_twice),
    define("sets.intersects", "(list(A), list(A)) bool", _intersects, f.pairs),
)
