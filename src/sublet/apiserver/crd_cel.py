"""``x-kubernetes-validations`` of custom resources: compiled with the definition, run with every write (reference B.18).

The expression language is imported when the first schema with rules is met.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from sublet.apiserver import crd_fieldpaths
from sublet.apiserver.crd_cel_types import Shape, Shapes
from sublet.apiserver.crd_structural import has_rules
from sublet.apiserver.crd_values import TYPE_META, unchanged
from sublet.machinery import codec
from sublet.machinery.cel import types
from sublet.machinery.cel.environment import BUDGET, QUICK_LIMIT, Budget, Environment, Program
from sublet.machinery.cel.errors import CompileError, CostExceeded, EvaluationError
from sublet.machinery.cel.types import BOOL, STRING
from sublet.machinery.cel.values import NONE, Optional
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema
from sublet.machinery.status import OMITTED, FieldError, duplicate, field_forbidden, invalid, required

RULES = "x-kubernetes-validations"
RULE_LIMIT, DEFINITION_LIMIT = 10_000_000, 100_000_000
"""Of estimated cost: for one rule, and for all rules of one schema."""
_LONGEST_EVALUATED = 5 * 1024
_BLOCKING = frozenset((
    "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid",
))  # fmt: skip
_UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
_ADVICE = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"

Document = Mapping[str, Any]


class Rule(Struct, frozen=True):
    """One compiled rule."""

    text: str
    program: Program
    message: str
    message_program: Program | None
    reason: str
    field_path: str
    """Below the value, as field errors write it."""
    transition: bool
    """It mentions oldSelf."""
    optional_old: bool


class Node(Struct):
    """A part of a schema with rules in it or below."""

    type_name: str
    adapt: Callable[[Any], Any] | None
    schema: Schema
    rules: list[Rule] = field(default_factory=list)
    properties: dict[str, Node] = field(default_factory=dict)
    items: Node | None = None
    keys: tuple[str, ...] | None = None
    """Of a list whose items correspond to those before by key; None: they do not."""
    additional: Node | None = None
    broken: Sequence[str] = ()
    """What is told of its rules that do not compile."""


# -- compiling --


class Compiling:
    """Compiles the rules of one schema; what is wrong goes to :attr:`errors`, with upstream's texts."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.total = 0.0
        self._base = Environment({})
        self._shapes = Shapes()
        self._dear: list[tuple[float, FieldError]] = []
        self._broken: list[str] = []

    def node(self, document: Document, path: str, *, root: bool = False) -> Node | None:
        """The part at a path; None where no rule can be run."""
        found = self._shapes.of(document, path, root=root) if has_rules(document) else None
        if found is None:
            return None
        made = Node(str(document.get("type") or ""), found.adapt, Schema(document))
        self._broken = []
        made.rules = self.rules(document, path, 1, "", root=root)
        made.broken = self._broken
        for name, child in (document.get("properties") or {}).items():
            inner = self.node(child, f"{path}.properties[{name}]")
            if inner is not None:
                made.properties[name] = inner
        if isinstance(document.get("items"), dict):
            keyed = document.get("x-kubernetes-list-type") == "map"
            made.keys = tuple(document.get("x-kubernetes-list-map-keys") or ()) if keyed else None
            made.items = self.node(document["items"], f"{path}.items")
        if isinstance(document.get("additionalProperties"), dict):
            made.additional = self.node(document["additionalProperties"], f"{path}.additionalProperties")
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

    def rules(
        self, document: Document, path: str, cardinality: float | None, uncorrelatable: str, *, root: bool
    ) -> list[Rule]:
        """The rules of one part. ``cardinality``: how often it may occur, None unbounded; ``uncorrelatable``: the
        list above it whose items cannot be told from before."""
        found = self._shapes.of(document, path, root=root)
        if found is None:
            kept = str(bool(document.get("x-kubernetes-preserve-unknown-fields"))).lower()
            why = (
                "rule declared on schema that does not support validation rules type: "
                f"'{document.get('type') or ''}' x-kubernetes-preserve-unknown-fields: '{kept}'"
            )
            self.errors.append(FieldError("InternalError", f"{path}.{RULES}", f"Internal error: {why}"))
            return []
        made = []
        for index, stated in enumerate(document.get(RULES) or ()):
            rule = self._rule(
                stated, f"{path}.{RULES}[{index}]", found, document, cardinality, uncorrelatable
            )
            if rule is not None:
                made.append(rule)
        return made

    def _rule(
        self, stated: Document, where: str, found: Shape, document: Document, cardinality: float | None,
        uncorrelatable: str,
    ) -> Rule | None:  # fmt: skip
        text = str(stated.get("rule") or "")
        if not text.strip():
            return None
        optional_old = bool(stated.get("optionalOldSelf"))
        old = types.optional_of(found.type) if optional_old else found.type
        environment = self._base.extended({"self": found.type, "oldSelf": old})
        program = self._compile(environment, f"{where}.rule", text, stated, "rule")
        if program is None:
            self._check_old_self(stated, where, used=False)
            return None
        times = found.most if cardinality is None else cardinality
        self._charge(program.estimate * times, f"{where}.rule", "rule")
        message = None
        if str(stated.get("messageExpression") or "").strip():
            at = f"{where}.messageExpression"
            message = self._compile(
                environment, at, str(stated["messageExpression"]), stated, "messageExpression"
            )
            if message is not None:
                self._charge(message.estimate, at, "messageExpression")
        transition = "oldSelf" in program.names
        if transition and uncorrelatable:
            why = (
                f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
            )
            self.errors.append(invalid(f"{where}.rule", text, why))
        self._check_old_self(stated, where, used=transition)
        return Rule(
            text, program, str(stated.get("message") or "").strip(), message,
            str(stated.get("reason") or "FieldValueInvalid"), _field_path(stated, document), transition, optional_old,
        )  # fmt: skip

    def _check_old_self(self, stated: Document, where: str, *, used: bool) -> None:
        if not used and stated.get("optionalOldSelf") is not None:
            why = "may not be set if oldSelf is not used in rule"
            self.errors.append(invalid(f"{where}.optionalOldSelf", bool(stated["optionalOldSelf"]), why))

    def _compile(
        self, environment: Environment, where: str, text: str, stated: Document, what: str
    ) -> Program | None:
        is_rule = what == "rule"
        try:
            program = environment.compile(text)
        except CompileError as error:
            told = error.told if is_rule else f"messageExpression {error.told.removeprefix('program ')}"
        else:
            if program.type == (BOOL if is_rule else STRING):
                return program
            told = (
                "cel expression must evaluate to a bool"
                if is_rule
                else "messageExpression must evaluate to a string"
            )
        self.errors.append(invalid(where, _shown(stated), told))
        if is_rule:
            self._broken.append(told)
        return None

    def _charge(self, cost: float, where: str, what: str) -> None:
        self.total += cost
        if cost > RULE_LIMIT:
            self.errors.append(field_forbidden(where, _too_dear(f"estimated {what} cost", cost, RULE_LIMIT)))
        if cost > 0:
            text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            self._dear.append((cost, field_forbidden(where, text)))


def _field_path(stated: Document, document: Document) -> str:
    path = str(stated.get("fieldPath") or "")
    try:
        return crd_fieldpaths.resolve(path, document)[0]
    except ValueError:
        return ""  # refused with the definition


def _shown(stated: Document) -> Document:
    """A rule as upstream's internal type shows it."""
    return {
        "Rule": stated.get("rule") or "", "Message": stated.get("message") or "",
        "MessageExpression": stated.get("messageExpression") or "", "Reason": stated.get("reason"),
        "FieldPath": stated.get("fieldPath") or "", "OptionalOldSelf": stated.get("optionalOldSelf"),
    }  # fmt: skip


def _too_dear(what: str, cost: float, limit: float) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_ADVICE}"


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
    run.node(root, new, old, "", _Before(new, old, root.schema))
    return run


def default_errors(
    document: Document, schema_path: str, value: Any, path: str, budget: float
) -> tuple[list[FieldError], float]:
    """(what the rules of a part of a schema say of its default, the budget that is left: negative where none is).

    The default is looked at as something that stays, then as something new.
    """
    root, left = Compiling().node(document, schema_path), budget
    if root is None:
        return [], left
    for old in (value, None):
        run = Run(Budget(budget), tolerant=False)
        run.node(root, value, old, path, _Before(value, old, root.schema))
        left = min(left, -1 if run.exhausted and run.errors else run.left)
        if run.errors:
            return run.errors, left
    return [], left


class _Stop(Exception):
    """No further rule is to be run."""


class _Before:
    """A value and what it was, where that can be told: whether anything changed is found out once, when asked."""

    __slots__ = ("_same", "new", "old", "schema")

    def __init__(self, new: Any, old: Any, schema: Schema) -> None:
        self.new, self.old, self.schema = new, old, schema
        self._same: bool | None = None

    @property
    def same(self) -> bool:
        if self._same is None:
            self._same = self.old is not None and unchanged(self.new, self.old, self.schema)
        return self._same


class Run:
    """Walks an object with its rules; findings gather.

    Where it is ``tolerant``, what was wrong before becomes a warning, and rules that do not compile are passed over.
    """

    def __init__(self, budget: Budget, *, tolerant: bool = True) -> None:
        self.errors: list[FieldError] = []
        self.warnings: list[str] = []
        self._budget, self._tolerant = budget, tolerant

    @property
    def left(self) -> float:
        """What is left of the budget."""
        return self._budget.left

    @property
    def exhausted(self) -> bool:
        """The budget ran out, and perhaps not every rule was looked at."""
        return self._budget.left <= 0

    def node(self, node: Node, new: Any, old: Any, path: str, before: _Before) -> None:
        """Runs the rules at and below a value. ``before``: the nearest value around it, or itself, that was there."""
        try:
            self._node(node, new, old, path, before)
        except _Stop:
            return

    def _node(self, node: Node, new: Any, old: Any, path: str, before: _Before) -> None:
        if new is None:
            return
        if node.broken and not self._tolerant:
            for told in node.broken:
                self.errors.append(invalid(path, node.type_name, f"rule compile error: {told}"))
        if node.rules:
            self._rules(node, new, old, path, before)
        if isinstance(new, dict):
            was = old if isinstance(old, dict) else {}
            for name, value in new.items():
                child = node.properties.get(name)
                below = was.get(name)
                where = f"{path}.{name}" if path else name
                if child is None:
                    child, where = node.additional, f"{path}[{name}]"
                if child is None:
                    continue
                nearest = before if below is None else _Before(value, below, child.schema)
                if not path and name in TYPE_META:
                    nearest = _Before(value, None, child.schema)
                self._node(child, value, below, where, nearest)
        elif isinstance(new, list) and node.items is not None:
            find = _correlated(node, old)
            for index, item in enumerate(new):
                below = find(item)
                nearest = before if below is None else _Before(item, below, node.items.schema)
                self._node(node.items, item, below, f"{path}[{index}]", nearest)

    def _rules(self, node: Node, new: Any, old: Any, path: str, before: _Before) -> None:
        adapt = node.adapt
        value = new if adapt is None else adapt(new)
        was = old if adapt is None or old is None else adapt(old)
        for rule in node.rules:
            if rule.transition and old is None and not rule.optional_old:
                continue
            given = was
            if rule.optional_old:
                given = NONE if old is None else Optional(was, True)
            error = self._rule(rule, node, new, {"self": value, "oldSelf": given}, path)
            if error is None:
                continue
            if self._tolerant and not rule.transition and before.same:
                self.warnings.append(str(error))
            else:
                self.errors.append(error)

    def _rule(
        self, rule: Rule, node: Node, new: Any, variables: Mapping[str, Any], path: str
    ) -> FieldError | None:
        shown, saying = path or "<nil>", rule.message or rule.text.strip()
        if self._budget.left <= 0:
            self._stop(shown, node, _OUT_OF_BUDGET)
        try:
            if rule.program.evaluate(variables, self._budget) is True:
                return None
        except CostExceeded:
            if self._budget.left <= 0:
                self._stop(shown, node, _OUT_OF_BUDGET)
            self._stop(shown, node, f"'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {saying}")  # fmt: skip
        except EvaluationError as error:
            # Of what goes wrong nothing is tolerated: it says nothing of the value.
            why = f"{error} evaluating rule: {saying}"
            if str(error).startswith("no such overload"):
                why = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {saying}"
            self.errors.append(invalid(shown, node.type_name, why))
            return None
        where = _joined(path, rule.field_path) or "<nil>"
        bad = OMITTED if node.type_name in ("object", "array") else new
        return _refusal(rule.reason, where, bad, self._message(rule, node, variables, where))

    def _stop(self, where: str, node: Node, why: str) -> None:
        self.errors.append(invalid(where, node.type_name, why))
        raise _Stop

    def _message(self, rule: Rule, node: Node, variables: Mapping[str, Any], where: str) -> str:
        otherwise = rule.message or f"failed rule: {rule.text.strip()}"
        if rule.message_program is None:
            return otherwise
        try:
            text = rule.message_program.evaluate(variables, self._budget)
        except CostExceeded:
            why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
            if self._budget.left > 0:
                source = codec.encode_json(rule.message_program.source).decode()
                why = f"no further validation rules will be run due to call cost exceeds limit for messageExpression: {source}"
            self._stop(where, node, why)
        except EvaluationError:
            return otherwise
        text = text.strip() if isinstance(text, str) else ""
        too_long = len(text.encode()) > _LONGEST_EVALUATED
        return otherwise if not text or "\n" in text or too_long else text


def _refusal(reason: str, where: str, value: Any, message: str) -> FieldError:
    match reason:
        case "FieldValueForbidden":
            return field_forbidden(where, message)
        case "FieldValueRequired":
            return required(where, message)
        case "FieldValueDuplicate":
            return duplicate(where, value)
    return invalid(where, value, message)


def _joined(path: str, below: str) -> str:
    return f"{path}.{below}" if path and below else path or below


def _correlated(node: Node, old: Any) -> Callable[[Any], Any]:
    """What an item of a list was before; nothing where items have no keys."""
    if node.keys is None or not isinstance(old, list):
        return lambda _item: None
    keys = node.keys
    before = {repr([item.get(k) for k in keys]): item for item in old if isinstance(item, dict)}
    return lambda item: before.get(repr([item.get(k) for k in keys])) if isinstance(item, dict) else None
