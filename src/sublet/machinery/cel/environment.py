"""Where expressions are compiled: which variables, types and functions there are; and the programs that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sublet.machinery.cel import functions, syntax
from sublet.machinery.cel.authorizer import AUTHORIZER
from sublet.machinery.cel.checker import Checker
from sublet.machinery.cel.errors import CompileError, EvaluationError, Issue
from sublet.machinery.cel.estimate import Estimator
from sublet.machinery.cel.evaluator import Activation, Compiler, Step
from sublet.machinery.cel.lists import LISTS
from sublet.machinery.cel.network import NETWORK
from sublet.machinery.cel.parser import parse
from sublet.machinery.cel.standard import STANDARD
from sublet.machinery.cel.strings import STRINGS, pattern_error
from sublet.machinery.cel.types import Type

PER_CALL_LIMIT = 1_000_000
"""Cost units of one evaluation."""
BUDGET = 10_000_000
"""Cost units of all evaluations for one object."""


QUICK_LIMIT = 20_000
"""Cost units that take some 4 ms: what costs more should not be evaluated on an event loop."""


class Budget:
    """What is left of the cost that all evaluations for one object may take."""

    __slots__ = ("left",)

    def __init__(self, left: float = BUDGET) -> None:
        self.left = left


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression."""

    source: str
    type: Type
    estimate: int
    """Cost units at most, from the sizes that the types of the variables state."""
    names: frozenset[str]
    """Every name the expression mentions that might be a variable."""
    _slots: tuple[str, ...]
    _size: int
    _step: Step

    def evaluate(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The value. Raises ``EvaluationError``; ``CostExceeded`` past the limit of one call or the budget."""
        slots: list[Any] = [None] * self._size
        for index, name in enumerate(self._slots):
            slots[index] = variables.get(name)
        limit = PER_CALL_LIMIT if budget is None else min(PER_CALL_LIMIT, budget.left)
        activation = Activation(slots, limit)
        try:
            value = self._step(activation)
            activation.spend(0)
            return value
        except RecursionError as error:
            raise EvaluationError("the expression is nested too deeply") from error
        finally:
            if budget is not None:
                budget.left -= activation.cost


class Environment:
    """Compiles expressions over the same variables. ``constructs`` are types that ``Name{…}`` may make;
    ``Object.*`` stands for every name below ``Object``."""

    def __init__(self, variables: Mapping[str, Type], constructs: Mapping[str, Type] | None = None) -> None:
        self._variables = variables
        self._slots = tuple(variables)
        self._constructs = constructs or {}
        self._functions = functions.table(STANDARD, STRINGS, LISTS, NETWORK, AUTHORIZER)

    def extended(self, variables: Mapping[str, Type]) -> Environment:
        """With other variables, sharing the rest."""
        made = Environment.__new__(Environment)
        made._variables = variables
        made._slots = tuple(variables)
        made._constructs = self._constructs
        made._functions = self._functions
        return made

    def compile(self, source: str) -> Program:
        """Raises ``CompileError`` with cel-go's texts."""
        try:
            return self._compile(source)
        except RecursionError:
            raise CompileError(source[:200], [Issue(0, "expression recursion limit exceeded")]) from None

    def _compile(self, source: str) -> Program:
        node = parse(source)
        checker = Checker(self._variables, self._functions, self._constructs)
        kind = checker.check(node)
        issues = [*checker.issues, *_patterns(node)]
        if issues:
            raise CompileError(source, issues)
        compiler = Compiler(self._slots, self._functions)
        step = compiler.compile(node)
        estimate = Estimator(self._functions, self._variables.get("self")).cost(node)
        return Program(source, kind, estimate, _names(node), self._slots, compiler.size, step)


def _walk(node: syntax.Node) -> list[syntax.Node]:
    found = [node]
    for each in found:
        found.extend(each.children())
    return found


def _names(node: syntax.Node) -> frozenset[str]:
    return frozenset(each.name for each in _walk(node) if isinstance(each, syntax.Ident))


def _patterns(node: syntax.Node) -> list[Issue]:
    """Regular expressions written out in the expression must be some."""
    issues = []
    for each in _walk(node):
        if not isinstance(each, syntax.Call) or each.function not in ("matches", "find", "findAll"):
            continue
        arguments = each.all()
        if (
            len(arguments) > 1
            and isinstance(arguments[1], syntax.Literal)
            and isinstance(arguments[1].value, str)
        ):
            wrong = pattern_error(arguments[1].value)
            if wrong:
                issues.append(Issue(arguments[1].offset, f"invalid matches argument: {wrong}"))
    return issues
