"""One policy, one binding, one parameter, one write: what the expressions say of it, and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sublet.apiserver.admission import policies_apply
from sublet.apiserver.admission.framework import Attributes
from sublet.apiserver.admission.policies_compile import CONDITIONS_BUDGET, Compiled, Condition, Validation
from sublet.apiserver.admission.policies_request import Variables
from sublet.machinery.cel.environment import QUICK_LIMIT, Budget, Program
from sublet.machinery.cel.errors import CostExceeded, EvaluationError
from sublet.machinery.kind import Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import Cause, StatusError, forbidden

if TYPE_CHECKING:
    from sublet.apiserver.admission.policies import Binding, Policy

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_LONGEST_MESSAGE = 5 * 1024
_LONGEST_AUDIT = 10 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something a policy has to say of a write."""

    policy: str
    binding: str
    actions: Sequence[str]
    """validationActions that a refusal has; empty for audit annotations."""
    message: str
    reason: str = "Invalid"
    audit_key: str = ""
    """Set for an audit annotation, whose value is the message."""


class Evaluation:
    """Evaluates the expressions of a policy; the cost of all of them is bounded together."""

    def __init__(
        self, policy: Policy, binding: Binding, compiled: Compiled, resource: Resource, values: dict[str, Any]
    ) -> None:
        self.policy = policy
        self.binding = binding
        self.resource = resource
        """The version the expressions see."""
        self._compiled = compiled
        self._budget = Budget()
        self._values = values
        self._renew()

    def _renew(self) -> None:
        """What variables said may depend on what has changed since."""
        self._variables = Variables(self._compiled.variables, self._values, self._budget)
        self._values["variables"] = self._variables

    async def _value(self, program: Program) -> Any:
        self._variables.budget = quick = Budget(min(QUICK_LIMIT, self._budget.left))
        try:
            return await evaluated(program, self._values, quick, self._budget, self._on_thread)
        finally:
            self._variables.budget = self._budget

    def _on_thread(self) -> None:
        self._variables.budget = self._budget

    @property
    def object(self) -> Any:
        """The object as the expressions see it."""
        return self._values["object"]

    @object.setter
    def object(self, changed: Any) -> None:
        self._values["object"] = changed
        self._renew()

    async def concerned(self) -> bool:
        """Whether the policy's matchConditions hold. Raises ``ConfigurationError``."""
        if not self._compiled.conditions:
            return True
        from sublet.apiserver.admission.policies_match import ConfigurationError

        try:
            return await conditions_hold(self._compiled.conditions, self._values)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    # -- validating --

    async def validate(self) -> list[Outcome]:
        """Refusals and audit annotations."""
        found: list[Outcome] = []
        for validation in self._compiled.validations:
            refused = await self._validation(validation)
            if refused is not None:
                found.append(refused)
        for key, program in self._compiled.audits:
            found += await self._audit(key, program)
        return found

    async def _validation(self, validation: Validation) -> Outcome | None:
        try:
            held = await self._value(validation.program)
            if held is True:
                return None
        except (EvaluationError, CostExceeded) as error:
            if self.policy.fails_open:
                return None
            return self._refusal(
                f"expression '{validation.expression}' resulted in error: {error}", "Invalid"
            )
        return self._refusal(await self._message(validation), validation.reason)

    def _refusal(self, message: str, reason: str) -> Outcome:
        actions = self.binding.spec.get("validationActions") or ()
        return Outcome(self.policy.name, self.binding.name, actions, message, reason)

    async def _message(self, validation: Validation) -> str:
        if validation.message_program is not None:
            try:
                text = await self._value(validation.message_program)
            except (EvaluationError, CostExceeded):
                text = ""
            if (
                isinstance(text, str)
                and text.strip()
                and "\n" not in text.strip()
                and len(text) <= _LONGEST_MESSAGE
            ):
                return text.strip()
        return validation.message or f"failed expression: {validation.expression}"

    async def _audit(self, key: str, program: Program) -> list[Outcome]:
        key = f"{self.policy.name}/{key}"
        try:
            text = await self._value(program)
        except (EvaluationError, CostExceeded) as error:
            if self.policy.fails_open:
                return []
            message = f"failed to evaluate audit annotation '{key}': {error}"
            return [Outcome(self.policy.name, self.binding.name, ("Deny",), message)]
        if not isinstance(text, str) or not text.strip():
            return []
        return [
            Outcome(self.policy.name, self.binding.name, (), text.strip()[:_LONGEST_AUDIT], audit_key=key)
        ]

    # -- mutating --

    async def mutations(
        self, schema: Schema | None
    ) -> AsyncIterator[Callable[[Object], Object | list[Object]]]:
        """Each change in turn: from the object to the new one or to a JSON patch. Raises ``ValueError``."""
        for mutation in self._compiled.mutations:
            try:
                value = await self._value(mutation.program)
            except (EvaluationError, CostExceeded) as error:
                raise ValueError(
                    f"expression '{mutation.program.source}' resulted in error: {error}"
                ) from None
            if mutation.apply:
                laid = policies_apply.plain(value, "Object")
                yield lambda obj, laid=laid: policies_apply.apply(obj, laid, schema)  # type: ignore[misc]
            else:
                made = policies_apply.operations(value)
                yield lambda _obj, made=made: made  # type: ignore[misc]


async def evaluated(
    program: Program, variables: Mapping[str, Any], quick: Budget, budget: Budget,
    on_thread: Callable[[], None] = lambda: None,
) -> Any:  # fmt: skip
    """The value of an expression: at once, or on a thread where that would hold the event loop up."""
    before = quick.left
    try:
        value = program.evaluate(variables, quick)
    except CostExceeded:
        if quick.left > 0 or budget.left <= before:
            budget.left -= before - quick.left
            raise
        on_thread()
        return await asyncio.to_thread(program.evaluate, variables, budget)
    except EvaluationError:
        budget.left -= before - quick.left
        raise
    budget.left -= before - quick.left
    return value


async def conditions_hold(conditions: Sequence[Condition], variables: Mapping[str, Any]) -> bool:
    """A condition that is false decides, whatever others do. Raises ``ValueError`` where one has no value."""
    budget = Budget(CONDITIONS_BUDGET)
    errors = []
    for condition in conditions:
        try:
            quick = Budget(min(QUICK_LIMIT, budget.left))
            if await evaluated(condition.program, variables, quick, budget) is not True:
                return False
        except (EvaluationError, CostExceeded) as error:
            errors.append(f"expression '{condition.program.source}' resulted in error: {error}")
    if errors:
        raise ValueError("[" + ", ".join(errors) + "]" if len(errors) > 1 else errors[0])
    return True


def misconfigured(policy: Policy, binding: Binding, why: str) -> list[Outcome]:
    """What a policy that cannot be evaluated says, by its failurePolicy."""
    if policy.fails_open:
        return []
    return [Outcome(policy.name, binding.name, binding.spec.get("validationActions") or ("Deny",), why)]


def enforce(outcomes: Sequence[Outcome], attributes: Attributes) -> None:
    """Warns, annotates, and raises the first refusal."""
    audits: dict[str, list[str]] = {}
    failures: list[Object] = []
    denied: StatusError | None = None
    for outcome in outcomes:
        if outcome.audit_key:
            audits.setdefault(outcome.audit_key, []).append(outcome.message)
        if "Warn" in outcome.actions:
            attributes.warnings.append(
                f"Validation failed for ValidatingAdmissionPolicy '{outcome.policy}' with binding '{outcome.binding}': {outcome.message}"
            )
        if "Audit" in outcome.actions:
            failures.append({
                "message": outcome.message, "policy": outcome.policy, "binding": outcome.binding,
                "validationActions": list(outcome.actions),
            })  # fmt: skip
        if "Deny" in outcome.actions and denied is None:
            denied = _refused("Validating", outcome, attributes)
    for key, texts in audits.items():
        attributes.annotations[key] = ", ".join(dict.fromkeys(texts))
    if failures:
        from sublet.machinery import codec

        key = "validation.policy.admission.k8s.io/validation_failure"
        attributes.annotations[key] = codec.encode_json(failures).decode()
    if denied is not None:
        raise denied


def refuse_mutation(policy: Policy, binding: Binding, attributes: Attributes, why: str) -> StatusError:
    """The refusal of a write that a mutating policy could not change."""
    return _refused("Mutating", Outcome(policy.name, binding.name, (), why), attributes)


def _refused(sort: str, outcome: Outcome, attributes: Attributes) -> StatusError:
    text = f"{sort}AdmissionPolicy '{outcome.policy}' with binding '{outcome.binding}' denied request: {outcome.message}"
    error = forbidden(
        attributes.group, attributes.plural, attributes.name, text, [Cause("", outcome.message)]
    )
    code = _CODES.get(outcome.reason, 422)
    return StatusError(
        error.message, name=error.name, group=error.group, kind=error.kind, causes=error.causes, code=code,
        reason=outcome.reason,
    )  # fmt: skip
