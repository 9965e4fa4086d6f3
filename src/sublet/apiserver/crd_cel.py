"""``x-kubernetes-validations`` of custom resources: checked with the definition, run with every write (reference B.18).

The expression language is imported when the first schema with rules is met.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sublet.apiserver import crd_validation
from sublet.apiserver.crd_cel_types import Shape, shape
from sublet.machinery import codec
from sublet.machinery.cel import types
from sublet.machinery.cel.environment import BUDGET, QUICK_LIMIT, Budget, Environment, Program
from sublet.machinery.cel.errors import CompileError, CostExceeded, EvaluationError
from sublet.machinery.cel.types import BOOL, STRING
from sublet.machinery.cel.values import NONE, Optional
from sublet.machinery.jsonpath import JSONPath
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    FieldError,
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)

RULES = "x-kubernetes-validations"
RULE_LIMIT, DEFINITION_LIMIT = 10_000_000, 100_000_000
"""Of estimated cost: for one rule, and for all rules of one schema."""
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LONGEST_MESSAGE = 2048
_LONGEST_EVALUATED = 5 * 1024
_BLOCKING = frozenset((
    "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid",
))  # fmt: skip
_UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
_ADVICE = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    text: str
    program: Program
    message: str
    message_program: Program | None
    reason: str
    field_path: str
    transition: bool
    """It mentions oldSelf."""
    optional_old: bool


@dataclass(slots=True)
class Node:
    """A part of a schema with rules in it or below."""

    type_name: str
    adapt: Callable[[Any], Any] | None
    rules: list[Rule] = field(default_factory=list)
    properties: dict[str, Node] = field(default_factory=dict)
    items: Node | None = None
    keys: tuple[str, ...] | None = None
    """Of a list whose items correspond to those before by key; None: they do not."""
    additional: Node | None = None


# -- compiling --


class Compiling:
    """Compiles the rules of one schema; what is wrong goes to :attr:`errors`, with upstream's texts."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.total = 0.0
        self._base = Environment({})
        self._dear: list[tuple[float, FieldError]] = []

    def node(
        self, document: Document, path: str, *, root: bool = False, cardinality: float | None = 1,
        uncorrelatable: str = "", found: Shape | None = None,
    ) -> Node | None:  # fmt: skip
        """The part at a path; None where it has no rules. ``cardinality``: how often it may occur, None unbounded."""
        if not crd_validation.has_rules(document):
            return None
        found = found or shape(document, path, root=root)
        made = Node(str(document.get("type") or "object"), found.adapt)
        for index, stated in enumerate(document.get(RULES) or ()):
            where = f"{path}.{RULES}[{index}]"
            rule = self._rule(stated, where, found, cardinality, uncorrelatable)
            if rule is not None:
                made.rules.append(rule)
        for name, child in (document.get("properties") or {}).items():
            inner = self.node(
                child, f"{path}.properties[{name}]", cardinality=cardinality, uncorrelatable=uncorrelatable
            )
            if inner is not None:
                made.properties[name] = inner
        items = document.get("items")
        if isinstance(items, dict):
            keyed = document.get("x-kubernetes-list-type") == "map"
            made.keys = tuple(document.get("x-kubernetes-list-map-keys") or ()) if keyed else None
            made.items = self.node(
                items, f"{path}.items", cardinality=_times(cardinality, document.get("maxItems")),
                uncorrelatable=uncorrelatable or ("" if keyed else path),
            )  # fmt: skip
        additional = document.get("additionalProperties")
        if isinstance(additional, dict):
            made.additional = self.node(
                additional, f"{path}.additionalProperties",
                cardinality=_times(cardinality, document.get("maxProperties")), uncorrelatable=uncorrelatable,
            )  # fmt: skip
        return made

    def finish(self, path: str) -> None:
        """Complains of rules that together cost too much."""
        if self.total > DEFINITION_LIMIT:
            for _, error in sorted(self._dear, key=lambda pair: -pair[0])[:4]:
                self.errors.append(error)
            text = _too_dear(
                f"{RULES} estimated rule cost total for entire OpenAPIv3 schema", self.total, DEFINITION_LIMIT
            )
            self.errors.append(field_forbidden(path, text))

    def _rule(
        self, stated: Document, where: str, found: Shape, cardinality: float | None, uncorrelatable: str
    ) -> Rule | None:
        text = str(stated.get("rule") or "")
        self.errors += _stated_errors(stated, where)
        if not text.strip():
            return None
        optional_old = bool(stated.get("optionalOldSelf"))
        old = types.optional_of(found.type) if optional_old else found.type
        environment = self._base.extended({"self": found.type, "oldSelf": old})
        program = self._compile(
            environment, f"{where}.rule", text, stated, (BOOL, "cel expression must evaluate to a bool")
        )
        if program is None:
            return None
        transition = "oldSelf" in program.names
        if transition and uncorrelatable:
            why = (
                f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
            )
            self.errors.append(invalid(f"{where}.rule", text, why))
        if optional_old and not transition:
            why = "optionalOldSelf may not be set if oldSelf is not used in rule"
            self.errors.append(invalid(f"{where}.optionalOldSelf", True, why))
        self._charge(program, f"{where}.rule", cardinality, found, "rule")
        message = None
        if str(stated.get("messageExpression") or "").strip():
            message = self._compile(
                environment, f"{where}.messageExpression", str(stated["messageExpression"]), stated,
                (STRING, "messageExpression must evaluate to a string"),
            )  # fmt: skip
            if message is not None:
                self._charge(message, f"{where}.messageExpression", cardinality, found, "messageExpression")
        return Rule(
            text, program, str(stated.get("message") or "").strip(), message,
            str(stated.get("reason") or "FieldValueInvalid"), str(stated.get("fieldPath") or "").strip(),
            transition, optional_old,
        )  # fmt: skip

    def _compile(
        self,
        environment: Environment,
        where: str,
        text: str,
        stated: Document,
        wanted: tuple[types.Type, str],
    ) -> Program | None:
        try:
            program = environment.compile(text)
        except CompileError as error:
            self.errors.append(invalid(where, dict(stated), f"compilation failed: {error}"))
            return None
        if not types.assignable(wanted[0], program.type, {}):
            self.errors.append(invalid(where, dict(stated), wanted[1]))
            return None
        return program

    def _charge(
        self, program: Program, where: str, cardinality: float | None, found: Shape, what: str
    ) -> None:
        cost = program.estimate * (found.most if cardinality is None else cardinality)
        self.total += cost
        if cost > RULE_LIMIT:
            self.errors.append(field_forbidden(where, _too_dear(f"estimated {what} cost", cost, RULE_LIMIT)))
        if cost > 0:
            text = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema"
            self._dear.append((cost, field_forbidden(where, text)))


def _times(cardinality: float | None, most: Any) -> float | None:
    return None if cardinality is None or most is None else cardinality * float(most)


def _too_dear(what: str, cost: float, limit: float) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_ADVICE}"


def _stated_errors(stated: Document, where: str) -> list[FieldError]:
    """What is wrong besides the expressions themselves."""
    errors: list[FieldError] = []
    rule, message = str(stated.get("rule") or ""), stated.get("message")
    if not rule.strip():
        errors.append(required(f"{where}.rule", "rule is not specified"))
    if message is not None and message != "":
        if not message.strip():
            errors.append(invalid(f"{where}.message", message, "message must be non-empty if specified"))
        elif "\n" in message.strip():
            errors.append(invalid(f"{where}.message", message, "message must not contain line breaks"))
        if len(message) > _LONGEST_MESSAGE:
            errors.append(too_long(f"{where}.message", _LONGEST_MESSAGE))
    elif "\n" in rule.strip() and not stated.get("messageExpression"):
        errors.append(required(f"{where}.message", "message must be specified if rule contains line breaks"))
    expression = stated.get("messageExpression")
    if expression and not str(expression).strip():
        errors.append(required(f"{where}.messageExpression", "must be non-empty if specified"))
    reason = stated.get("reason")
    if reason is not None and reason not in _REASONS:
        errors.append(not_supported(f"{where}.reason", reason, _REASONS))
    path = stated.get("fieldPath")
    if path:
        try:
            JSONPath(str(path))
        except ValueError as error:
            errors.append(invalid(f"{where}.fieldPath", path, f"fieldPath must be a valid path: {error}"))
    return errors


def schema_errors(document: Document, path: str) -> list[FieldError]:
    """What is wrong with the rules of one version's openAPIV3Schema."""
    compiling = Compiling()
    compiling.node(document, path, root=True)
    compiling.finish(path)
    return compiling.errors


def compile_schema(document: Document) -> Node | None:
    """The rules of a schema, those that do not compile left out (they were refused with the definition)."""
    return Compiling().node(document, "", root=True)


# -- running --


async def validate(
    root: Node, new: Object, old: Object | None, found: Sequence[FieldError], warnings: list[str]
) -> list[FieldError]:
    """What the rules say of an object. ``found``: what its schema has to say, which may make it unfit for rules.

    A rule that fails where nothing changed becomes a warning. What takes long is run on a thread: the objects must be
    left alone for the while.
    """
    if any(error.reason in _BLOCKING for error in found):
        return [invalid("<nil>", None, _UNCHECKED)]
    run = run_rules(root, new, old, QUICK_LIMIT)
    if run.exhausted:
        run = await asyncio.to_thread(run_rules, root, new, old, BUDGET)
    warnings += run.warnings
    return run.errors


def run_rules(root: Node, new: Object, old: Object | None, budget: float) -> Run:
    """One run of all rules for at most ``budget`` cost units."""
    run = Run(Budget(budget))
    run.node(root, new, old, "")
    return run


class Run:
    """Walks an object with its rules; findings gather."""

    def __init__(self, budget: Budget) -> None:
        self.errors: list[FieldError] = []
        self.warnings: list[str] = []
        self._budget = budget

    @property
    def exhausted(self) -> bool:
        """The budget ran out, and perhaps not every rule was looked at."""
        return self._budget.left <= 0

    def node(self, node: Node, new: Any, old: Any, path: str) -> None:
        if new is None or self._budget.left <= 0:
            return
        if node.rules:
            self._rules(node, new, old, path)
        if isinstance(new, dict):
            before = old if isinstance(old, dict) else {}
            for name, value in new.items():
                child = node.properties.get(name)
                if child is not None:
                    self.node(child, value, before.get(name), f"{path}.{name}" if path else name)
                elif node.additional is not None:
                    self.node(node.additional, value, before.get(name), f"{path}[{name}]")
        elif isinstance(new, list) and node.items is not None:
            find = _correlated(node, old)
            for index, item in enumerate(new):
                self.node(node.items, item, find(item), f"{path}[{index}]")

    def _rules(self, node: Node, new: Any, old: Any, path: str) -> None:
        adapt = node.adapt
        value = new if adapt is None else adapt(new)
        before = old if adapt is None or old is None else adapt(old)
        untouched = old is not None and codec.same(new, old)
        for rule in node.rules:
            if rule.transition and old is None and not rule.optional_old:
                continue
            if self._budget.left <= 0:
                return
            given = before
            if rule.optional_old:
                given = NONE if old is None else Optional(before, True)
            error = self._rule(rule, node, {"self": value, "oldSelf": given}, path)
            if error is None:
                continue
            if untouched and not rule.transition:
                self.warnings.append(str(error))
            else:
                self.errors.append(error)

    def _rule(self, rule: Rule, node: Node, variables: Mapping[str, Any], path: str) -> FieldError | None:
        shown = path or "<nil>"
        saying = f"failed rule: {rule.text.strip()}" if not rule.message else rule.message
        try:
            if rule.program.evaluate(variables, self._budget) is True:
                return None
        except CostExceeded:
            if self._budget.left <= 0:
                return invalid(shown, node.type_name, _OUT_OF_BUDGET)
            return invalid(shown, node.type_name, f"'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {saying}")  # fmt: skip
        except EvaluationError as error:
            if str(error).startswith("no such overload"):
                return invalid(shown, node.type_name, f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {saying}")  # fmt: skip
            return invalid(shown, node.type_name, f"{error} evaluating rule: {saying}")
        where = _joined(path, rule.field_path) or "<nil>"
        return _refusal(rule.reason, where, node.type_name, self._message(rule, variables, saying))

    def _message(self, rule: Rule, variables: Mapping[str, Any], otherwise: str) -> str:
        if rule.message_program is None:
            return otherwise
        try:
            text = rule.message_program.evaluate(variables, self._budget)
        except (EvaluationError, CostExceeded):
            return otherwise
        text = text.strip() if isinstance(text, str) else ""
        return otherwise if not text or "\n" in text or len(text) > _LONGEST_EVALUATED else text


def _refusal(reason: str, where: str, type_name: str, message: str) -> FieldError:
    match reason:
        case "FieldValueForbidden":
            return field_forbidden(where, message)
        case "FieldValueRequired":
            return required(where, message)
        case "FieldValueDuplicate":
            return duplicate(where, type_name)
    return invalid(where, type_name, message)


def _joined(path: str, below: str) -> str:
    if not below:
        return path
    import re

    keys = re.sub(r"\[['\"]([^'\"]*)['\"]\]", r"[\1]", below)
    return f"{path}{keys}" if path else keys.removeprefix(".")


def _correlated(node: Node, old: Any) -> Callable[[Any], Any]:
    """What an item of a list was before; nothing where items have no keys."""
    if node.keys is None or not isinstance(old, list):
        return lambda _item: None
    keys = node.keys
    before = {repr([item.get(k) for k in keys]): item for item in old if isinstance(item, dict)}
    return lambda item: before.get(repr([item.get(k) for k in keys])) if isinstance(item, dict) else None
