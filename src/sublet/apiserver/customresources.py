"""Custom resources: a definition that is written is served at once, one that is deleted takes its objects along."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from sublet.apiserver import crd_status
from sublet.apiserver.celmetrics import CelMetrics
from sublet.apiserver.crd_conversion import WebhookConverter
from sublet.apiserver.crd_definition import Definition
from sublet.apiserver.deletion import CLEANUP, DeleteOptions
from sublet.apiserver.registry import Registry
from sublet.apiserver.stored import key_prefix, place
from sublet.apiserver.watchcache import CachedEntry, WatcherOverrun
from sublet.apiserver.webhookclient import WebhookClient
from sublet.apiserver.writing import SYSTEM_USER, Transaction, Write
from sublet.machinery import codec, objects
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import FieldError, NotFound, StatusError
from sublet.store.interface import Compacted, StoreClosed

_log = logging.getLogger(__name__)

GROUP, PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"
_PAUSE = 0.5
"""Seconds between two looks for objects that finalizers still keep."""


def definition_kind(kind: Kind) -> Kind:
    """The built-in kind CustomResourceDefinition with the rules that this room has for it."""
    return replace(
        kind,
        default=_default,
        prepare_create=crd_status.initial,
        prepare_update=crd_status.kept,
        validate_status=_validate_status,
        generation=True,
        unconditional_update=False,
    )


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    from sublet.apiserver import crd_validation

    return crd_validation.validate_status(new, old)


def _default(crd: Object) -> None:
    spec = crd.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    conversion.setdefault("strategy", "None")
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service:
        service.setdefault("port", 443)


class CustomResources:
    """Keeps the served kinds in step with the definitions; the registry's duty around their writes."""

    def __init__(self, registry: Registry, webhooks: WebhookClient) -> None:
        self._registry = registry
        self._webhooks = webhooks
        self.metrics = CelMetrics()
        self._follower: asyncio.Task[None] | None = None
        self._definitions: dict[str, Definition] = {}
        self._served: dict[str, tuple[Any, ...]] = {}
        """Name -> what was served of it, to tell changes from mere conditions."""
        self._leaving: set[str] = set()
        """UIDs of definitions whose objects are all gone, and which are about to go."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._negotiating = asyncio.Lock()
        """One definition at a time takes names, so that each sees what the one before it took."""

    async def start(self) -> None:
        """Serves every definition that is stored; returns once they all are."""
        revision = self._load()
        self._follower = asyncio.create_task(self._follow(revision), name="custom resource definitions")

    async def stop(self) -> None:
        tasks = [*self._tasks.values(), *([self._follower] if self._follower is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def definition(self, group: str, plural: str) -> Object | None:
        """The definition of a custom resource, without its schemas. Shared: do not change it."""
        found = self._definitions.get(f"{plural}.{group}")
        return None if found is None else found.object

    async def errors(self, new: Object, old: Object | None, write: Write) -> Sequence[FieldError]:
        """What is wrong with a definition that is to be written, and what is said of one that is fine.

        Schemas can be long: they are read on a thread.
        """
        from sublet.apiserver import crd_formats, crd_validation

        found = await asyncio.to_thread(crd_validation.validate, new, old)
        if not found:
            write.warnings += await asyncio.to_thread(crd_formats.warnings, new, old)
        return found

    # -- the registry's duty --

    async def settle(self, kind: Kind, new: Object, old: Object | None) -> None:
        """Definitions hang on nothing but themselves."""

    async def begin(self, new: Object | None, old: Object | None, dry_run: bool) -> Transaction | None:
        return None

    async def wrote(self, new: Object | None, old: Object | None) -> None:
        """Serves what has just been written before the writer is answered."""
        name = objects.name(new or old or {})
        if new is None:
            self._take(name, None)
        else:
            self._changed(name, await self._current(name))

    # -- following --

    def _load(self) -> int:
        """Takes in all definitions there are; returns the revision they stand at."""
        cache = self._registry.cache(self._kind())
        for entry in cache.entries():
            self._changed(_name(entry), self._read(entry))
        return cache.revision

    async def _follow(self, after: int) -> None:
        cache = self._registry.cache(self._kind())
        while True:
            try:
                with cache.watch(after) as watcher:
                    while True:
                        for event in await watcher.next():
                            gone = event.type == "delete"
                            self._changed(_name(event.entry), None if gone else self._read(event.entry))
            except (WatcherOverrun, Compacted):
                after = self._load()
            except StoreClosed:
                return

    def _read(self, entry: CachedEntry) -> Definition:
        return Definition.read(self._registry.format(self._kind()).body(entry.value, entry.revision))

    async def _current(self, name: str) -> Definition | None:
        entry = await self._registry.entry(self._kind(), "", name)
        return None if entry is None else self._read(entry)

    def _changed(self, name: str, definition: Definition | None) -> None:
        known = self._definitions.get(name)
        if definition is not None and known is not None and known.same(definition):
            return
        self._take(name, definition)

    def _take(self, name: str, definition: Definition | None) -> None:
        plural, _, group = name.partition(".")
        if definition is None:
            known = self._definitions.pop(name, None)
            if known is not None:
                self._leaving.discard(objects.uid(known.object))
                self._reconsider(group, name)
            self._unserve(group, plural)
            return
        self._definitions[name] = definition
        crd = definition.object
        if objects.is_true(crd, "Established") and objects.uid(crd) not in self._leaving:
            self._serve(definition)
        self._begin(name, self._settle)

    def _serve(self, definition: Definition) -> None:
        from sublet.apiserver import customkinds

        crd = definition.object
        spec = crd["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        state = (spec, definition.digests, _accepted(crd), objects.is_deleting(crd))
        before = self._served.get(objects.name(crd))
        if before == state and self._registry.kinds.is_custom(group, plural):
            return
        try:
            converter = WebhookConverter.of(crd, self._webhooks, self._new_uid)
            kind = customkinds.build(definition, self._registry.minor, converter, self.metrics)
            old = self._registry.kinds.stored(group, plural)
            self._registry.kinds.add(kind, unserved=customkinds.unserved(crd))
        except (ValueError, KeyError, StopIteration) as error:
            _log.warning("the definition %s cannot be served: %s", objects.name(crd), error)
            return
        self._served[objects.name(crd)] = state
        if old is not None and before is not None and before[:3] == state[:3]:
            self._registry.forget(old)  # it only began to go: watches see its objects go first
        elif old is not None:
            self._retire(old)

    def _new_uid(self) -> str:
        return str(uuid.UUID(int=self._registry.rng.getrandbits(128), version=4))

    def _unserve(self, group: str, plural: str) -> None:
        kinds = self._registry.kinds
        self._served.pop(f"{plural}.{group}", None)
        if kinds.is_custom(group, plural):
            old = kinds.stored(group, plural)
            kinds.remove(group, plural)
            if old is not None:
                self._retire(old, keep=True)

    def _retire(self, kind: Kind, *, keep: bool = False) -> None:
        """Ends the watches that show objects by a schema that is no more; clients resume with the new one.

        ``keep``: after the events that are on their way, such as the going of the last objects.
        """
        cache = self._registry.cache(kind)
        cache.end_watchers(WatcherOverrun(f"the definition of {kind.resource.qualified} changed"), keep=keep)
        for entry in cache.entries():
            # What was decoded lacks what the new schema defaults and holds what it prunes.
            entry.forget()
        self._registry.forget(kind)

    def _begin(self, name: str, work: Callable[[str], Awaitable[None]]) -> None:
        """Runs the work of one definition after what is still running for it."""
        before = self._tasks.get(name)

        async def run() -> None:
            if before is not None:
                await asyncio.gather(before, return_exceptions=True)
            try:
                await work(name)
            except StatusError as error:
                _log.warning("the definition %s could not be settled: %s", name, error.message)

        task = asyncio.get_running_loop().create_task(run(), name=f"definition {name}")
        self._tasks[name] = task
        task.add_done_callback(
            lambda done: self._tasks.pop(name, None) if self._tasks.get(name) is done else None
        )

    # -- conditions and deletion --

    async def _settle(self, name: str) -> None:
        definition = self._definitions.get(name)
        if definition is None:
            return
        if objects.is_deleting(definition.object):
            await self._clean_up(name)
            return
        async with self._negotiating:
            await self._negotiate(name)

    async def _negotiate(self, name: str) -> None:
        known = self._definitions.get(name)
        if known is None:
            return
        now = objects.rfc3339(self._registry.clock.now())
        spec = known.object["spec"]
        kinds = self._registry.kinds
        built_in = kinds.stored(spec["group"], spec["names"]["plural"]) is not None
        built_in = built_in and not kinds.is_custom(spec["group"], spec["names"]["plural"])
        group = self._of_group(spec["group"])
        await self._registry.change(
            self._kind(), "", name, lambda obj: crd_status.settle(obj, group, built_in, now), "status"
        )
        changed = await self._current(name)
        if changed is not None and not changed.same(known):
            self._definitions[name] = changed
            if objects.is_true(changed.object, "Established"):
                self._serve(changed)
            if _accepted(changed.object) != _accepted(known.object):
                self._reconsider(spec["group"], name)

    def _of_group(self, group: str) -> list[Object]:
        crds = (definition.object for definition in self._definitions.values())
        return [crd for crd in crds if crd["spec"]["group"] == group]

    def _reconsider(self, group: str, but: str) -> None:
        """A name may have become free for those that wait for it."""
        for name, definition in self._definitions.items():
            crd = definition.object
            if name != but and crd["spec"]["group"] == group and not objects.is_true(crd, "NamesAccepted"):
                self._begin(name, self._settle)

    async def _clean_up(self, name: str) -> None:
        """Deletes all objects of a definition that is being deleted, then lets it go."""
        crd = self._definitions[name].object
        if CLEANUP not in objects.finalizers(crd):
            return
        await self._tell(name, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        spec = crd["spec"]
        established = objects.is_true(crd, "Established")
        kind = self._registry.kinds.stored(spec["group"], spec["names"]["plural"])
        if kind is not None and self._registry.kinds.is_custom(spec["group"], spec["names"]["plural"]):
            left = await self._delete_objects(kind)
            while left:
                await asyncio.sleep(_PAUSE)
                left = await self._delete_objects(kind)

        if objects.finalizers(crd) == [CLEANUP]:
            # Who finds the definition gone must find its resource gone.
            self._leaving.add(objects.uid(crd))
            self._unserve(spec["group"], spec["names"]["plural"])

        def edit(obj: Object) -> bool:
            left = [f for f in objects.finalizers(obj) if f != CLEANUP]
            if len(left) == len(objects.finalizers(obj)):
                return False
            obj["metadata"]["finalizers"] = left
            if not left:
                del obj["metadata"]["finalizers"]
            told = ("InstanceDeletionCompleted", "removed all instances")
            if not established:
                told = ("NeverEstablished", "resource was never established")
            now = objects.rfc3339(self._registry.clock.now())
            crd_status.set_condition(obj, "Terminating", "False", *told, now)
            return True

        await self._registry.change(self._kind(), "", name, edit)

    async def _tell(self, name: str, value: str, reason: str, message: str) -> None:
        now = objects.rfc3339(self._registry.clock.now())

        def edit(obj: Object) -> bool:
            before = codec.encode_json(obj.get("status") or {})
            crd_status.set_condition(obj, "Terminating", value, reason, message, now)
            return codec.encode_json(obj["status"]) != before

        await self._registry.change(self._kind(), "", name, edit, "status")

    async def _delete_objects(self, kind: Kind) -> int:
        """Asks every object to go; how many are still there."""
        cache = await self._registry.fresh(kind)
        prefix = key_prefix(kind.resource)
        for entry in cache.entries():
            if objects.is_deleting(entry.object):
                continue
            namespace, name = place(entry.key, prefix)
            try:
                await self._registry.delete(
                    kind, namespace, name, DeleteOptions(), Write(SYSTEM_USER, kind.resource)
                )
            except NotFound:
                continue
        return len(await self._registry.fresh(kind))

    def _kind(self) -> Kind:
        kind = self._registry.kinds.stored(GROUP, PLURAL)
        if kind is None:
            raise LookupError(f"{PLURAL}.{GROUP} is not served")
        return kind


def _name(entry: CachedEntry) -> str:
    return entry.key.rpartition("/")[2]


def _accepted(crd: Object) -> Any:
    return (crd.get("status") or {}).get("acceptedNames")
