"""Cluster-scoped host objects shown in the tenant under their own names; the host decides."""

from __future__ import annotations

from collections.abc import Callable

from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result
from sublet.syncer import translate
from sublet.syncer.declare import Scope

_SERVER_SET = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "finalizers")  # fmt: skip


class Mirror:
    """Keeps the tenant's objects of one kind equal to the host's that ``selected`` takes.

    What the tenant has under other names stays; what it changes of a mirrored one is undone.
    """

    def __init__(self, kind: Resource, scope: Scope, selected: Callable[[Object], bool]) -> None:
        self._kind = kind
        self._scope = scope
        self._selected = selected
        self._mark = scope.mapping.names.key("object-imported")
        self._controller = Controller(f"{kind.qualified} from host", self._reconcile, workers=2)
        self._host = scope.host_informers.informer(kind)
        self._tenant = scope.tenant_objects(kind)
        for informer in (self._host, self._tenant):
            informer.add_handler(self._controller.enqueue_object)

    async def run(self) -> None:
        await self._host.synced()
        await self._tenant.synced()
        await self._controller.run()

    def _wanted(self, name: str) -> Object | None:
        host = self._host.get("", name)
        if host is None or not self._selected(host):
            return None
        metadata = {k: v for k, v in host["metadata"].items() if k not in _SERVER_SET}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), self._mark: "true"}
        return {**{k: v for k, v in host.items() if k != "status"}, "metadata": metadata}

    async def _reconcile(self, name: str) -> Result | None:
        wanted, current = self._wanted(name), self._tenant.get("", name)
        if wanted is None:
            if current is not None and objects.annotations(current).get(self._mark) == "true":
                await self._delete(current)
            return None
        if current is None:
            await self._create(wanted)
            return None
        comparable = {**{k: v for k, v in current.items() if k != "status"}}
        comparable["metadata"] = {k: v for k, v in current["metadata"].items() if k not in _SERVER_SET}
        patch = translate.difference(comparable, wanted)
        if patch:
            await self._scope.tenant.patch(self._kind, name, patch)
        return None

    async def _create(self, wanted: Object) -> None:
        try:
            await self._scope.tenant.create(self._kind, wanted)
        except AlreadyExists:
            return

    async def _delete(self, current: Object) -> None:
        try:
            await self._scope.tenant.delete(self._kind, objects.name(current), uid=objects.uid(current))
        except NotFound:
            return
