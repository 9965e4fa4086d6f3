"""Gives every part of an expression its type, and complains of what cannot be evaluated (cel-go's texts)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sublet.machinery.cel import syntax, types
from sublet.machinery.cel.errors import Issue
from sublet.machinery.cel.functions import Function, Overload
from sublet.machinery.cel.lexer import RESERVED
from sublet.machinery.cel.syntax import Node
from sublet.machinery.cel.types import BOOL, DOUBLE, DYN, ERROR, INT, NULL, UINT, Type
from sublet.machinery.cel.values import UInt

MAX_ISSUES = 100


class Checker:
    """Checks one expression; findings gather in :attr:`issues`."""

    def __init__(
        self,
        variables: Mapping[str, Type],
        functions: Mapping[str, Function],
        constructs: Mapping[str, Type],
    ) -> None:
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._functions = functions
        self._constructs = constructs
        self._mixed: set[int] = set()
        """List literals whose items may differ: the arguments of ``format``."""
        self.issues: list[Issue] = []

    def check(self, node: Node) -> Type:
        """The node's type, kept in the node too."""
        match node:
            case syntax.Literal():
                found = _literal(node)
            case syntax.Ident():
                found = self._ident(node)
            case syntax.Select():
                found = self._select(node)
            case syntax.Call():
                found = self._call(node)
            case syntax.Logical():
                found = self._logical(node)
            case syntax.Conditional():
                found = self._conditional(node)
            case syntax.ListOf():
                found = self._list(node)
            case syntax.MapOf():
                found = self._map(node)
            case syntax.Construct():
                found = self._construct(node)
            case syntax.Comprehension():
                found = self._comprehension(node)
            case syntax.Bind():
                found = self._bind(node)
            case _:
                raise TypeError(f"no rule for {type(node).__name__}")
        node.type = found
        return found

    def _complain(self, node: Node, message: str) -> Type:
        if len(self.issues) < MAX_ISSUES:
            self.issues.append(Issue(node.offset, message))
        return ERROR

    def _variable(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _ident(self, node: syntax.Ident) -> Type:
        found = self._variable(node.name)
        if found is not None:
            return found
        if node.name in types.TYPE_NAMES:
            return Type("type", kind="type")
        return self._complain(node, f"undeclared reference to '{node.name}' (in container '')")

    # -- selection --

    def _select(self, node: syntax.Select) -> Type:
        name = syntax.qualified_name(node)
        if name in self._scopes[0]:
            node.qualified = name
            return self._scopes[0][name]
        if name in types.TYPE_NAMES and self._variable(name.partition(".")[0]) is None:
            node.qualified = name
            return Type("type", kind="type")
        operand = self.check(node.operand)
        found = self._field(node, operand)
        if node.test:
            return BOOL
        if (node.optional or operand.kind == "optional") and found is not ERROR and found.kind != "optional":
            return types.optional_of(found)
        return found

    def _field(self, node: syntax.Select, operand: Type) -> Type:
        node.key = node.name
        if operand.kind == "optional":
            operand = operand.parameters[0]
        if operand in (DYN, ERROR) or operand.kind == "parameter":
            return DYN if operand != ERROR else ERROR
        if operand.kind == "map":
            return operand.parameters[1]
        if operand.kind == "object":
            if operand.fields is None:
                return DYN
            fields = operand.fields()
            # A reserved word may stand for the property that it is escaped to.
            field = fields.get(node.name) or (
                fields.get(f"__{node.name}__") if node.name in RESERVED else None
            )
            if field is None:
                return self._complain(node, f"undefined field '{node.name}'")
            node.key = field.key
            node.null_is_absent = operand.null_is_absent
            return field.type
        return self._complain(node, f"type '{operand}' does not support field selection")

    # -- calls --

    def _call(self, node: syntax.Call) -> Type:
        self._join_namespace(node)
        if node.function == "format" and node.target is not None and node.arguments:
            self._mixed.add(id(node.arguments[0]))
        arguments = [self.check(argument) for argument in node.all()]
        function = self._functions.get(node.function)
        if function is None:
            return self._complain(node, f"undeclared reference to '{node.function}' (in container '')")
        if ERROR in arguments:
            return ERROR
        return self._resolve(node, function, arguments)

    def _join_namespace(self, node: syntax.Call) -> None:
        """``sets.contains(a, b)`` has no target: the name before the dot belongs to the function's."""
        if node.target is None:
            return
        prefix = syntax.qualified_name(node.target)
        if (
            prefix
            and f"{prefix}.{node.function}" in self._functions
            and self._variable(prefix.partition(".")[0]) is None
        ):
            node.function = f"{prefix}.{node.function}"
            node.target = None

    def _resolve(self, node: syntax.Call, function: Function, arguments: Sequence[Type]) -> Type:
        member = node.target is not None
        results: list[Type] = []
        exact = True
        for candidate in function.overloads:
            result = _match(candidate, member, arguments)
            if result is not None:
                results.append(result)
        if not results:
            shown = ", ".join(map(str, arguments))
            applied = f"{arguments[0]}.({', '.join(map(str, arguments[1:]))})" if member else f"({shown})"
            return self._complain(
                node, f"found no matching overload for '{node.function}' applied to '{applied}'"
            )
        exact = not any(_vague(argument) for argument in arguments)
        node.exact = exact
        first = results[0]
        return first if all(result == first for result in results) else DYN

    # -- operators and literals --

    def _logical(self, node: syntax.Logical) -> Type:
        kinds = [self.check(part) for part in node.parts]
        for kind in kinds[1:] if len(kinds) > 1 else kinds:
            if kind not in (BOOL, DYN, ERROR) or kinds[0] not in (BOOL, DYN, ERROR):
                return self._complain(
                    node,
                    f"found no matching overload for '_{node.operator}_' applied to '({kinds[0]}, {kind})'",
                )
        return BOOL

    def _conditional(self, node: syntax.Conditional) -> Type:
        condition, yes, no = (self.check(part) for part in (node.condition, node.yes, node.no))
        if ERROR in (condition, yes, no):
            return ERROR
        joined = types.join(yes, no)
        if condition not in (BOOL, DYN) or joined is None:
            return self._complain(
                node, f"found no matching overload for '_?_:_' applied to '({condition}, {yes}, {no})'"
            )
        return joined

    def _common(self, nodes: Sequence[Node], kinds: Sequence[Type]) -> Type:
        """The type of all items: Kubernetes wants lists and maps of one type."""
        found: Type | None = None
        for node, kind in zip(nodes, kinds, strict=True):
            joined = kind if found is None else types.join(found, kind)
            if joined is None:
                return self._complain(node, f"expected type '{found}' but found '{kind}'")
            found = joined
        return DYN if found is None else found

    def _list(self, node: syntax.ListOf) -> Type:
        kinds = []
        for index, item in enumerate(node.items):
            kind = self.check(item)
            if index in node.optional:
                kind = self._unwrapped(item, kind)
            kinds.append(kind)
        if id(node) in self._mixed and ERROR not in kinds:
            return types.list_of(DYN, len(node.items))
        return types.list_of(self._common(node.items, kinds), len(node.items))

    def _unwrapped(self, node: Node, kind: Type) -> Type:
        if kind.kind == "optional":
            return kind.parameters[0]
        if kind in (DYN, ERROR):
            return kind
        return self._complain(node, f"expected type 'optional_type({kind})' but found '{kind}'")

    def _map(self, node: syntax.MapOf) -> Type:
        keys, values = [], []
        for key, value, optional in node.entries:
            keys.append(self.check(key))
            kind = self.check(value)
            values.append(self._unwrapped(value, kind) if optional else kind)
        return types.map_of(
            self._common([key for key, _, _ in node.entries], keys),
            self._common([value for _, value, _ in node.entries], values),
            len(node.entries),
        )

    def _construct(self, node: syntax.Construct) -> Type:
        found = self._constructs.get(node.name) or self._constructs.get(node.name.partition(".")[0] + ".*")
        if found is None:
            return self._complain(node, f"undeclared reference to '{node.name}' (in container '')")
        known = found.fields() if found.fields is not None else None
        for name, value, optional in node.fields:
            kind = self.check(value)
            if optional:
                kind = self._unwrapped(value, kind)
            if known is None:
                continue
            field = known.get(name)
            if field is None:
                self._complain(value, f"undefined field '{name}'")
            elif not types.assignable(field.type, kind, {}):
                self._complain(
                    value, f"expected type of field '{name}' is '{field.type}' but provided type is '{kind}'"
                )
        return Type(node.name, (), "object", found.fields)

    # -- scopes --

    def _comprehension(self, node: syntax.Comprehension) -> Type:
        operand = self.check(node.operand)
        key, value = self._range(node, operand)
        scope = (
            {node.first: key, node.second: value}
            if node.second
            else {node.first: value if operand.kind != "map" else key}
        )
        self._scopes.append(scope)
        condition = None if node.filter is None else self.check(node.filter)
        body = self.check(node.body)
        self._scopes.pop()
        item = key if operand.kind == "map" else value
        wrong = _no_predicate(node.kind, condition if condition is not None else body, item, body)
        if wrong and (condition is not None or node.kind in _PREDICATES):
            return self._complain(node, wrong)
        if node.kind in _PREDICATES:
            return types.list_of(item, operand.max_size) if node.kind == "filter" else BOOL
        if node.kind in ("map", "transformList"):
            return types.list_of(body, operand.max_size)
        if node.kind == "transformMap":
            return types.map_of(key, body, operand.max_size)
        return body if body.kind == "map" else types.map_of(DYN, DYN, operand.max_size)

    def _range(self, node: syntax.Comprehension, operand: Type) -> tuple[Type, Type]:
        if operand.kind == "list":
            return INT, operand.parameters[0]
        if operand.kind == "map":
            return operand.parameters[0], operand.parameters[1]
        if operand not in (DYN, ERROR):
            self._complain(
                node.operand,
                f"expression of type '{operand}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        return DYN, DYN

    def _bind(self, node: syntax.Bind) -> Type:
        value = self.check(node.value)
        inner = self._unwrapped(node.value, value) if node.optional else value
        self._scopes.append({node.name: inner})
        body = self.check(node.body)
        self._scopes.pop()
        if node.optional == "optMap":
            return types.optional_of(body)
        if not node.optional:
            return body
        self._unwrapped(node.body, body)
        return body


def _literal(node: syntax.Literal) -> Type:
    value = node.value
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, UInt):
        return UINT
    if isinstance(value, int):
        return INT
    if isinstance(value, float):
        return DOUBLE
    return types.sized("string" if isinstance(value, str) else "bytes", len(value))


_PREDICATES = ("all", "exists", "existsOne", "filter")


def _no_predicate(macro: str, condition: Type, item: Type, body: Type) -> str:
    """What is wrong with a condition that is none: said of the operator in the macro's expansion."""
    if condition in (BOOL, DYN, ERROR):
        return ""
    match macro:
        case "all" | "exists":
            operator, operands = ("_&&_" if macro == "all" else "_||_"), f"bool, {condition}"
        case "existsOne":
            operator, operands = "_?_:_", f"{condition}, int, int"
        case "transformMap" | "transformMapEntry":
            operator, operands = "_?_:_", f"{condition}, map(dyn, dyn), map(dyn, dyn)"
        case _:
            made = types.list_of(item if macro == "filter" else body)
            operator, operands = "_?_:_", f"{condition}, {made}, {made}"
    return f"found no matching overload for '{operator}' applied to '({operands})'"


def _vague(kind: Type) -> bool:
    return kind == DYN or any(_vague(parameter) for parameter in kind.parameters)


def _match(candidate: Overload, member: bool, arguments: Sequence[Type]) -> Type | None:
    if candidate.member != member or len(candidate.parameters) != len(arguments):
        return None
    bound: dict[str, Type] = {}
    for formal, actual in zip(candidate.parameters, arguments, strict=True):
        if not types.assignable(formal, actual, bound):
            return None
    return types.substitute(candidate.result, bound)
