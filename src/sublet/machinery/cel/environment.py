"""Where expressions are compiled: which variables, types and functions there are; and the programs that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sublet.machinery.cel import functions, syntax, values
from sublet.machinery.cel.amounts import AMOUNTS
from sublet.machinery.cel.authorizer import AUTHORIZER
from sublet.machinery.cel.checker import Checker
from sublet.machinery.cel.errors import CompileError, EvaluationError, InstantiationError, Issue
from sublet.machinery.cel.estimate import Estimator
from sublet.machinery.cel.evaluator import Activation, Compiler, Step
from sublet.machinery.cel.lists import LISTS
from sublet.machinery.cel.network import NETWORK
from sublet.machinery.cel.parser import parse
from sublet.machinery.cel.standard import STANDARD
from sublet.machinery.cel.strings import STRINGS, compiled
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
    ``Object.*`` stands for every name below ``Object``. ``binds``: expressions may name parts (``cel.bind``)."""

    def __init__(
        self,
        variables: Mapping[str, Type],
        constructs: Mapping[str, Type] | None = None,
        *,
        binds: bool = False,
    ) -> None:
        self._variables = variables
        self._slots = tuple(variables)
        self._constructs = constructs or {}
        self._binds = binds
        self._functions = functions.table(STANDARD, STRINGS, LISTS, AMOUNTS, NETWORK, AUTHORIZER)

    def extended(self, variables: Mapping[str, Type]) -> Environment:
        """With other variables, sharing the rest."""
        made = Environment.__new__(Environment)
        made._variables = variables
        made._slots = tuple(variables)
        made._constructs = self._constructs
        made._binds = self._binds
        made._functions = self._functions
        return made

    def compile(self, source: str) -> Program:
        """Raises ``CompileError`` with cel-go's texts."""
        try:
            return self._compile(source)
        except RecursionError:
            raise CompileError(source[:200], [Issue(0, "expression recursion limit exceeded")]) from None

    def _compile(self, source: str) -> Program:
        node = parse(source, binds=self._binds)
        checker = Checker(self._variables, self._functions, self._constructs)
        kind = checker.check(node)
        issues = checker.issues or _literals(node)
        if issues:
            raise CompileError(source, issues)
        _check_patterns(node)
        compiler = Compiler(self._slots, self._functions)
        step = compiler.compile(node)
        root = self._variables.get("self") or self._variables.get("device")
        estimate = Estimator(self._functions, root).cost(node)
        return Program(source, kind, estimate, _names(node), self._slots, compiler.size, step)


def _walk(node: syntax.Node) -> list[syntax.Node]:
    found = [node]
    for each in found:
        found.extend(each.children())
    return found


def _names(node: syntax.Node) -> frozenset[str]:
    return frozenset(each.name for each in _walk(node) if isinstance(each, syntax.Ident))


def _literals(node: syntax.Node) -> list[Issue]:
    """Durations, times and regular expressions that are written out must be some."""
    issues = []
    for each in _walk(node):
        read = _READ.get(each.function) if isinstance(each, syntax.Call) else None
        if read is None or not isinstance(each, syntax.Call) or not each.arguments:
            continue
        first = each.arguments[0]
        if isinstance(first, syntax.Literal) and isinstance(first.value, str):
            try:
                read(first.value)
            except EvaluationError:
                issues.append(Issue(first.offset, f"invalid {each.function} argument"))
    return issues


def _check_patterns(node: syntax.Node) -> None:
    """Other regular expressions that are written out. Raises ``InstantiationError``."""
    for each in _walk(node):
        if not isinstance(each, syntax.Call) or each.function not in ("matches", "find", "findAll"):
            continue
        pattern = each.all()[1:2]
        if pattern and isinstance(pattern[0], syntax.Literal) and isinstance(pattern[0].value, str):
            try:
                compiled(pattern[0].value)
            except EvaluationError as error:
                raise InstantiationError(str(error)) from None


_READ = {"duration": values.duration, "timestamp": values.timestamp, "matches": compiled}
