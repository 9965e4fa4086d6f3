"""Events, host to tenant: what the host's scheduler and node agents say of copies, said of the tenant's objects."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result
from sublet.syncer.declare import READ, FromHost, Rule, Scope

_EVENTS = resource("events")
_ABOUT = {
    kind.kind: kind
    for kind in map(
        resource, ("pods", "services", "endpoints", "secrets", "configmaps", "persistentvolumeclaims")
    )
}
_REMEMBERED = 4096
_COUNTS = ("count", "lastTimestamp", "series", "message")
_KEPT = (
    "reason", "type", "count", "firstTimestamp", "lastTimestamp", "eventTime", "series", "source", "action",
    "reportingComponent", "reportingInstance",
)  # fmt: skip


class Settings(Struct, frozen=True):
    enabled: bool = True


class About(Struct, frozen=True):
    """The tenant object that a copy stands for."""

    kind: Resource
    key: str
    uid: str


class Events:
    """Copies events as they come; what the host forgets the tenant keeps for its own time."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._controller = Controller("events from host", self._reconcile, workers=4)
        self._gone: OrderedDict[str, About] = OrderedDict()
        self._informer = scope.host_informers.informer(_EVENTS, scope.settings.host_namespace)
        self._informer.add_handler(self._changed)
        kinds = [kind for kind in _ABOUT.values() if kind in scope.synced]
        self._watched = {kind.plural: scope.host_objects(kind) for kind in kinds}
        for kind in kinds:
            self._watched[kind.plural].add_handler(self._remember(kind))

    def _changed(self, event: str, obj: Object, _old: Object | None) -> None:
        if event != "delete":
            self._controller.enqueue(objects.key(obj))

    def _remember(self, kind: Resource) -> Any:
        def handler(event: str, obj: Object, _old: Object | None) -> None:
            if event == "delete" and (found := self._about_copy(obj, kind)) is not None:
                self._gone[objects.uid(obj)] = found
                if len(self._gone) > _REMEMBERED:
                    self._gone.popitem(last=False)

        return handler

    def _about_copy(self, copy: Object, kind: Resource) -> About | None:
        key = self._scope.mapping.tenant_key(copy, kind)
        return About(kind, key, self._scope.mapping.tenant_uid(copy)) if key else None

    async def run(self) -> None:
        await self._informer.synced()
        for informer in self._watched.values():
            await informer.synced()
        await self._controller.run()

    def _about(self, event: Object) -> About | None:
        """Whose event it is; the copy may be gone already, as when its end is reported."""
        what = event.get("involvedObject") or {}
        kind = _ABOUT.get(what.get("kind", ""))
        if kind is None or kind not in self._scope.synced:
            return None
        copy = self._watched[kind.plural].get(what.get("namespace") or "", what.get("name") or "")
        if copy is None or (what.get("uid") and objects.uid(copy) != what["uid"]):
            return self._gone.get(what.get("uid") or "")
        return self._about_copy(copy, kind)

    async def _reconcile(self, key: str) -> Result | None:
        event = self._informer.get_key(key)
        if event is None:
            return None
        about = self._about(event)
        if about is None:
            if objects.annotations(event).get(self._scope.mapping.names.force_sync) == "true":
                await self._write(unmatched(event, self._scope))
            return None
        await self._write(translated(event, about, self._scope))
        return None

    async def _write(self, wanted: Object) -> None:
        name, namespace = objects.name(wanted), objects.namespace(wanted)
        try:
            await self._scope.tenant.create(_EVENTS, wanted, namespace)
        except AlreadyExists:
            current = await self._scope.tenant.get(_EVENTS, name, namespace)
            patch = {k: wanted[k] for k in _COUNTS if k in wanted and current.get(k) != wanted[k]}
            if patch:
                await self._scope.tenant.patch(_EVENTS, name, patch, namespace)
        except NotFound:
            return  # the namespace is gone
        except StatusError as error:
            if error.code not in (403, 422):
                raise
            # A namespace that is ending takes no events.


def translated(event: Object, about: About, scope: Scope) -> Object:
    """The tenant's event for one of the host's."""
    what = event["involvedObject"]
    namespace, name = objects.split_key(about.key)
    host = what.get("name") or ""
    reference = {
        "apiVersion": about.kind.api_version,
        "kind": about.kind.kind,
        "name": name,
        "namespace": namespace,
        "uid": about.uid,
    }
    if what.get("fieldPath"):
        reference["fieldPath"] = what["fieldPath"]
    made: Object = {key: event[key] for key in _KEPT if key in event}
    return {
        **made,
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event_name(objects.name(event), host, name), "namespace": namespace},
        "involvedObject": reference,
        "message": scope.mapping.sanitise(event.get("message") or "", host, name, namespace),
    }


def unmatched(event: Object, scope: Scope) -> Object:
    """An event that asks to be copied although nothing of the tenant's is meant."""
    made: Object = {key: event[key] for key in _KEPT if key in event}
    what = event.get("involvedObject") or {}
    reference = {key: what[key] for key in ("apiVersion", "kind", "name", "uid") if key in what}
    return {
        **made,
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": objects.name(event), "namespace": "default"},
        "involvedObject": {**reference, "namespace": "default"},
        "message": scope.mapping.sanitise(event.get("message") or ""),
    }


def event_name(name: str, host: str, tenant: str) -> str:
    """The tenant's event is called as its node agent would have called it."""
    if host and name.startswith(host):
        return tenant + name[len(host) :]
    return f"{tenant}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _setup(scope: Scope, settings: Settings) -> Sequence[Events]:
    return [Events(scope)] if settings.enabled else []


_RULES = (Rule(("", "events.k8s.io"), ("events",), READ),)

SYNC = FromHost(
    resource=_EVENTS,
    key="events",
    settings=Settings,
    setup=_setup,
    host_rules=lambda settings: _RULES if settings.enabled else (),
)
