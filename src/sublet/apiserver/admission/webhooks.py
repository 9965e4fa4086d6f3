"""Asks admission webhooks: mutating ones one after another, validating ones all at once (reference B.17).

Configurations are read from the watch cache at every write, so that they take effect as soon as they are stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from sublet.apiserver import crd_conversion, decoding, follower
from sublet.apiserver.admission import webhookreview, webhookrules
from sublet.apiserver.admission.framework import Attributes, Passes
from sublet.apiserver.admission.webhookmetrics import WebhookMetrics
from sublet.apiserver.admission.webhookreview import Answer
from sublet.apiserver.admission.webhookrules import Webhook
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.metrics import LATENCY
from sublet.apiserver.registry import Registry
from sublet.apiserver.webhookclient import CallFailed, WebhookClient
from sublet.apiserver.webhookusers import NOBODY, WebhookUsers
from sublet.machinery import codec, durations, objects, patch
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import BadRequest, StatusError, forbidden, internal_error, not_found

_log = logging.getLogger(__name__)
_STATE = "webhooks"


class Conditions(Protocol):
    """Evaluates matchConditions."""

    async def __call__(
        self, conditions: Sequence[Mapping[str, Any]], attributes: Attributes, new: Object | None,
        old: Object | None, resource: Resource,
    ) -> bool:  # fmt: skip
        """Whether all hold. Raises ``ValueError`` where one cannot be evaluated."""
        ...


class Configurations:
    """The webhooks of one kind of configuration, in the order they are called: by the configuration's name."""

    def __init__(self, registry: Registry, plural: str) -> None:
        prefix = f"/registry/{webhookrules.GROUP}/{plural}/"
        self._follow = follower.CatchUp(registry.caches.cache(prefix), self._changed, self._reset)
        self._by_name: dict[str, tuple[Webhook, ...]] = {}
        self._ordered: tuple[Webhook, ...] = ()

    def current(self) -> tuple[Webhook, ...]:
        self._follow.catch_up()
        return self._ordered

    def stop(self) -> None:
        self._follow.stop()

    def _reset(self) -> None:
        self._by_name = {}
        self._ordered = ()

    def _changed(self, key: str, configuration: Object | None) -> None:
        name = key.rpartition("/")[2]
        self._by_name.pop(name, None)
        if configuration is not None:
            self._by_name[name] = webhookrules.read(configuration)
        self._ordered = tuple(hook for name in sorted(self._by_name) for hook in self._by_name[name])


def _compact(note: Object) -> str:
    return json.dumps(note, separators=(",", ":"))


class Webhooks:
    """The admission webhooks of one API server."""

    def __init__(
        self, registry: Registry, client: WebhookClient, *, conditions: Conditions | None = None,
        mutating_users: WebhookUsers | None = None, validating_users: WebhookUsers | None = None,
    ) -> None:  # fmt: skip
        self.metrics = WebhookMetrics()
        self.conditions = conditions
        """None: nobody evaluates matchConditions, and configurations with them are refused."""
        self._registry = registry
        self._client = client
        self._users = {True: mutating_users, False: validating_users}
        """As whom mutating webhooks are asked, and validating ones."""
        self._minor = int(registry.minor.partition(".")[2])
        self._mutating = Configurations(registry, webhookrules.MUTATING)
        self._validating = Configurations(registry, webhookrules.VALIDATING)

    def stop(self) -> None:
        self._mutating.stop()
        self._validating.stop()

    # -- mutating --

    async def mutate(self, attributes: Attributes) -> None:
        """Lets the webhooks change the object, in place. Raises what refuses the write."""
        hooks = self._mutating.current()
        if not hooks or webhookrules.is_exempt(attributes, self._minor):
            return
        reinvocation, passes = attributes.reinvocation, Passes.of(attributes, _STATE)
        for place, hook in enumerate(hooks):
            matched = await self._matched(hook, attributes)
            if matched is None or (reinvocation.running and hook.identity not in passes.again):
                continue
            if await self._mutate(hook, matched, attributes, place):
                passes.changed()
                reinvocation.wanted = True
            if hook.reinvoked:
                passes.called.add(hook.identity)
        passes.end(attributes)

    async def _mutate(self, hook: Webhook, resource: Resource, attributes: Attributes, place: int) -> bool:
        """Calls one webhook; whether it changed the object."""
        kind = attributes.kind
        new, old = await self._versions(resource, attributes)
        answer = await self._asked(hook, resource, attributes, new, old, place, mutating=True)
        changed = False
        if answer is not None and answer.patch:
            try:
                changed = await self._lay(hook, resource, attributes, new, answer.patch)
            except StatusError:
                self._measure(hook, attributes, mutating=True).wrong()
                raise
            attributes.mutated = attributes.mutated or changed
        named = {"configuration": hook.configuration, "webhook": hook.name}
        round_ = 1 if attributes.reinvocation.running else 0
        where = f"webhook.admission.k8s.io/round_{round_}_index_{place}"
        attributes.annotations[f"mutation.{where}"] = _compact({**named, "mutated": changed})
        if answer is not None and changed:
            # The audit log keeps it from level Request on.
            patched = {**named, "patch": answer.patch, "patchType": "JSONPatch"}
            attributes.annotations[f"patch.{where}"] = _compact(patched)
        if changed and attributes.shown is None:
            kind.default(attributes.new())
        return changed

    async def _lay(
        self, hook: Webhook, resource: Resource, attributes: Attributes, new: Object | None, operations: Any
    ) -> bool:
        """Applies a JSON patch to the object as the webhook saw it; whether that changed anything."""
        if new is None or attributes.object is None:
            raise internal_error(
                f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for '
                "this operation"
            )
        kind, registry = attributes.kind, self._registry
        if attributes.shown is not None:
            return _lay_besides(hook, attributes, attributes.shown, operations)
        try:
            patched = patch.operated(new, operations)
            custom = isinstance(kind, CustomKind)
            schema = registry.schema(kind, resource)
            decoding.checked(patched, resource, schema, "Ignore", [], custom=custom)
        except patch.DoesNotApply as error:
            raise internal_error(str(error)) from None
        except StatusError as error:
            raise internal_error(error.message) from None
        if codec.same(patched, new):
            return False
        _keep_place(patched, attributes.object)
        stored = await crd_conversion.to_stored(kind, resource, patched)
        attributes.object.clear()
        attributes.object.update(stored)
        return True

    # -- validating --

    async def validate(self, attributes: Attributes) -> None:
        """Asks all webhooks at once. Raises the first refusal, after all have answered."""
        hooks = self._validating.current()
        if not hooks or webhookrules.is_exempt(attributes, self._minor):
            return
        calls = []
        errors: list[StatusError] = []
        for place, hook in enumerate(hooks):
            matched = await self._matched(hook, attributes)
            if matched is not None:
                calls.append(self._validate(hook, matched, attributes, place, errors))
        if len(calls) == 1:
            await calls[0]
        elif calls:
            await asyncio.gather(*calls)
        if errors:
            raise errors[0]

    async def _validate(
        self, hook: Webhook, resource: Resource, attributes: Attributes, place: int, errors: list[StatusError]
    ) -> None:
        try:
            new, old = await self._versions(resource, attributes)
            await self._asked(hook, resource, attributes, new, old, place, mutating=False)
        except StatusError as error:
            errors.append(error)

    # -- both --

    async def _matched(self, hook: Webhook, attributes: Attributes) -> Resource | None:
        """The version in which the webhook wants the object, None where it does not want it."""
        if not webhookrules.matches_labels(hook.labels, attributes):
            return None
        resource = webhookrules.matched(hook, attributes)
        if resource is None or not await self._in_namespace(hook, attributes):
            return None
        if hook.conditions:
            return resource if await self._conditions_hold(hook, resource, attributes) else None
        return resource

    async def _in_namespace(self, hook: Webhook, attributes: Attributes) -> bool:
        if hook.namespaces.everything:
            return True
        namespace = webhookrules.namespace_of(attributes)
        if not namespace:
            return True  # cluster-scoped objects have no namespace that could exempt them
        labels = webhookrules.labels_of_namespace(attributes)
        if labels is None:
            labels = await self._labels_of(namespace)
        return hook.namespaces.matches(labels)

    async def _labels_of(self, namespace: str) -> Mapping[str, str]:
        kind = self._registry.kinds.stored("", "namespaces")
        if kind is None:
            raise not_found("", "namespaces", namespace)
        prefix = "/registry/core/namespaces/"
        entry = self._registry.cache(kind).get(prefix + namespace)
        if entry is None:
            entry = await self._registry.entry(kind, "", namespace)
        if entry is None:
            raise not_found("", "namespaces", namespace)
        return objects.labels(entry.object)

    async def _conditions_hold(self, hook: Webhook, resource: Resource, attributes: Attributes) -> bool:
        try:
            if self.conditions is None:
                raise ValueError("this release of sublet does not evaluate match conditions")
            new, old = await self._versions(resource, attributes)
            return await self.conditions(hook.conditions, attributes, new, old, resource)
        except ValueError as error:
            if hook.fails_open:
                return False
            raise forbidden(
                attributes.group, attributes.plural, attributes.request_name, str(error)
            ) from None

    async def _versions(
        self, resource: Resource, attributes: Attributes
    ) -> tuple[Object | None, Object | None]:
        """The new and the old object in the version that a webhook wants. Do not change them."""
        if attributes.shown is not None:
            return attributes.shown
        kind = attributes.kind
        present = [obj for obj in (attributes.object, attributes.old_object) if obj is not None]
        made = iter(await crd_conversion.in_version(kind, resource, present))
        new = next(made) if attributes.object is not None else None
        return new, next(made) if attributes.old_object is not None else None

    async def _asked(
        self, hook: Webhook, resource: Resource, attributes: Attributes, new: Object | None,
        old: Object | None, place: int, *, mutating: bool,
    ) -> Answer | None:  # fmt: skip
        """The answer of a webhook that allows the write; None where it could not be called and that is ignored.

        Raises the refusal, or what says that the call failed.
        """
        clock = self._registry.clock
        begun = clock.monotonic()
        measure = self._measure(hook, attributes, mutating=mutating)
        if attributes.dry_run and hook.side_effects not in ("None", "NoneOnDryRun"):
            measure.wrong(0.0)
            raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        try:
            try:
                answer = await self._call(hook, resource, attributes, new, old, mutating=mutating)
            finally:
                _took(clock.monotonic() - begun, attributes, mutating=mutating)
        except CallFailed as error:
            seconds = clock.monotonic() - begun
            text = _failure(hook.name, str(error))
            if hook.fails_open:
                _log.warning("failed open: %s", text)
                measure.failed_open(seconds, error.code)
                word = "mutation" if mutating else "validating"
                round_ = 1 if attributes.reinvocation.running else 0
                key = f"failed-open.{word}.webhook.admission.k8s.io/round_{round_}_index_{place}"
                attributes.annotations[key] = hook.name
                return None
            measure.failed(seconds, error.code)
            raise internal_error(text) from None
        for key, value in answer.annotations.items():
            attributes.annotations[f"{hook.name}/{key}"] = value
        attributes.warnings.extend(answer.warnings)
        if answer.allowed:
            measure.allowed(clock.monotonic() - begun)
            return answer
        refusal = webhookreview.denied(hook.name, answer.status)
        measure.refused(clock.monotonic() - begun, refusal.code)
        raise refusal

    def _measure(self, hook: Webhook, attributes: Attributes, *, mutating: bool) -> _Measure:
        type_ = "admit" if mutating else "validating"
        return _Measure(self.metrics, hook.name, type_, attributes.operation)

    async def _call(
        self, hook: Webhook, resource: Resource, attributes: Attributes, new: Object | None,
        old: Object | None, *, mutating: bool,
    ) -> Answer:  # fmt: skip
        version = webhookreview.version_for(hook)
        uid = str(uuid.UUID(int=self._registry.rng.getrandbits(128), version=4))
        document = webhookreview.review(attributes, resource, version, uid, new, old)
        users = self._users[mutating]
        user = users.of(*hook.client.endpoint) if users is not None else NOBODY
        answered = await self._client.post(hook.client, document, hook.seconds, user=user)
        return webhookreview.read(answered, version, uid, mutating=mutating)


def _lay_besides(
    hook: Webhook, attributes: Attributes, shown: tuple[Object | None, Object | None], operations: Any
) -> bool:
    """Applies a JSON patch to what is no stored object: a Binding, the options of a connection, a Scale."""
    new, obj = shown[0], attributes.new()
    try:
        patched = patch.operated(new, operations)
    except patch.DoesNotApply as error:
        raise internal_error(str(error)) from None
    except StatusError as error:
        raise internal_error(error.message) from None
    if not isinstance(patched, dict) or codec.same(patched, new):
        return False
    if attributes.take is not None:
        attributes.show(patched)
        return True
    if new is not obj:
        raise internal_error(
            f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for '
            "this operation"
        )
    obj.clear()
    obj.update(patched)
    return True


_ELSEWHERE = ("received ", "could not ", "unsupported patch type ", "failed to call webhook: ")
"""How the texts of failures begin that are not those of the call itself."""


def _took(seconds: float, attributes: Attributes, *, mutating: bool) -> None:
    """Notes for the audit log how long webhooks took: mutating ones together, of validating ones the slowest."""
    key = f"{LATENCY}{'mutating' if mutating else 'validating'}-webhook"
    before = durations.parse(attributes.annotations.get(key, "0"))
    found = before + seconds if mutating else max(before, seconds)
    attributes.annotations[key] = durations.text(round(found * 1e9))


def _failure(name: str, why: str) -> str:
    at = "" if why.startswith(_ELSEWHERE) else "failed to call webhook: "
    return f'failed calling webhook "{name}": {at}{why}'


def _keep_place(patched: Object, before: Object) -> None:
    """A webhook may not move an object elsewhere. Raises ``BadRequest``."""
    metadata, was = patched.get("metadata"), before.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadRequest("an admission webhook took the object's metadata away")
    if (metadata.get("namespace") or "") != (was.get("namespace") or ""):
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


class _Measure(Struct, frozen=True):
    """Counts one call."""

    metrics: WebhookMetrics
    name: str
    type: str
    operation: str

    def allowed(self, seconds: float) -> None:
        self._observe(seconds, 200, rejected=False)

    def refused(self, seconds: float, code: int) -> None:
        self._observe(seconds, code, rejected=True)
        self.metrics.rejected(self.name, self.type, self.operation, "no_error", code)

    def failed(self, seconds: float, code: int) -> None:
        self._observe(seconds, code, rejected=True)
        self.metrics.rejected(self.name, self.type, self.operation, "calling_webhook_error", code)

    def failed_open(self, seconds: float, code: int) -> None:
        self._observe(seconds, code, rejected=False)
        self.metrics.failed_open(self.name, self.type)

    def wrong(self, seconds: float | None = None) -> None:
        """What it asks for cannot be done; ``seconds`` None: its call has been counted."""
        if seconds is not None:
            self._observe(seconds, 0, rejected=True)
        self.metrics.rejected(self.name, self.type, self.operation, "apiserver_internal_error", 0)

    def _observe(self, seconds: float, code: int, *, rejected: bool) -> None:
        self.metrics.observe(self.name, self.type, self.operation, seconds, code, rejected=rejected)


__all__ = ["Conditions", "Configurations", "Webhooks"]
