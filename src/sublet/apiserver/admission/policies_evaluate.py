"""One policy, one binding, one parameter, one write: what the expressions say of it, and what follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver.admission import policies_apply
from sublet.apiserver.admission.framework import Attributes
from sublet.apiserver.admission.policies_compile import (
    CONDITIONS_BUDGET,
    Compiled,
    Condition,
    Mutation,
    Validation,
)
from sublet.apiserver.admission.policies_match import ConfigurationError
from sublet.apiserver.admission.policies_request import Variables
from sublet.apiserver.admission.policymetrics import PolicyMetrics
from sublet.machinery import codec
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
_AUDIT_FAILURE = "validation.policy.admission.k8s.io/validation_failure"


class Outcome(Struct, frozen=True):
    """Something a policy has to say of a write."""

    policy: str
    binding: str
    """Empty where the policy itself cannot be evaluated."""
    actions: Sequence[str]
    """validationActions that a refusal has; empty for audit annotations."""
    message: str
    reason: str = ""
    """Empty: ``Invalid`` for validating policies, ``Forbidden`` for mutating ones."""
    index: int = 0
    """Of the validation that refused."""
    error: str = "no_error"
    """Why the expression had no value, as metrics name it."""
    seconds: float = 0.0
    """How long it took to come to it."""
    audit_key: str = ""
    """Set for an audit annotation, whose value is the message."""

    def text(self, sort: str = "ValidatingAdmissionPolicy", quote: str = "'") -> str:
        """The refusal as the client reads it."""
        if self.binding:
            return f"{sort} '{self.policy}' with binding '{self.binding}' denied request: {self.message}"
        return f"{sort} {quote}{self.policy}{quote} denied request: {self.message}"


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

    @property
    def identity(self) -> tuple[str, ...]:
        """Of this policy, binding and parameter."""
        metadata = (self._values.get("params") or {}).get("metadata") or {}
        place = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
        return self.policy.name, self.binding.name, *place

    async def concerned(self) -> bool:
        """Whether the policy's matchConditions hold. Raises ``ValueError`` where that cannot be told."""
        if not self._compiled.conditions:
            return True
        return await conditions_hold(self._compiled.conditions, self._values)

    def failed(self, why: str) -> list[Outcome]:
        """What an error means by the policy's failurePolicy."""
        if self.policy.fails_open:
            return []
        return [self._refusal(why, "Invalid", error="invalid_error")]

    def _refusal(self, message: str, reason: str, index: int = 0, error: str = "no_error") -> Outcome:
        actions = self.binding.spec.get("validationActions") or ()
        return Outcome(self.policy.name, self.binding.name, actions, message, reason, index, error)

    # -- validating --

    async def validate(self) -> list[Outcome]:
        """Refusals and audit annotations."""
        found: list[Outcome] = []
        try:
            if not await self.concerned():
                return []
            for index, validation in enumerate(self._compiled.validations):
                started = time.perf_counter()
                refused = await self._validation(validation, index)
                if refused is not None:
                    found.append(replace(refused, seconds=time.perf_counter() - started))
        except _BudgetSpent as spent:
            return [replace(each, error="out_of_budget") for each in self.failed(str(spent))]
        except ValueError as error:
            return self.failed(str(error))
        self._budget = Budget()  # annotations have one of their own
        for key, program in self._compiled.audits:
            found += await self._audit(key, program)
        return found

    async def _validation(self, validation: Validation, index: int) -> Outcome | None:
        try:
            held = await self._value(validation.program)
            if held is True:
                return None
        except (EvaluationError, CostExceeded) as error:
            self._check_budget(error)
            if self.policy.fails_open:
                return None
            why = f"expression '{validation.expression}' resulted in error: {error}"
            return self._refusal(why, "Invalid", index, "invalid_error")
        return self._refusal(await self._message(validation), validation.reason, index)

    def _check_budget(self, error: Exception) -> None:
        """One evaluation may cost too much, and the others go on; when nothing is left none of them counts."""
        if isinstance(error, CostExceeded) and self._budget.left <= 0:
            raise _BudgetSpent

    async def _message(self, validation: Validation) -> str:
        text = ""
        if validation.message_program is not None:
            try:
                text = _line(await self._value(validation.message_program))
            except (EvaluationError, CostExceeded) as error:
                self._check_budget(error)
        return text or validation.message.strip() or f"failed expression: {validation.expression.strip()}"

    async def _audit(self, key: str, program: Program) -> list[Outcome]:
        try:
            text = await self._value(program)
        except (EvaluationError, CostExceeded) as error:
            if self.policy.fails_open:
                return []
            why = f"expression '{program.source}' resulted in error: {error}"
            refusal = self._refusal(why, "Invalid", error="invalid_error")
            return [replace(refusal, actions=("Deny",))]
        if not isinstance(text, str) or not text.strip():
            return []
        value = text.strip()[:_LONGEST_AUDIT]
        key = f"{self.policy.name}/{key}"
        return [Outcome(self.policy.name, self.binding.name, (), value, audit_key=key)]

    # -- mutating --

    @property
    def mutations(self) -> Sequence[Mutation]:
        return self._compiled.mutations

    async def change(
        self, mutation: Mutation, schema: Schema | None
    ) -> Callable[[Object], Object | list[Object]]:
        """What one mutation does: from the object to the new one or to a JSON patch. Raises ``ValueError``."""
        try:
            value = await self._value(mutation.program)
        except (EvaluationError, CostExceeded) as error:
            raise ValueError(f"expression '{mutation.program.source}' resulted in error: {error}") from None
        if not mutation.apply:
            made = policies_apply.operations(value)
            return lambda _obj: made
        laid = policies_apply.plain(value, "Object")
        return lambda obj: policies_apply.apply(obj, laid, schema)


class _BudgetSpent(ValueError):
    """Nothing is left of the cost that a policy's expressions may take together."""

    def __init__(self) -> None:
        super().__init__(
            "validation failed due to running out of cost budget, no further validation rules will be run"
        )


def _line(text: Any) -> str:
    """What a messageExpression gives, empty where that is no message."""
    if not isinstance(text, str) or len(text.strip()) > _LONGEST_MESSAGE or "\n" in text.strip():
        return ""
    return text.strip()


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


def misconfigured(policy: Policy, binding: Binding, error: ConfigurationError) -> list[Outcome]:
    """What a policy that cannot be evaluated says, by its failurePolicy, whatever its binding asks for."""
    if policy.fails_open:
        return []
    return [Outcome(policy.name, binding.name if error.bound else "", ("Deny",), str(error))]


def enforce(outcomes: Sequence[Outcome], attributes: Attributes, metrics: PolicyMetrics) -> None:
    """Warns, annotates, and raises the first refusal."""
    audits: dict[str, list[str]] = {}
    denied: Outcome | None = None
    for outcome in outcomes:
        if outcome.audit_key:
            audits.setdefault(outcome.audit_key, []).append(outcome.message)
        for action in outcome.actions:
            metrics.checked(outcome.policy, outcome.binding, outcome.error, action.lower(), outcome.seconds)
        if "Warn" in outcome.actions:
            attributes.warnings.append(
                f"Validation failed for ValidatingAdmissionPolicy '{outcome.policy}' with binding '{outcome.binding}': {outcome.message}"
            )
        if "Audit" in outcome.actions:
            attributes.annotations.setdefault(_AUDIT_FAILURE, _audited(outcome))
        if "Deny" in outcome.actions and denied is None:
            denied = outcome
    for key, texts in audits.items():
        attributes.annotations[key] = ", ".join(dict.fromkeys(texts))
    if denied is not None:
        text, reason = denied.text(), denied.reason or "Invalid"
        error = forbidden(attributes.group, attributes.plural, attributes.name, text)
        raise StatusError(
            error.message, name=error.name, group=error.group, kind=error.kind, causes=[Cause("", text)],
            code=_CODES.get(reason, 422), reason=reason,
        )  # fmt: skip


def _audited(outcome: Outcome) -> str:
    failure = {
        "message": outcome.message, "policy": outcome.policy, "binding": outcome.binding,
        "expressionIndex": outcome.index, "validationActions": list(outcome.actions),
    }  # fmt: skip
    return codec.encode_json([failure]).decode()


def refuse_mutation(errors: Sequence[Outcome], attributes: Attributes) -> StatusError:
    """The refusal of a write that mutating policies could not change: the first error's, with all as causes."""
    texts = [error.text("policy", '"') for error in errors]
    return StatusError(
        texts[0], name=attributes.name, group=attributes.group, kind=attributes.plural,
        causes=[Cause("", text) for text in texts], code=403, reason=errors[0].reason or "Forbidden",
    )  # fmt: skip
