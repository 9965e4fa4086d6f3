"""What the macros over lists and maps do at evaluation; every turn is paid for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sublet.machinery.cel.errors import EvaluationError, no_such_overload

if TYPE_CHECKING:
    from sublet.machinery.cel.evaluator import Activation

    Step = Callable[[Activation], Any]

TURN_COST = {
    "all": 3, "exists": 4, "existsOne": 2, "map": 12, "transformList": 12, "filter": 13, "transformMap": 3,
    "transformMapEntry": 2,
}  # fmt: skip
"""Of one turn besides its body: the condition, the accumulator, the step (which makes a list of one item)."""
MADE_COST = {
    "all": 1, "exists": 1, "existsOne": 2, "map": 11, "transformList": 11, "filter": 11, "transformMap": 31,
    "transformMapEntry": 31,
}  # fmt: skip
"""Of a loop besides its turns: the accumulator and what is made of it."""


def loop(kind: str, operand: Step, first: int, second: int, condition: Step | None, body: Step) -> Step:
    """The step of a macro; ``first`` and ``second`` (or -1) are its variables' slots."""
    made, turn = MADE_COST[kind], TURN_COST[kind]
    if kind in ("all", "exists"):
        left = _turns(operand, first, second, made, turn, remaining=True)
        return _quantifier(left, body, decides=kind == "exists")
    turns = _turns(operand, first, second, made, turn)
    if kind == "existsOne":
        return _exactly_one(turns, body)
    if kind in ("map", "transformList"):
        return _listed(turns, condition, body)
    if kind == "filter":
        return _filtered(turns, first, body)
    return _mapped(turns, first, condition, body, merged=kind == "transformMapEntry")


def _turns(
    operand: Step, first: int, second: int, made: int, turn: int, *, remaining: bool = False
) -> Callable[[Activation], Iterable[Any]]:
    """Sets the variables, turn by turn; gives keys or items, or how many turns are left."""

    def turns(a: Activation) -> Iterable[Any]:
        values = operand(a)
        a.spend(made)
        slots = a.slots
        if isinstance(values, dict):
            for index, key in enumerate(list(values), 1):
                a.spend(turn)
                slots[first] = key
                if second >= 0:
                    slots[second] = values[key]
                yield len(values) - index if remaining else key
        elif isinstance(values, list):
            for index, item in enumerate(values, 1):
                a.spend(turn)
                if second >= 0:
                    slots[first] = index - 1
                    slots[second] = item
                else:
                    slots[first] = item
                yield len(values) - index if remaining else item
        else:
            raise no_such_overload()

    return turns


def _quantifier(turns: Any, body: Step, *, decides: bool) -> Step:
    end = 3 if decides else 2  # what it costs to see, at the next turn, that there is none

    def quantify(a: Activation) -> bool:
        error: EvaluationError | None = None
        for left in turns(a):
            try:
                value = body(a)
            except EvaluationError as raised:
                error = error or raised
                continue
            if not isinstance(value, bool):
                error = error or no_such_overload()
            elif value is decides:
                if left:
                    a.spend(end)
                return decides
        if error is not None:
            raise error
        return not decides

    return quantify


def _held(value: Any) -> bool:
    if not isinstance(value, bool):
        raise no_such_overload()
    return value


def _exactly_one(turns: Any, body: Step) -> Step:
    def count(a: Activation) -> bool:
        return sum(_held(body(a)) for _ in turns(a)) == 1

    return count


def _listed(turns: Any, condition: Step | None, body: Step) -> Step:
    def listed(a: Activation) -> list[Any]:
        return [body(a) for _ in turns(a) if condition is None or _held(condition(a))]

    return listed


def _filtered(turns: Any, first: int, body: Step) -> Step:
    def filtered(a: Activation) -> list[Any]:
        return [item for item in turns(a) if _held(body(a))]

    return filtered


def _mapped(turns: Any, first: int, condition: Step | None, body: Step, *, merged: bool) -> Step:
    def mapped(a: Activation) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in turns(a):
            if condition is not None and not _held(condition(a)):
                continue
            key = a.slots[first]
            value = body(a)
            if not merged:
                made[key] = value
                continue
            if not isinstance(value, dict):
                raise no_such_overload()
            for name, item in value.items():
                if name in made:
                    raise EvaluationError(f"insert failed: key {name} already exists")
                made[name] = item
        return made

    return mapped
