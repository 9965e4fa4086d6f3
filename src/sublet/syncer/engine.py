"""What every kind that is synced to the host has in common: one decision table, once (reference 2.3).

A key of the queue is a tenant object and its host copy together, whichever of the two has changed, so that a pair is
never worked on twice at once. Host objects that are not ours are never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, Conflict, NotFound, ServiceUnavailable, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.latest import Latest
from sublet.reconcile.result import Result
from sublet.syncer import metadata, translate
from sublet.syncer.declare import Pair, Scope, ToHost, Waiting

log = logging.getLogger(__name__)

WORKERS = 10
_UNSEEN_SECONDS = 5.0
"""So long the host's watch may take to show what was created; then the host is asked."""
_FIRST_DELAY = 0.02
_LONGEST_DELAY = 60.0
_OUTAGE_DELAY = 2.0
_FOREIGN_DELAY = 30.0


@dataclass(slots=True)
class _Known:
    """What is known of a pair besides what the watches show."""

    tenant_uid: str
    host_uid: str
    last_tenant: Object | None = None
    last_host: Object | None = None
    created: Object | None = None
    """The copy as created, until the watch shows it."""
    created_at: float = 0.0


class Engine:
    """Syncs one kind to the host."""

    def __init__(self, sync: ToHost, scope: Scope, settings: Any) -> None:
        self.sync = sync
        self.scope = scope
        self.settings = settings
        self.tenant = scope.tenant_objects(sync.resource)
        self.host = scope.host_objects(sync.resource)
        self.controller = Controller(f"sync {sync.resource.qualified}", self.reconcile, workers=WORKERS)
        self._known: dict[str, _Known] = {}
        self._latest_tenant = Latest()
        self._latest_host = Latest()
        self._failures: dict[str, int] = {}
        self._said: dict[str, str] = {}
        self.tenant.add_handler(self._tenant_changed)
        self.host.add_handler(self._host_changed)
        for follow in sync.follows:
            scope.tenant_objects(follow.resource).add_handler(self._follower(follow.keys, follow.events))

    async def run(self) -> None:
        """Works once both sides have been seen whole, so that nothing is taken for missing."""
        waited = [self.tenant, self.host, self.scope.service.informer]
        waited += [self.scope.tenant_objects(follow.resource) for follow in self.sync.follows]
        for informer in waited:
            await informer.synced()
        await self.controller.run()

    # -- what changed --

    def _tenant_changed(self, event: str, obj: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest_tenant.forget(objects.uid(obj))
        self.controller.enqueue(objects.key(obj))

    def _host_changed(self, event: str, obj: Object, old: Object | None) -> None:
        for state in (obj, old):
            key = None if state is None else self.scope.mapping.tenant_key(state, self.sync.resource)
            if key is None:
                continue
            known = self._known.get(key)
            if event == "delete":
                self._latest_host.forget(objects.uid(obj))
            if known is not None and known.created and objects.uid(known.created) == objects.uid(obj):
                known.created = None
            self.controller.enqueue(key)
            return

    def _follower(
        self, keys: Callable[[Object, Scope], Any], events: frozenset[str]
    ) -> Callable[[str, Object, Object | None], None]:
        def handler(event: str, obj: Object, old: Object | None) -> None:
            if event not in events:
                return
            wanted = set(keys(obj, self.scope))
            if old is not None and old is not obj:
                wanted |= set(keys(old, self.scope))
            for key in wanted:
                self.controller.enqueue(key)

        return handler

    # -- one pair --

    async def reconcile(self, key: str) -> Result | None:
        tenant = self.tenant.get_key(key)
        if tenant is not None:
            tenant = self._latest_tenant.of(tenant)
        try:
            result = await self._reconcile(key, tenant)
        except Waiting as waiting:
            self._say(tenant, waiting.reason, str(waiting))
            return Result(waiting.seconds)
        except (Conflict, NotFound) as error:
            log.debug("%s %s: %s", self.controller.name, key, error)
            return self._later(key, 1.0)
        except ServiceUnavailable as error:
            log.debug("%s %s: %s", self.controller.name, key, error)
            return self._later(key, _OUTAGE_DELAY)
        except StatusError as error:
            log.warning("%s %s: %s", self.controller.name, key, error)
            self._say(tenant, "SyncError", error.message)
            return self._later(key, _LONGEST_DELAY)
        self._failures.pop(key, None)
        self._said.pop(key, None)
        return result

    def _later(self, key: str, limit: float) -> Result:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return Result(min(_FIRST_DELAY * 2 ** min(failures, 20), limit))

    def _say(self, tenant: Object | None, reason: str, message: str) -> None:
        if tenant is None:
            return
        name, namespace = objects.name(tenant), objects.namespace(tenant)
        host = self.scope.mapping.host_name_of(tenant, self.sync.resource)
        message = self.scope.mapping.sanitise(message, host, name, namespace)
        key = objects.key(tenant)
        if self._said.get(key) == message:
            return  # still so: every attempt would be a write
        self._said[key] = message
        self.scope.events.event(tenant, self.sync.resource, "Warning", reason, message)

    async def _reconcile(self, key: str, tenant: Object | None) -> Result | None:
        host = await self._host_copy(key)
        if tenant is None:
            if host is None:
                self._known.pop(key, None)
                return None
            return await self._only_host(key, host)
        if self._left_alone(tenant):
            return None
        if not self.sync.wanted(tenant, self.scope, self.settings):
            self._known.pop(key, None)
            if host is not None:
                await self._delete_host(host)
            return None
        if host is None:
            return await self._only_tenant(key, tenant)
        return await self._both(key, tenant, host)

    def _left_alone(self, tenant: Object) -> bool:
        mark = self.scope.mapping.names.controlled_by
        return mark in objects.labels(tenant) or mark in objects.annotations(tenant)

    async def _host_copy(self, key: str) -> Object | None:
        """The host copy as last seen or written; only if it is provably ours."""
        known = self._known.get(key)
        found = self.scope.host_object(self.sync.resource, key)
        if found is not None:
            if known is not None:
                known.created = None
            ours = self.scope.mapping.tenant_key(found, self.sync.resource) == key
            return self._latest_host.of(found) if ours else None
        if known is None or known.created is None:
            return None
        if self.scope.clock.monotonic() - known.created_at > _UNSEEN_SECONDS:
            known.created = await self._ask_host(objects.name(known.created))
        return known.created

    async def _ask_host(self, name: str) -> Object | None:
        where = self.scope.settings.host_namespace if self.sync.resource.namespaced else ""
        try:
            return await self.scope.host.get(self.sync.resource, name, where)
        except NotFound:
            return None

    # -- only one of the two is there --

    async def _only_host(self, key: str, host: Object) -> Result | None:
        """The tenant's object is gone: its copy goes too, once that is certain."""
        if objects.is_deleting(host):
            return None
        blocked = self._blocked(host)
        if blocked > 0:
            return Result(blocked)
        namespace, name = objects.split_key(key)
        try:
            await self.scope.tenant.get(self.sync.resource, name, namespace)
        except NotFound:
            await self._delete_host(host)
            self._known.pop(key, None)
            return None
        return Result(0.1)  # the tenant's watch has yet to show it

    def _blocked(self, host: Object) -> float:
        """Seconds for which the copy is kept, as its tenant object is about to be stored."""
        text = objects.annotations(host).get(self.scope.mapping.names.block_deletion)
        if not text:
            return 0.0
        try:
            return objects.parse_time(text) - self.scope.clock.now()
        except ValueError:
            return 0.0

    async def _only_tenant(self, key: str, tenant: Object) -> Result | None:
        known = self._known.get(key)
        uid = objects.uid(tenant)
        if objects.is_deleting(tenant):
            if self.sync.graceful and (tenant["metadata"].get("deletionGracePeriodSeconds") or 0) > 0:
                await self._delete_tenant(tenant, 0)
            return None
        if known is not None and known.tenant_uid == uid:
            return await self._vanished(key, tenant, known)
        if self.sync.started(tenant):
            await self._delete_tenant(tenant, 0)
            return None
        return await self._create(key, tenant)

    async def _vanished(self, key: str, tenant: Object, known: _Known) -> Result | None:
        """The copy was there and is not: deleted on the host, unless someone only took its label away."""
        found = await self._ask_host(self.scope.mapping.host_name_of(tenant, self.sync.resource))
        if found is None:
            await self._delete_tenant(tenant, 0 if self.sync.graceful or self.sync.force else None)
            self._known.pop(key, None)
            return None
        if objects.uid(found) != known.host_uid:
            log.info("%s %s: another object has the name of its copy on the host", self.controller.name, key)
            return Result(_FOREIGN_DELAY)
        pair = Pair(tenant, found, known.last_tenant, known.last_host)
        metadata.update(pair, self.sync, self.scope)
        known.created = await self._write(self.scope.host, found, pair.host)
        known.created_at = self.scope.clock.monotonic()
        return None

    async def _create(self, key: str, tenant: Object) -> Result | None:
        scope, kind = self.scope, self.sync.resource
        body = await self.sync.to_host(tenant, scope, self.settings)
        wanted = metadata.create(tenant, body, self.sync, scope)
        try:
            made = await scope.host.create(
                kind, wanted, scope.settings.host_namespace if kind.namespaced else ""
            )
        except AlreadyExists:
            return await self._name_taken(key, wanted)
        known = self._known[key] = _Known(objects.uid(tenant), objects.uid(made), tenant, wanted)
        if self.host.get(objects.namespace(made), objects.name(made)) is None:
            known.created, known.created_at = made, scope.clock.monotonic()
        else:
            self._latest_host.remember(made)
        # What the host filled in flows back at once, not only when its watch has shown it.
        return await self._both(key, tenant, made)

    async def _name_taken(self, key: str, wanted: Object) -> Result | None:
        found = await self._ask_host(objects.name(wanted))
        if found is None:
            return Result(0.05)
        if self.scope.mapping.tenant_key(found, self.sync.resource) == key:
            return Result(0.5 if objects.is_deleting(found) else 0.05)
        log.info("%s %s: another object has the name of its copy on the host", self.controller.name, key)
        return Result(_FOREIGN_DELAY)

    # -- both are there --

    async def _both(self, key: str, tenant: Object, host: Object) -> Result | None:
        uid, sync = objects.uid(tenant), self.sync
        known = self._known.get(key)
        if self.scope.mapping.tenant_uid(host) != uid and not sync.survives_recreation:
            # The tenant's object was deleted and made again before its copy was gone.
            self._known.pop(key, None)
            if not objects.is_deleting(host):
                await self._delete_host(host)
            return None
        if known is None or known.tenant_uid != uid or known.host_uid != objects.uid(host):
            kept = known.created if known is not None else None
            known = self._known[key] = _Known(uid, objects.uid(host), created=kept)
        if await self._deleting(tenant, host) and not sync.status:
            return None
        pair = Pair(tenant, host, known.last_tenant, known.last_host)
        metadata.update(pair, sync, self.scope)
        sync.update(pair, self.scope, self.settings)
        await sync.before(pair, self.scope, self.settings)
        await self._write_pair(pair, known)
        if not objects.is_deleting(tenant) and not objects.is_deleting(host):
            await sync.after(pair, self.scope, self.settings)
        return None

    async def _deleting(self, tenant: Object, host: Object) -> bool:
        """Whether the pair is on its way out; passes the deletion on to the one that does not know yet."""
        mine, theirs = objects.is_deleting(tenant), objects.is_deleting(host)
        if mine and not theirs:
            await self._delete_host(host, self._grace(tenant))
        elif theirs and not mine:
            await self._delete_tenant(tenant, self._grace(host))
        elif mine and theirs and self.sync.graceful:
            left, given = self._grace(tenant) or 0, self._grace(host) or 0
            if left < given:
                await self._delete_host(host, left)
        return mine or theirs

    def _grace(self, obj: Object) -> int | None:
        if not self.sync.graceful:
            return None
        seconds = obj["metadata"].get("deletionGracePeriodSeconds")
        return None if seconds is None else int(seconds)

    async def _write_pair(self, pair: Pair, known: _Known) -> None:
        deleting = objects.is_deleting(pair.tenant_now) or objects.is_deleting(pair.host_now)
        if deleting:
            # Only what happens to it still counts.
            pair.host = pair.host_now
            status = {"status": pair.tenant["status"]} if "status" in pair.tenant else {}
            pair.tenant = {**pair.tenant_now, **status}
        if pair.host == pair.host_now:
            pair.host = pair.host_now  # the shared one, so that nothing is kept twice
        else:
            written = await self._write(self.scope.host, pair.host_now, pair.host)
            if known.created is not None:
                known.created = written
            self._latest_host.remember(written)
        if pair.tenant == pair.tenant_now:
            pair.tenant = pair.tenant_now
        else:
            written = await self._write(self.scope.tenant, pair.tenant_now, pair.tenant)
            self._latest_tenant.remember(written)
        if not deleting:
            known.last_tenant, known.last_host = pair.tenant, pair.host

    # -- writing --

    async def _write(self, client: Any, old: Object, new: Object) -> Object:
        """Patches what differs, the object first, then its status; returns what is there then."""
        kind, now = self.sync.resource, old
        name, namespace = objects.name(old), objects.namespace(old)
        patch = translate.difference(old, new)
        status = patch.pop("status", None) if self.sync.status else None
        # An object of the same name that was made since must not get what was meant for this one.
        guard = {"uid": objects.uid(old)}
        if patch:
            patch["metadata"] = {**patch.get("metadata", {}), **guard}
            now = await client.patch(kind, name, patch, namespace)
        if status is not None:
            now = await client.patch(
                kind, name, {"metadata": guard, "status": status}, namespace, subresource="status"
            )
        return _slim(now)

    async def _delete_host(self, host: Object, grace: int | None = None) -> None:
        """Only as it was last seen: who has changed it since (an allocation) is asked first."""
        version = host["metadata"].get("resourceVersion", "") if self.sync.survives_recreation else ""
        try:
            await self.scope.host.delete(
                self.sync.resource, objects.name(host), objects.namespace(host), grace=grace,
                propagation="Background", uid=objects.uid(host), resource_version=version,
            )  # fmt: skip
        except NotFound:
            return

    async def _delete_tenant(self, tenant: Object, grace: int | None) -> None:
        try:
            await self.scope.tenant.delete(
                self.sync.resource, objects.name(tenant), objects.namespace(tenant), grace=grace,
                propagation="Background", uid=objects.uid(tenant),
            )  # fmt: skip
        except NotFound:
            return


def _slim(obj: Object) -> Object:
    obj.get("metadata", {}).pop("managedFields", None)
    return obj
