"""resourcequota-controller: recounts what a namespace uses when a quota changes or something is freed.

Admission adds to ``status.used``; only this controller takes away. Settings: ``resource_quota_sync_period`` (300) is
after how many seconds everything is counted again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects, quota
from sublet.machinery.kind import Object, Resource
from sublet.machinery.quantity import Quantity, from_value
from sublet.machinery.status import NotFound, StatusError
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.discovery import discover
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context, Registration, Runnable
from sublet.reconcile.metadata import MetadataWatch

log = logging.getLogger(__name__)

_QUOTAS = resource("resourcequotas")
_STANDARD = tuple(
    resource(name)
    for name in (
        "pods", "services", "persistentvolumeclaims", "replicationcontrollers", "secrets", "configmaps",
        "resourcequotas",
    )
)  # fmt: skip
_RESYNC = 300.0
_GATHER = 0.1
_PAGE = 500


def counted_kinds(hard: Sequence[str], known: Sequence[Resource]) -> list[Resource]:
    """The resources whose objects count against these names."""
    return [each for each in known if quota.tracked(each.group, each.plural, hard)]


def is_stuck(pod: Object, now: float) -> bool:
    """Whether a pod should long be gone: its node is lost, and whoever owns it shall have another."""
    metadata = pod.get("metadata") or {}
    deleted, grace = metadata.get("deletionTimestamp") or "", metadata.get("deletionGracePeriodSeconds")
    return bool(deleted) and grace is not None and now > objects.parse_time(deleted) + int(grace)


def used(of: Object, kinds: Sequence[tuple[Resource, Sequence[Object]]], now: float) -> dict[str, str]:
    """status.used: the sum over all objects that the quota's scopes take in."""
    hard = (of.get("spec") or {}).get("hard") or {}
    sums: dict[str, Quantity] = {name: from_value(0) for name in hard}
    for kind, found in kinds:
        for obj in found:
            if not quota.in_scope(of, kind.plural, obj):
                continue
            if kind.qualified == "pods" and is_stuck(obj, now):
                continue
            for name, amount in quota.of_object(kind.group, kind.plural, obj).items():
                if name in sums:
                    sums[name] = sums[name] + amount
    return {name: amount.canonical() for name, amount in sums.items()}


class QuotaRecount:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._quotas = context.informers.informer(_QUOTAS)
        self._latest = Latest()
        self._known: dict[str, Resource] = {each.qualified: each for each in _STANDARD}
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._resync = float(context.settings.get("resource_quota_sync_period", _RESYNC))
        self._wake = asyncio.Event()
        self.controller = Controller("resourcequota-controller", self.reconcile, workers=5)
        self._quotas.add_handler(self._on_quota)

    def _on_quota(self, event: str, found: Object, old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(found))
        elif old is None or old["spec"] != found["spec"] or "status" not in found:
            self._wake.set()
            self.controller.enqueue(objects.key(found))
        elif old.get("status") != found.get("status"):
            # Admission counted something in: look whether it is really there.
            self.controller.enqueue_after(objects.key(found), 5.0)

    async def run(self) -> None:
        """Follows the kinds that quotas count, and recounts everything every five minutes."""
        try:
            while True:
                await self._follow()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._resync):
                        await self._wake.wait()
                    self._wake.clear()
                    continue
                for found in self._quotas.list():
                    self.controller.enqueue(objects.key(found))
        finally:
            for task in self._watched.values():
                task.cancel()
            await asyncio.gather(*self._watched.values(), return_exceptions=True)
            self._watched.clear()

    async def _follow(self) -> None:
        hard = {name for each in self._quotas.list() for name in each["spec"].get("hard") or ()}
        if any(name.startswith("count/") for name in hard):
            try:
                found = (await discover(self._client)).with_verbs("list", "watch")
                self._known = {each.qualified: each for each in found if each.namespaced}
            except StatusError as error:
                log.warning("resource quotas: %s", error)
        wanted = {each.qualified: each for each in counted_kinds([*hard], [*self._known.values()])}
        for name in [name for name in self._watched if name not in wanted]:
            self._watched.pop(name).cancel()
        for name, each in wanted.items():
            if name not in self._watched:
                self._watched[name] = asyncio.create_task(self._watch(each), name=f"quota of {name}")

    async def _watch(self, kind: Resource) -> None:
        informer = self._context.informers.held(kind)
        if informer is None:
            await MetadataWatch(self._client, kind, self).run()
            return

        def handler(event: str, obj: Object, old: Object | None) -> None:
            if event == "delete" or (old is not None and _frees(kind, old, obj)):
                self._recount(objects.namespace(obj))

        informer.add_handler(handler)
        try:
            await asyncio.Event().wait()
        finally:
            informer.remove_handler(handler)

    def seen(self, kind: Resource, obj: Object) -> None:
        """Additions are admission's to count."""

    def deleted(self, kind: Resource, obj: Object) -> None:
        self._recount(objects.namespace(obj))

    def listed(self, kind: Resource, uids: set[str]) -> None:
        for found in self._quotas.list():
            self.controller.enqueue_after(objects.key(found), _GATHER)

    def _recount(self, namespace: str) -> None:
        for found in self._quotas.list(namespace):
            self.controller.enqueue_after(objects.key(found), _GATHER)

    async def reconcile(self, key: str) -> None:
        cached = self._quotas.get(*objects.split_key(key))
        if cached is None or objects.is_deleting(cached):
            return
        found = self._latest.of(cached)
        hard = found["spec"].get("hard") or {}
        kinds = counted_kinds([*hard], [*self._known.values()])
        listed = [(each, await self._list(each, objects.namespace(found))) for each in kinds]
        status = {"hard": hard, "used": used(found, listed, self._context.clock.now())}
        if status == (found.get("status") or {}):
            return
        try:
            written = await self._client.update_status(_QUOTAS, {**found, "status": status})
        except NotFound:
            return
        self._latest.remember(written)

    async def _list(self, kind: Resource, namespace: str) -> list[Object]:
        """From the API, not from a cache: what is counted too low lets too much in."""
        found: list[Object] = []
        token = ""
        while True:
            page = await self._client.list(kind, namespace, limit=_PAGE, continue_token=token)
            found += page["items"]
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found


def _frees(kind: Resource, old: Object, new: Object) -> bool:
    """Whether an update may have lowered what the object uses."""
    if kind.plural == "pods":
        return workloads.is_finished(new) != workloads.is_finished(old) or (
            old["spec"] != new["spec"] or objects.is_deleting(old) != objects.is_deleting(new)
        )
    return bool(old.get("spec") != new.get("spec"))


def setup(context: Context) -> Sequence[Runnable]:
    recount = QuotaRecount(context)
    return [recount.controller, recount]


CONTROLLER = Registration("resourcequota-controller", setup)
