"""The most an expression can cost, from what schemas say of sizes: cel-go's static estimate, upper bound only."""

from __future__ import annotations

from collections.abc import Mapping

from sublet.machinery.cel import syntax
from sublet.machinery.cel.evaluator import LIST_COST, MAP_COST, STRUCT_COST
from sublet.machinery.cel.functions import Function
from sublet.machinery.cel.syntax import Node
from sublet.machinery.cel.types import Type

MAX = float(2**64 - 1)
_SIZED = ("string", "bytes", "list", "map", "dyn")
_TURN = 3


class Estimator:
    """Walks checked syntax."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions

    def cost(self, node: Node) -> float:
        """Cost units at most."""
        return min(self._walk(node)[0], MAX)

    def _walk(self, node: Node) -> tuple[float, float]:
        """(cost, size of the value) at most."""
        match node:
            case syntax.Literal():
                return 0, size(node.type)
            case syntax.Ident():
                return 1, size(node.type)
            case syntax.Select():
                return self._walk(node.operand)[0] + 1, 1 if node.test else size(node.type)
            case syntax.Call():
                return self._call(node)
            case syntax.Conditional():
                parts = [self._walk(part) for part in (node.yes, node.no)]
                return self._walk(node.condition)[0] + max(p[0] for p in parts), max(p[1] for p in parts)
            case syntax.Comprehension():
                return self._loop(node)
            case syntax.Bind():
                return self._walk(node.value)[0] + self._walk(node.body)[0], size(node.type)
        cost = sum(self._walk(child)[0] for child in node.children())
        own = {syntax.ListOf: LIST_COST, syntax.MapOf: MAP_COST, syntax.Construct: STRUCT_COST}.get(
            type(node), 0
        )
        return cost + own, size(node.type)

    def _call(self, node: syntax.Call) -> tuple[float, float]:
        walked = [self._walk(argument) for argument in node.all()]
        sizes = [found for _, found in walked]
        function = self._functions[node.function]
        grown = size(node.type)
        if grown > 1 or function.grows != "none":
            grown = _grown(function.grows, sizes, grown)
        return sum(cost for cost, _ in walked) + function.cost(sizes), grown

    def _loop(self, node: syntax.Comprehension) -> tuple[float, float]:
        cost, count = self._walk(node.operand)
        turn = _TURN + self._walk(node.body)[0]
        if node.filter is not None:
            turn += self._walk(node.filter)[0]
        return cost + count * turn, 1 if size(node.type) == 1 else count


def size(kind: Type) -> float:
    """Characters, items or entries at most; 1 for scalars."""
    if kind.kind == "optional" and kind.parameters:
        return size(kind.parameters[0])
    return float(kind.max_size) if kind.name in _SIZED else 1.0


def _grown(grows: str, sizes: list[float], otherwise: float) -> float:
    if grows == "first" and sizes:
        return sizes[0]
    if grows == "sum":
        return sum(sizes)
    if grows == "product":
        found = 1.0
        for each in sizes:
            found *= max(each, 1)
        return found
    return otherwise
