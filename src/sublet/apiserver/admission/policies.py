"""ValidatingAdmissionPolicies and MutatingAdmissionPolicies at work (reference B.17).

Policies and bindings are read from the watch cache at every write, so that they take effect as soon as they are stored.
The expression language is imported when the first of them is met.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sublet.apiserver import crd_conversion, decoding, follower
from sublet.apiserver.admission import webhookrules
from sublet.apiserver.admission.framework import Attributes, Passes
from sublet.apiserver.admission.policies_match import ConfigurationError, Match, param_kind, params
from sublet.apiserver.admission.policymetrics import PolicyMetrics
from sublet.apiserver.authorization.authorizer import Authorizer, Decision
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.pace import Pace
from sublet.apiserver.registry import Registry
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.kinds import schemas
from sublet.machinery import codec, objects, patch
from sublet.machinery.kind import Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import StatusError, invalid_object, not_found

if TYPE_CHECKING:
    from sublet.apiserver.admission.policies_compile import Compiled, Condition, Mutation
    from sublet.apiserver.admission.policies_evaluate import Evaluation, Outcome

GROUP = webhookrules.GROUP
VALIDATING, MUTATING = "validatingadmissionpolicies", "mutatingadmissionpolicies"
_STATE = "policies"
_MOST_CONDITIONS = 512
_LANGUAGE = tuple(
    f"sublet.apiserver.admission.policies_{part}" for part in ("compile", "evaluate", "request")
)
_PATIENCE = 10.0
"""Seconds that a thread waits for the event loop."""


async def _language() -> None:
    """Loads what compiles and runs expressions, where that has not happened yet: 30 ms, which the loop need not wait for."""
    for module in _LANGUAGE:
        if module not in sys.modules:
            await asyncio.to_thread(importlib.import_module, module)


class Binding(Struct):
    name: str
    spec: Mapping[str, Any]
    match: Match | None

    @classmethod
    def of(cls, obj: Object) -> Binding:
        spec = obj.get("spec") or {}
        return cls(objects.name(obj), spec, Match.of(spec.get("matchResources")))


class Policy:
    """A stored policy; its expressions are compiled when it first concerns a write."""

    def __init__(self, obj: Object, *, mutating: bool) -> None:
        self.name = objects.name(obj)
        self.spec: Mapping[str, Any] = obj.get("spec") or {}
        self.match = Match.of(self.spec.get("matchConstraints"))
        self.fails_open = self.spec.get("failurePolicy") == "Ignore"
        self.reinvoked = self.spec.get("reinvocationPolicy") == "IfNeeded"
        self._object = obj
        self._mutating = mutating
        self._compiled: Compiled | None = None

    async def compiled(self) -> Compiled:
        if self._compiled is None:
            self._compiled = await asyncio.to_thread(self._compile)
        return self._compiled

    def _compile(self) -> Compiled:
        from sublet.apiserver.admission.policies_compile import compile_policy  # with the language: 30 ms

        return compile_policy(self._object, mutating=self._mutating)


class Policies:
    """The policies of one sort with their bindings, as they are stored now."""

    def __init__(self, registry: Registry, plural: str) -> None:
        self.mutating = plural == MUTATING
        caches = registry.caches
        bindings = plural.removesuffix("policies") + "policybindings"
        self._policies = follower.CatchUp(
            caches.cache(f"/registry/{GROUP}/{plural}/"), self._policy, lambda: self._by_name.clear()
        )
        self._bindings = follower.CatchUp(
            caches.cache(f"/registry/{GROUP}/{bindings}/"), self._binding, lambda: self._bound.clear()
        )
        self._by_name: dict[str, Policy] = {}
        self._bound: dict[str, Binding] = {}

    def current(self) -> Iterator[tuple[Policy, Binding]]:
        """Every policy with each of its bindings, by name."""
        self._policies.catch_up()
        self._bindings.catch_up()
        if not self._bound or not self._by_name:
            return
        bindings: dict[Any, list[Binding]] = {}
        for name in sorted(self._bound):
            bindings.setdefault(self._bound[name].spec.get("policyName"), []).append(self._bound[name])
        for name in sorted(self._by_name):
            for binding in bindings.get(name, ()):
                yield self._by_name[name], binding

    def stop(self) -> None:
        self._policies.stop()
        self._bindings.stop()

    def _policy(self, key: str, obj: Object | None) -> None:
        name = key.rpartition("/")[2]
        self._by_name.pop(name, None)
        if obj is not None:
            self._by_name[name] = Policy(obj, mutating=self.mutating)

    def _binding(self, key: str, obj: Object | None) -> None:
        name = key.rpartition("/")[2]
        self._bound.pop(name, None)
        if obj is not None:
            self._bound[name] = Binding.of(obj)


class PolicyAdmission:
    """What the two admission plug-ins and the webhooks' matchConditions ask."""

    def __init__(self, registry: Registry, authorizer: Authorizer) -> None:
        self.metrics = PolicyMetrics()
        self._registry = registry
        self._authorizer = authorizer
        self._validating = Policies(registry, VALIDATING)
        self._mutating = Policies(registry, MUTATING)
        self._conditions: dict[tuple[str, ...], list[Condition]] = {}
        """Of webhooks, by their text."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home = 0

    def stop(self) -> None:
        self._validating.stop()
        self._mutating.stop()

    # -- validating --

    async def validate(self, attributes: Attributes) -> None:
        """Raises the first refusal of a policy; warnings and audit annotations go to the attributes."""
        if attributes.group == GROUP:
            if attributes.plural in webhookrules.EXEMPT:
                await self._check(attributes)
            if attributes.plural in webhookrules.POLICIES:
                return
        outcomes: list[Outcome] = []
        seen: dict[Resource, Mapping[str, Any]] = {}
        pace = Pace()
        for policy, binding in list(self._validating.current()):
            if pace.due:
                await pace.pause()
            try:
                for evaluation in await self._evaluations(policy, binding, attributes, seen):
                    outcomes += await evaluation.validate()
            except ConfigurationError as error:
                from sublet.apiserver.admission.policies_evaluate import misconfigured

                outcomes += misconfigured(policy, binding, error)
        if outcomes:
            from sublet.apiserver.admission.policies_evaluate import enforce

            enforce(outcomes, attributes, self.metrics)

    async def _check(self, attributes: Attributes) -> None:
        """Policies and webhook configurations whose expressions do not compile are refused."""
        obj, old = attributes.object, attributes.old_object
        if obj is None or attributes.subresource:
            return
        key = "webhooks" if attributes.plural.endswith("webhookconfigurations") else "spec"
        if old is not None and old.get(key) == obj.get(key):
            return
        await _language()
        if attributes.plural in (VALIDATING, MUTATING):
            from sublet.apiserver.admission.policies_compile import compile_policy

            mutating = attributes.plural == MUTATING
            errors = (await asyncio.to_thread(compile_policy, obj, mutating=mutating)).errors
        elif any(webhook.get("matchConditions") for webhook in obj.get("webhooks") or ()):
            from sublet.apiserver.admission.policies_compile import condition_errors

            errors = await asyncio.to_thread(condition_errors, obj)
        else:
            return
        if errors:
            raise invalid_object(GROUP, attributes.kind.resource.kind, attributes.name, errors)

    # -- mutating --

    async def mutate(self, attributes: Attributes) -> None:
        """Lets the policies change the object, in place. Raises what refuses the write."""
        if webhookrules.is_policy(attributes) or attributes.object is None:
            return
        pairs = list(self._mutating.current())
        if not pairs:
            return
        passes = Passes.of(attributes, _STATE)
        errors: list[Outcome] = []
        for policy, binding in pairs:
            try:
                evaluations = await self._evaluations(policy, binding, attributes)
            except ConfigurationError as error:
                from sublet.apiserver.admission.policies_evaluate import misconfigured

                errors += misconfigured(policy, binding, error)
                continue
            for place, evaluation in enumerate(evaluations):
                if place:  # what the one before changed must be seen, also by the conditions
                    evaluation.object = (await self._versions(evaluation.resource, attributes))[0]
                await self._invoke(evaluation, attributes, passes, errors)
        passes.end(attributes)
        if errors:
            from sublet.apiserver.admission.policies_evaluate import refuse_mutation

            raise refuse_mutation(errors, attributes)

    async def _invoke(
        self, evaluation: Evaluation, attributes: Attributes, passes: Passes, errors: list[Outcome]
    ) -> None:
        """One policy with one parameter; what goes wrong is added to ``errors``, by its failurePolicy."""
        try:
            if not await evaluation.concerned():
                return
        except ValueError as error:
            errors += evaluation.failed(str(error))
            return
        if attributes.reinvocation.running and evaluation.identity not in passes.again:
            return
        for mutation in evaluation.mutations:
            since, wrong = time.perf_counter(), ""
            try:
                if await self._mutate(evaluation, mutation, attributes):
                    passes.changed()
                    attributes.mutated = attributes.reinvocation.wanted = True
            except ValueError as error:
                wrong = str(error)
                errors += evaluation.failed(wrong)
            self.metrics.mutated(
                evaluation.policy.name, evaluation.binding.name, wrong, time.perf_counter() - since
            )
        if evaluation.policy.reinvoked:
            passes.called.add(evaluation.identity)

    async def _mutate(self, evaluation: Evaluation, mutation: Mutation, attributes: Attributes) -> bool:
        """Lays one mutation over the object; whether that changed anything. Raises ``ValueError``."""
        kind, before = attributes.kind, evaluation.object
        if attributes.shown is not None and attributes.take is None:
            raise ValueError(f"{attributes.plural}/{attributes.subresource} cannot be changed by a policy")
        resource, schema = self._shape(evaluation.resource, attributes)
        change = await evaluation.change(mutation, schema)
        changed = change(before)
        custom = isinstance(kind, CustomKind) and attributes.shown is None
        strict = isinstance(changed, list) and not custom
        try:
            if isinstance(changed, list):
                changed = patch.operated(before, changed)
            decoding.checked(changed, resource, schema, "Strict" if strict else "Ignore", [], custom=custom)
        except patch.Differs:
            return False
        except patch.DoesNotApply as error:
            raise ValueError(f"JSONPath: {error}") from None
        except StatusError as error:
            # Who changes the object has no request of its own that could not be handled.
            raise ValueError(
                error.message.partition(" cannot be handled as a ")[2].partition(": ")[2] or error.message
            ) from None
        if codec.same(changed, before):
            return False
        for key in ("name", "namespace", "uid", "generateName", "creationTimestamp", "resourceVersion"):
            if (before["metadata"].get(key) or "") != ((changed.get("metadata") or {}).get(key) or ""):
                raise ValueError(f"metadata.{key} may not be changed")
        if attributes.shown is not None:
            attributes.show(changed)
            evaluation.object = changed
            return True
        stored = await crd_conversion.to_stored(kind, evaluation.resource, codec.copied(changed))
        target = attributes.new()
        target.clear()
        target.update(stored)
        kind.default(target)
        evaluation.object = (await self._versions(evaluation.resource, attributes))[0]
        return True

    def _shape(self, resource: Resource, attributes: Attributes) -> tuple[Resource, Schema | None]:
        """What kind of object a policy sees and changes: ``resource`` as it stands, or the Scale shown instead."""
        if attributes.shown is None or (view := attributes.shown[0]) is None:
            return resource, self._registry.schema(attributes.kind, resource)
        group, _, version = str(view["apiVersion"]).rpartition("/")
        schema = schemas.definition(self._registry.minor, group, version, view["kind"])
        return Resource(group, version, "", view["kind"], True), schema

    # -- both --

    def _authorize(self, user: User, info: RequestInfo) -> Decision:
        """Asks the authorizer on the event loop, whichever thread an expression is evaluated on.

        On the loop's own thread nothing can be awaited: authorizers that are webhooks are not asked there.
        """
        loop = self._loop
        if loop is None or threading.get_ident() == self._home:
            return self._authorizer.authorize(user, info)

        asked = self._authorizer.decide(user, info)
        return asyncio.run_coroutine_threadsafe(asked, loop).result(_PATIENCE)

    def _at_home(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()

    async def _evaluations(
        self, policy: Policy, binding: Binding, attributes: Attributes,
        seen: dict[Resource, Mapping[str, Any]] | None = None,
    ) -> list[Evaluation]:  # fmt: skip
        """One evaluation for each parameter; none where the policy is not about the write.

        ``seen`` keeps what policies see, while the object does not change.
        """
        if policy.match is None or webhookrules.is_review(attributes):
            return []
        labels = self._labels(attributes)
        resource = policy.match.resource(attributes, labels)
        if resource is None:
            return []
        await _language()
        self._at_home()
        compiled = await policy.compiled()
        from sublet.apiserver.admission.policies_evaluate import Evaluation

        if compiled.errors:
            raise ConfigurationError(str(compiled.errors[0]), bound=False)
        stated = policy.spec.get("paramKind")
        kind = param_kind(self._registry, stated) if stated else None
        if binding.match is not None and binding.match.resource(attributes, labels) is None:
            return []
        given = None if seen is None else seen.get(resource)
        if given is None:
            given = await self._values(resource, attributes)
            if seen is not None:
                seen[resource] = given
        reference = binding.spec.get("paramRef")
        found: Sequence[Object | None] = [None]
        if kind is not None and reference:
            found = params(self._registry, kind, reference, attributes.namespace)
        return [
            Evaluation(policy, binding, compiled, resource, {**given, "params": param}) for param in found
        ]

    async def _values(self, resource: Resource, attributes: Attributes) -> Mapping[str, Any]:
        """What all policies see of a write in one version."""
        from sublet.apiserver.admission.policies_request import namespace_object, values

        new, old = await self._versions(resource, attributes)
        found = values(attributes, resource, new, old, self._authorize)
        found["namespaceObject"] = None
        if attributes.namespace and attributes.target != ("", "namespaces"):
            found["namespaceObject"] = namespace_object(self._namespace(attributes))
        return found

    def _labels(self, attributes: Attributes) -> Any:
        def labels() -> Mapping[str, str]:
            own = webhookrules.labels_of_namespace(attributes)
            if own is not None:
                return own
            return objects.labels(self._namespace(attributes))

        return labels

    def _namespace(self, attributes: Attributes) -> Object:
        name = webhookrules.namespace_of(attributes)
        kind = self._registry.kinds.stored("", "namespaces")
        entry = None if kind is None else self._registry.cache(kind).get(f"/registry/core/namespaces/{name}")
        if entry is None:
            raise not_found("", "namespaces", name)
        found: Object = entry.object
        return found

    async def _versions(
        self, resource: Resource, attributes: Attributes
    ) -> tuple[Object | None, Object | None]:
        """The new and the old object in one version. Do not change them."""
        if attributes.shown is not None:
            return attributes.shown
        present = [obj for obj in (attributes.object, attributes.old_object) if obj is not None]
        made = iter(await crd_conversion.in_version(attributes.kind, resource, present))
        new = next(made) if attributes.object is not None else None
        return new, next(made) if attributes.old_object is not None else None

    async def conditions(
        self, conditions: Sequence[Mapping[str, Any]], attributes: Attributes, new: Object | None,
        old: Object | None, resource: Resource,
    ) -> bool:  # fmt: skip
        """Whether the matchConditions of a webhook all hold. Raises ``ValueError`` where that cannot be told."""
        await _language()
        from sublet.apiserver.admission.policies_compile import compile_conditions
        from sublet.apiserver.admission.policies_evaluate import conditions_hold
        from sublet.apiserver.admission.policies_request import values

        self._at_home()
        key = tuple(str(condition.get("expression")) for condition in conditions)
        compiled = self._conditions.get(key)
        if compiled is None:
            errors: list[Any] = []
            compiled = await asyncio.to_thread(compile_conditions, conditions, "matchConditions", errors)
            if errors:
                raise ValueError(str(errors[0]))
            if len(self._conditions) >= _MOST_CONDITIONS:
                self._conditions.clear()
            self._conditions[key] = compiled
        return await conditions_hold(compiled, values(attributes, resource, new, old, self._authorize))
