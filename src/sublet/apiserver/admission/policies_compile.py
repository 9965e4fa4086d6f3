"""The expressions of admission policies and of webhooks' matchConditions, compiled (reference B.17, B.18).

Imports the expression language, which is only loaded once the first expression is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from sublet.machinery.cel import types
from sublet.machinery.cel.admission import environments
from sublet.machinery.cel.environment import Environment, Program
from sublet.machinery.cel.errors import CompileError
from sublet.machinery.cel.types import BOOL, DYN, NULL, STRING, Type
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, invalid

CONDITIONS_BUDGET = 2_500_000
"""Cost units for all match conditions of one policy or webhook: a quarter of what evaluation may take."""


class Condition(Struct, frozen=True):
    name: str
    program: Program


class Validation(Struct, frozen=True):
    expression: str
    program: Program
    message: str
    message_program: Program | None
    reason: str


class Mutation(Struct, frozen=True):
    apply: bool
    """ApplyConfiguration; else JSONPatch."""
    program: Program


class Compiled(Struct):
    """A policy whose expressions all compiled, or :attr:`errors`."""

    conditions: list[Condition] = field(default_factory=list)
    variables: dict[str, Program] = field(default_factory=dict)
    validations: list[Validation] = field(default_factory=list)
    audits: list[tuple[str, Program]] = field(default_factory=list)
    mutations: list[Mutation] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)


class _Compiling:
    """Compiles one policy; errors gather."""

    def __init__(self, spec: Mapping[str, Any], *, mutating: bool) -> None:
        self.spec = spec
        self.mutating = mutating
        self.params = bool(spec.get("paramKind"))
        self.types: dict[str, Type] = {}
        self.made = Compiled()

    def one(
        self, path: str, text: str, wanted: Sequence[Type], *, says: str, variables: bool = True,
        authorizer: bool = True,
    ) -> Program | None:  # fmt: skip
        environment = environments().policy(
            self.params, self.types if variables else None, mutating=self.mutating, authorizer=authorizer
        )
        return compile_one(environment, path, text, wanted, says, self.made.errors)

    def all(self) -> Compiled:
        for index, each in enumerate(self.spec.get("matchConditions") or ()):
            path = f"spec.matchConditions[{index}].expression"
            program = self.one(path, _text(each, "expression"), (BOOL,), says="bool", variables=False)
            if program is not None:
                self.made.conditions.append(Condition(str(each.get("name") or ""), program))
        for index, each in enumerate(self.spec.get("variables") or ()):
            name = str(each.get("name") or "")
            program = self.one(f"spec.variables[{index}].expression", _text(each, "expression"), (), says="")
            self.types[name] = DYN if program is None else program.type
            if program is not None:
                self.made.variables[name] = program
        self._validations()
        self._audits()
        self._mutations()
        return self.made

    def _validations(self) -> None:
        for index, each in enumerate(self.spec.get("validations") or ()):
            path = f"spec.validations[{index}]"
            text = _text(each, "expression")
            program = self.one(f"{path}.expression", text, (BOOL,), says="bool")
            message = None
            if _text(each, "messageExpression"):
                stated = _text(each, "messageExpression")
                message = self.one(
                    f"{path}.messageExpression", stated, (STRING,), says="string", authorizer=False
                )
            if program is not None:
                self.made.validations.append(
                    Validation(
                        text, program, _text(each, "message"), message, str(each.get("reason") or "Invalid")
                    )
                )

    def _audits(self) -> None:
        for index, each in enumerate(self.spec.get("auditAnnotations") or ()):
            path = f"spec.auditAnnotations[{index}].valueExpression"
            program = self.one(path, _text(each, "valueExpression"), (STRING, NULL), says="string null_type")
            if program is not None:
                self.made.audits.append((str(each.get("key") or ""), program))

    def _mutations(self) -> None:
        for index, each in enumerate(self.spec.get("mutations") or ()):
            apply = each.get("patchType") == "ApplyConfiguration"
            key = "applyConfiguration" if apply else "jsonPatch"
            path = f"spec.mutations[{index}].{key}.expression"
            wanted = types.object_type("Object") if apply else types.list_of(types.object_type("JSONPatch"))
            says = "Object" if apply else "list(JSONPatch)"
            program = self.one(path, _text(each.get(key) or {}, "expression"), (wanted,), says=says)
            if program is not None:
                self.made.mutations.append(Mutation(apply, program))


def compile_policy(policy: Object, *, mutating: bool) -> Compiled:
    """All expressions of a policy."""
    return _Compiling(policy.get("spec") or {}, mutating=mutating).all()


def compile_one(
    environment: Environment,
    path: str,
    text: str,
    wanted: Sequence[Type],
    says: str,
    errors: list[FieldError],
) -> Program | None:
    """One expression, whose value must have one of the types; what is wrong goes to ``errors``."""
    if not text:
        return None
    try:
        program = environment.compile(text)
    except CompileError as error:
        errors.append(invalid(path, text, error.told))
        return None
    if wanted and not any(_is(kind, program.type) for kind in wanted):
        says = says if len(wanted) == 1 else f"one of [{says}]"
        errors.append(invalid(path, text, f"must evaluate to {says} but got {types.go_text(program.type)}"))
        return None
    return program


def _is(wanted: Type, found: Type) -> bool:
    """The types must be the same; only what is in a list may be anything, for the sake of empty ones."""
    return types.assignable(wanted, found, {}) if found.kind == "list" else wanted == found


def compile_conditions(
    conditions: Sequence[Mapping[str, Any]], path: str, errors: list[FieldError]
) -> list[Condition]:
    """The matchConditions of a webhook; ``path`` is theirs (``webhooks[0].matchConditions``)."""
    made = []
    for index, each in enumerate(conditions):
        where = f"{path}[{index}].expression"
        text = _text(each, "expression")
        program = compile_one(environments().conditions, where, text, (BOOL,), "bool", errors)
        if program is not None:
            made.append(Condition(str(each.get("name") or ""), program))
    return made


def condition_errors(configuration: Object) -> list[FieldError]:
    """What does not compile in the matchConditions of a webhook configuration."""
    errors: list[FieldError] = []
    for path, conditions in _stated_conditions(configuration):
        compile_conditions(conditions, path, errors)
    return errors


def _stated_conditions(configuration: Object) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        if webhook.get("matchConditions"):
            yield f"webhooks[{index}].matchConditions", webhook["matchConditions"]


def _text(stated: Mapping[str, Any], key: str) -> str:
    text = str(stated.get(key) or "")
    return text if text.strip() else ""
