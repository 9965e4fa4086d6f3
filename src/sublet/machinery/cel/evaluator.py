"""Turns checked syntax into closures that evaluate it and count what that costs (cel-go's cost units)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.machinery.cel import syntax, types
from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import CostExceeded, EvaluationError, no_such_overload
from sublet.machinery.cel.functions import Function, constant, fits, size_of
from sublet.machinery.cel.lists import sum_of
from sublet.machinery.cel.loops import loop
from sublet.machinery.cel.syntax import Node
from sublet.machinery.cel.values import NONE, Optional, Struct, TypeValue

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40


class Activation:
    """One evaluation: the variables' values by slot, and the cost so far."""

    __slots__ = ("cost", "limit", "slots")

    def __init__(self, slots: list[Any], limit: float) -> None:
        self.slots = slots
        self.cost: float = 0
        self.limit = limit

    def spend(self, cost: float) -> None:
        """Raises ``CostExceeded`` past the limit."""
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")


Step = Callable[[Activation], Any]


class Compiler:
    """Compiles one expression. ``slots`` says where each variable's value is; loops and binds take further ones."""

    def __init__(self, slots: Sequence[str], functions: Mapping[str, Function]) -> None:
        self._scope: dict[str, int] = {name: index for index, name in enumerate(slots)}
        self._functions = functions
        self.size = len(slots)

    def compile(self, node: Node) -> Step:
        match node:
            case syntax.Literal(value=value):
                return lambda a: value
            case syntax.Ident():
                return self._ident(node)
            case syntax.Select():
                return self._select(node)
            case syntax.Call():
                return self._call(node)
            case syntax.Logical():
                return _logical(node.operator, [self.compile(part) for part in node.parts])
            case syntax.Conditional():
                return self._conditional(node)
            case syntax.ListOf():
                return self._list(node)
            case syntax.MapOf():
                return self._map(node)
            case syntax.Construct():
                return self._construct(node)
            case syntax.Comprehension():
                return self._comprehension(node)
            case syntax.Bind():
                return self._bind(node)
        raise TypeError(f"no rule for {type(node).__name__}")

    def _within(self, names: Mapping[str, int], node: Node) -> Step:
        outer = self._scope
        self._scope = {**outer, **names}
        try:
            return self.compile(node)
        finally:
            self._scope = outer

    def _slot(self) -> int:
        self.size += 1
        return self.size - 1

    def _ident(self, node: syntax.Ident) -> Step:
        slot = self._scope.get(node.name)
        if slot is None:
            kind = TypeValue(types.TYPE_NAMES[node.name])
            return lambda a: kind

        return _variable(slot)

    def _select(self, node: syntax.Select) -> Step:
        slot = self._scope.get(node.qualified)
        if slot is not None:
            return _variable(slot)
        if node.qualified:
            kind = TypeValue(types.TYPE_NAMES[node.qualified])
            return lambda a: kind
        operand, key = self.compile(node.operand), node.key
        holds = _holds_value if node.null_is_absent else _holds
        if node.test:
            return _has(operand, key, holds)
        if node.optional:
            return _optional_select(operand, key, holds)

        def select(a: Activation) -> Any:
            a.cost += 1
            value = operand(a)
            if isinstance(value, dict):
                if holds(value, key):
                    return value[key]
                raise EvaluationError(f"no such key: {key}")
            if isinstance(value, Optional):
                return _within_optional(value, key, holds)
            raise v.no_such_key(value, key)

        return select

    def _call(self, node: syntax.Call) -> Step:
        function = self._functions[node.function]
        steps = [self.compile(argument) for argument in node.all()]
        call: Callable[..., Any] = function.call
        if node.function == "sum":
            call = sum_of(node.type.name)
        if not node.exact and node.function[0] not in "_@!-":
            call = _dispatched(function, node.target is not None)
        if function.cost is constant:
            return _cheap(call, steps)
        cost, price = function.cost, function.price

        def costly(a: Activation) -> Any:
            arguments = [step(a) for step in steps]
            a.spend(
                cost([size_of(argument) for argument in arguments]) if price is None else price(arguments)
            )
            return call(*arguments)

        return costly

    def _conditional(self, node: syntax.Conditional) -> Step:
        condition, yes, no = (self.compile(part) for part in (node.condition, node.yes, node.no))

        def conditional(a: Activation) -> Any:
            held = condition(a)
            if held is True:
                return yes(a)
            if held is False:
                return no(a)
            raise no_such_overload()

        return conditional

    def _list(self, node: syntax.ListOf) -> Step:
        steps = [self.compile(item) for item in node.items]
        optional = node.optional

        def make(a: Activation) -> Any:
            a.spend(LIST_COST)
            if not optional:
                return [step(a) for step in steps]
            made = []
            for index, step in enumerate(steps):
                value = step(a)
                if index not in optional:
                    made.append(value)
                elif isinstance(value, Optional):
                    if value.present:
                        made.append(value.value)
                else:
                    raise EvaluationError(
                        f"cannot initialize optional list element from non-optional value {value}"
                    )
            return made

        return make

    def _map(self, node: syntax.MapOf) -> Step:
        entries = [(self.compile(k), self.compile(x), optional) for k, x, optional in node.entries]

        def make(a: Activation) -> Any:
            a.spend(MAP_COST)
            made: dict[Any, Any] = {}
            for key_step, step, optional in entries:
                key, value = key_step(a), step(a)
                if isinstance(key, (dict, list, float)) or key is None:
                    raise EvaluationError(f"unsupported key type: {v.type_name(key)}")
                if optional:
                    if not isinstance(value, Optional):
                        raise EvaluationError(
                            f"cannot initialize optional entry '{key}' from non-optional value {value}"
                        )
                    if not value.present:
                        continue
                    value = value.value
                if key in made:
                    raise EvaluationError(f"Failed with repeated key [{key}]")
                made[key] = value
            return made

        return make

    def _construct(self, node: syntax.Construct) -> Step:
        fields = [(name, self.compile(value), optional) for name, value, optional in node.fields]
        type_name = node.name

        def make(a: Activation) -> Any:
            a.spend(STRUCT_COST)
            made: dict[str, Any] = {}
            for name, step, optional in fields:
                value = step(a)
                if optional and isinstance(value, Optional):
                    if not value.present:
                        continue
                    value = value.value
                made[name] = value
            return Struct(type_name, made)

        return make

    def _comprehension(self, node: syntax.Comprehension) -> Step:
        operand = self.compile(node.operand)
        first = self._slot()
        names = {node.first: first}
        second = -1
        if node.second:
            second = names[node.second] = self._slot()
        condition = None if node.filter is None else self._within(names, node.filter)
        body = self._within(names, node.body)
        return loop(node.kind, operand, first, second, condition, body)

    def _bind(self, node: syntax.Bind) -> Step:
        value, slot = self.compile(node.value), self._slot()
        body = self._within({node.name: slot}, node.body)
        if not node.optional:
            return _bound(value, slot, body)
        return _optional_map(value, slot, body, wrap=node.optional == "optMap")


def _variable(slot: int) -> Step:
    def variable(a: Activation) -> Any:
        a.cost += 1
        return a.slots[slot]

    return variable


def _logical(operator: str, parts: Sequence[Step]) -> Step:
    """``&&`` or ``||``: a deciding part wins over errors of the others."""
    decides = operator == "||"

    def logical(a: Activation) -> Any:
        error: EvaluationError | None = None
        for part in parts:
            try:
                value = part(a)
            except EvaluationError as raised:
                error = error or raised
                continue
            if value is decides:
                return decides
            if not isinstance(value, bool):
                error = error or no_such_overload()
        if error is not None:
            raise error
        return not decides

    return logical


def _cheap(call: Callable[..., Any], steps: Sequence[Step]) -> Step:
    if len(steps) == 1:
        (only,) = steps

        def one(a: Activation) -> Any:
            a.cost += 1
            return call(only(a))

        return one
    if len(steps) == 2:
        left, right = steps

        def two(a: Activation) -> Any:
            a.cost += 1
            return call(left(a), right(a))

        return two

    def many(a: Activation) -> Any:
        a.cost += 1
        return call(*[step(a) for step in steps])

    return many


def _dispatched(function: Function, member: bool) -> Callable[..., Any]:
    """Looks at the values' types first, which the checker could not know."""
    candidates = [o for o in function.overloads if o.member == member]

    def call(*arguments: Any) -> Any:
        for candidate in candidates:
            if fits(candidate, arguments):
                return function.call(*arguments)
        raise no_such_overload(function.name)

    return call


Holds = Callable[[Mapping[Any, Any], str], bool]


def _holds(value: Mapping[Any, Any], key: str) -> bool:
    return key in value


def _holds_value(value: Mapping[Any, Any], key: str) -> bool:
    return value.get(key) is not None


def _has(operand: Step, key: str, holds: Holds) -> Step:
    def has(a: Activation) -> Any:
        value = operand(a)
        if isinstance(value, Optional):
            if not value.present:
                return False
            value = value.value
        if isinstance(value, dict):
            return holds(value, key)
        return _has_no_fields(value, key)

    return has


def _has_no_fields(value: Any, key: str) -> bool:
    """False: what is no map, null among it, has none; but a list cannot be asked for one."""
    if isinstance(value, list):
        raise v.no_such_key(value, key)
    return False


def _within_optional(value: Optional, key: str, holds: Holds) -> Optional:
    if not value.present:
        return NONE
    if not isinstance(value.value, dict):
        _has_no_fields(value.value, key)
        return NONE
    return Optional(value.value[key], True) if holds(value.value, key) else NONE


def _optional_select(operand: Step, key: str, holds: Holds) -> Step:
    def select(a: Activation) -> Any:
        a.cost += 1
        value = operand(a)
        return _within_optional(value if isinstance(value, Optional) else Optional(value, True), key, holds)

    return select


def _bound(value: Step, slot: int, body: Step) -> Step:
    def bind(a: Activation) -> Any:
        a.spend(LIST_COST)
        a.slots[slot] = value(a)
        return body(a)

    return bind


def _optional_map(value: Step, slot: int, body: Step, *, wrap: bool) -> Step:
    def bind(a: Activation) -> Any:
        found = value(a)
        if not isinstance(found, Optional):
            raise no_such_overload()
        if not found.present:
            return NONE
        a.slots[slot] = found.value
        result = body(a)
        return Optional(result, True) if wrap else result

    return bind
