"""What the graph of owners asks for, done at the API: verify, delete, orphan, unblock.

Source: reference/kubernetes-api.md C (garbage-collector). The graph is trusted for what lives (a deletion brings an
event of its own), the API alone for what does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

from sublet.controllers.garbage_collector.graph import FOREGROUND, ORPHAN, Graph, Node, Owner, owners_of
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import Conflict, NotFound, ServiceUnavailable, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.discovery import discover
from sublet.reconcile.manager import Context
from sublet.reconcile.metadata import MetadataWatch
from sublet.reconcile.result import Result

log = logging.getLogger(__name__)

_RESYNC = 30.0
_SOON = 0.5
_LOOK_AGAIN = 5.0
_SYNC = 30.0
_IGNORED = frozenset({"events", "events.events.k8s.io"})
_ABSENT_REMEMBERED = 500
_TRIES = 5

_Absent = tuple[str, Owner]
"""Namespace and owner: what is absent under one name or in one namespace may be there under another."""
_Change = Callable[[Object], Object | None]
"""metadata -> the parts of it to change, or None where it is as wanted"""


class UnknownOwnerKind(ServiceUnavailable):
    """An owner reference names a kind that is not served (yet): nothing can be said about the owner."""


class GarbageCollector:
    """A :class:`~sublet.reconcile.manager.Runnable`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._deletions = Controller("garbage-collector-controller", self._check, workers=20)
        self._orphans = Controller("garbage-collector-controller orphans", self._orphan, workers=5)
        self.controllers = (self._deletions, self._orphans)
        self.graph = Graph(self._deletions.enqueue, self._orphans.enqueue)
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._monitors: dict[Resource, tuple[MetadataWatch, asyncio.Task[None]]] = {}
        self._informed: set[Resource] = set()
        self._absent: OrderedDict[_Absent, None] = OrderedDict()
        self._refresh = asyncio.Event()
        self._begun = False
        self._unresolved: set[str] = set()
        """Dependents whose owner's kind was not known: looked at again after the next discovery."""

    async def run(self) -> None:
        try:
            await self._follow()
            await self._synced()
            if self._begun:
                self._check_all()
            self._begun = True
            async with asyncio.TaskGroup() as group:
                for part in (self._deletions.run(), self._orphans.run(), self._resync()):
                    group.create_task(part)
        finally:
            for _monitor, task in self._monitors.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._monitors.values()), return_exceptions=True)
            self._monitors.clear()

    def _check_all(self) -> None:
        """After a failure, what waited for another try is not known any more."""
        for uid, node in self.graph.nodes.items():
            (self._orphans if node.orphaning else self._deletions).enqueue(uid)

    async def _synced(self) -> None:
        """Orphans and owners in wait are decided by what the graph holds: it has to hold everything first."""
        waits = [
            informer.synced() for informer in map(self._context.informers.held, self._informed) if informer
        ]
        try:
            async with asyncio.timeout(_SYNC):
                await asyncio.gather(*waits)
        except TimeoutError:
            log.warning(
                "garbage collection begins though not every resource could be listed in %.0f s", _SYNC
            )

    # -- following every resource --

    def seen(self, resource: Resource, obj: Object) -> None:
        self.graph.seen(resource, obj)
        self._definitions_changed(resource)

    def deleted(self, resource: Resource, obj: Object) -> None:
        self.graph.gone(objects.uid(obj))
        self._definitions_changed(resource)

    def listed(self, resource: Resource, uids: set[str]) -> None:
        for uid in self.graph.missing(resource, uids):
            self.graph.gone(uid)

    def _definitions_changed(self, resource: Resource) -> None:
        if resource.plural == "customresourcedefinitions":
            self._refresh.set()

    async def _resync(self) -> None:
        """Every 30 s, and soon after a custom resource definition changed."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESYNC):
                    await self._refresh.wait()
                await asyncio.sleep(_SOON)
            self._refresh.clear()
            try:
                await self._follow()
            except StatusError as error:
                log.warning("garbage collection: %s", error)
            except Exception:
                # The next discovery may be readable again; the queues go on meanwhile.
                log.exception("garbage collection cannot tell what is served")

    async def _follow(self) -> None:
        discovery = await discover(self._client)
        self._kinds = {(found.resource.api_version, found.resource.kind): found.resource
                       for found in discovery.resources}  # fmt: skip
        while self._unresolved:
            self._deletions.enqueue(self._unresolved.pop())
        wanted = {
            found
            for found in discovery.with_verbs("delete", "list", "watch")
            if found.qualified not in _IGNORED
        }
        for resource in wanted - self._monitors.keys() - self._informed:
            self._start(resource)
        stale = set(discovery.failed)
        for resource in self._monitors.keys() - wanted:
            if resource.api_version not in stale:
                await self._stop(resource)
        await asyncio.gather(*(monitor.tried.wait() for monitor, _ in self._monitors.values()))

    def _start(self, resource: Resource) -> None:
        informer = self._context.informers.held(resource)
        if informer is None:
            monitor = MetadataWatch(self._client, resource, self)
            task = asyncio.create_task(monitor.run(), name=f"metadata of {resource.qualified}")
            self._monitors[resource] = (monitor, task)
            return
        self._informed.add(resource)

        def handler(event: str, obj: Object, old: Object | None) -> None:
            if event == "delete":
                self.deleted(resource, old or obj)
            else:
                self.seen(resource, obj)

        informer.add_handler(handler)

    async def _stop(self, resource: Resource) -> None:
        _monitor, task = self._monitors.pop(resource)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.listed(resource, set())

    # -- one object --

    async def _check(self, uid: str) -> Result | None:
        node = self.graph.nodes.get(uid)
        if node is None or (node.deleting and not node.waiting):
            return None
        latest = await self._get(node)
        if latest is None:
            self.graph.gone(uid)
            return None
        if node.waiting:
            await self._wait_for_dependents(node)
            return None
        owners = owners_of(latest["metadata"])
        if not owners or objects.is_deleting(latest):
            return None
        solid, dangling, waiting = await self._classify(node, owners)
        if solid:
            if dangling or waiting:
                await self._drop_owners(node, {owner.uid for owner in (*dangling, *waiting)})
            return self._again(node, solid)
        await self._collect(node, latest, waiting)
        return None

    def _again(self, node: Node, solid: Sequence[Owner]) -> Result | None:
        """An owner that only the API knows may go before a watch tells of it, and then no event would come."""
        for owner in solid:
            resource = self._kinds.get((owner.api_version, owner.kind))
            if resource is None or (resource.namespaced and not node.namespace):
                continue  # nothing will ever be known about it
            followed = resource in self._monitors or resource in self._informed
            if followed and owner.uid not in self.graph.present:
                return Result(_LOOK_AGAIN)
        return None

    async def _collect(self, node: Node, latest: Object, waiting: Sequence[Owner]) -> None:
        uid = node.uid
        if waiting and self.graph.dependents(uid):
            if any(dependent.waiting for dependent in self.graph.dependents(uid)):
                await self._unblock(node)  # a circle: each would wait for the other for ever
            await self._delete(node, latest, "Foreground")
            return
        await self._delete(node, latest, _propagation(latest))

    async def _classify(
        self, node: Node, owners: Sequence[Owner]
    ) -> tuple[list[Owner], list[Owner], list[Owner]]:
        """(owners that live, owners that are gone, owners that wait for their dependents to go)"""
        solid: list[Owner] = []
        dangling: list[Owner] = []
        waiting: list[Owner] = []
        for owner in owners:
            above = self.graph.nodes.get(owner.uid)
            if self.graph.knows(owner, node.namespace):
                (waiting if above is not None and above.waiting else solid).append(owner)
            elif (node.namespace, owner) in self._absent:
                dangling.append(owner)
            else:
                found = await self._live_owner(node, owner)
                if found is None:
                    self._remember_absent((node.namespace, owner))
                    dangling.append(owner)
                elif objects.is_deleting(found) and FOREGROUND in objects.finalizers(found):
                    waiting.append(owner)
                else:
                    solid.append(owner)
        return solid, dangling, waiting

    async def _live_owner(self, node: Node, owner: Owner) -> Object | None:
        resource = self._kinds.get((owner.api_version, owner.kind))
        if resource is None:
            resource = self._any_version(node, owner)
        if resource.namespaced and not node.namespace:
            message = (
                f"ownerRef [{owner.api_version}/{owner.kind}, namespace: , name: {owner.name}, uid: {owner.uid}] "
                f"does not exist in namespace {node.namespace!r}"
            )
            self._invalid_owner(node, message)
            return {"metadata": {"uid": owner.uid}}  # nothing can be said about it: it counts as living
        try:
            found = await self._client.get(
                resource, owner.name, node.namespace if resource.namespaced else ""
            )
        except NotFound:
            found = None
        if found is not None and objects.uid(found) == owner.uid:
            return found
        if owner.uid in self.graph.present:
            self._invalid_owner(
                node,
                f"ownerRef [{owner.api_version}/{owner.kind}, namespace: {node.namespace}, name: {owner.name}, "
                f'uid: {owner.uid}] does not exist in namespace "{node.namespace}"',
            )
        return None

    def _any_version(self, node: Node, owner: Owner) -> Resource:
        """The owner's resource in the version the reference names, which need not be the preferred one."""
        group, _, version = owner.api_version.rpartition("/")
        for resource in self._kinds.values():
            if resource.group == group and resource.kind == owner.kind:
                return Resource(group, version, resource.plural, resource.kind, resource.namespaced)
        self._unresolved.add(node.uid)
        raise UnknownOwnerKind(f"no resource of kind {owner.kind} in {owner.api_version} is served")

    def _invalid_owner(self, node: Node, message: str) -> None:
        obj = {"metadata": {"name": node.name, "namespace": node.namespace, "uid": node.uid}}
        self._context.events.event(obj, node.resource, "Warning", "OwnerRefInvalidNamespace", message)

    def _remember_absent(self, absent: _Absent) -> None:
        self._absent[absent] = None
        if len(self._absent) > _ABSENT_REMEMBERED:
            self._absent.popitem(last=False)

    async def _wait_for_dependents(self, node: Node) -> None:
        blocking = [d for d in self.graph.dependents(node.uid) if d.blocks(node.uid)]
        if not blocking:
            await self._drop_finalizer(node, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.waiting:
                self._deletions.enqueue(dependent.uid)

    async def _orphan(self, uid: str) -> None:
        """Takes the owner out of its dependents' references, then lets it go."""
        node = self.graph.nodes.get(uid)
        if node is None:
            return
        await asyncio.gather(*(self._drop_owners(d, {uid}) for d in self.graph.dependents(uid)))
        await self._drop_finalizer(node, ORPHAN)

    # -- writes --

    async def _get(self, node: Node) -> Object | None:
        try:
            found = await self._client.get(node.resource, node.name, node.namespace)
        except NotFound:
            return None
        return found if objects.uid(found) == node.uid else None

    async def _delete(self, node: Node, latest: Object, propagation: str) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(
                node.resource, node.name, node.namespace, propagation=propagation, uid=node.uid,
                resource_version=latest["metadata"]["resourceVersion"],
            )  # fmt: skip

    async def _drop_owners(self, node: Node, uids: set[str]) -> None:
        def change(metadata: Object) -> Object | None:
            references = metadata.get("ownerReferences") or []
            kept = [reference for reference in references if reference.get("uid") not in uids]
            return None if len(kept) == len(references) else {"ownerReferences": kept or None}

        await self._change(node, change)

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        def change(metadata: Object) -> Object | None:
            finalizers = metadata.get("finalizers") or []
            kept = [each for each in finalizers if each != finalizer]
            return None if len(kept) == len(finalizers) else {"finalizers": kept or None}

        await self._change(node, change)

    async def _unblock(self, node: Node) -> None:
        def change(metadata: Object) -> Object | None:
            references = metadata.get("ownerReferences") or []
            freed = [{**reference, "blockOwnerDeletion": False} for reference in references]
            return None if freed == references else {"ownerReferences": freed}

        await self._change(node, change)

    async def _change(self, node: Node, change: _Change) -> None:
        """A merge patch of the metadata as it is now; custom resources take no strategic one."""
        for attempt in range(_TRIES):
            latest = await self._get(node)
            if latest is None or (changed := change(latest["metadata"])) is None:
                return
            metadata = {"uid": node.uid, "resourceVersion": latest["metadata"]["resourceVersion"], **changed}
            try:
                await self._client.patch(node.resource, node.name, {"metadata": metadata}, node.namespace)
                return
            except NotFound:
                return
            except Conflict:
                if attempt == _TRIES - 1:
                    raise


def _propagation(obj: Object) -> str:
    finalizers = objects.finalizers(obj)
    if ORPHAN in finalizers:
        return "Orphan"
    if FOREGROUND in finalizers:
        return "Foreground"
    return "Background"
