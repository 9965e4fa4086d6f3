"""Creates, changes and deletes objects of any kind: the rules that hold for all of them, in their order.

A write decodes nothing itself (``decoding`` did) and answers nothing itself (``handlers`` do): it takes objects in
the version the client used, brings them to the stored version, and passes metadata rules, defaults, admission,
validation and managedFields before a compare-and-swap in the data store.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec.structs import replace

from sublet.apiserver import conversion, crd_conversion, deletion, objectmeta, preconditions, stored
from sublet.apiserver.admission.framework import CREATE, DELETE, UPDATE
from sublet.apiserver.aside import aside, breath
from sublet.apiserver.deletion import DeleteOptions
from sublet.apiserver.kindset import KindSet
from sublet.apiserver.ruledobjects import RuledObjects
from sublet.apiserver.spoken import spoken
from sublet.apiserver.stored import StoredFormat
from sublet.apiserver.storeerrors import translated
from sublet.apiserver.watchcache import WatchCaches
from sublet.apiserver.writing import (
    Change,
    Value,
    Write,
    Written,
    admission_attributes,
    keep_all_but_status,
    restore,
    unchanged,
)
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import (
    AlreadyExists,
    MethodNotAllowed,
    StatusError,
    already_exists,
    conflict,
    not_found,
)
from sublet.store.interface import KeyExists, RevisionMismatch, Store

RETRIES = 50
"""Attempts of a write that states no version, each on what the one that came between left."""
GENERATE_ATTEMPTS = 8
_SAME_GENERATION = frozenset(("status", "binding"))
"""Subresources whose writes leave metadata.generation: a bound pod is still in its first."""


class Registry(RuledObjects):
    """Objects of all kinds over one data store and its watch caches."""

    def __init__(
        self,
        store: Store,
        caches: WatchCaches,
        kinds: KindSet,
        *,
        minor: str,
        version: str,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        super().__init__(caches, minor, f"{stored.FORMAT} {version} {minor}", clock)
        self.store = store
        self.kinds = kinds
        self.rng = rng
        self.stale: Callable[[str], bool] = _never
        """Whether the value at a key lies otherwise than it would be written today: no update of it is empty."""

    # -- create --

    async def create(self, kind: Kind, obj: Object, namespace: str, write: Write) -> Written:
        """Stores a new object. ``obj`` is the caller's no more."""
        if isinstance(kind, conversion.CustomKind) and kind.terminating:
            raise MethodNotAllowed(
                "create not allowed while custom resource definition is terminating",
                group=kind.resource.group, kind=kind.resource.plural,
            )  # fmt: skip
        (objectmeta.place if write.applied else objectmeta.receive)(obj, kind, namespace)
        versioned = objectmeta.has_version(obj)
        write.spoken = spoken(kind, write.resource, obj)
        new = await crd_conversion.to_stored(kind, write.resource, obj)
        kind.default(new)
        if not write.applied:
            await self._manage(kind, None, new, write)  # what the kind and admission add is nobody's
        attributes = admission_attributes(CREATE, kind, write, new, None)
        try:
            # Names, uids and times are given afterwards: who mutates does not see them, and may give the name.
            await self._admit(kind, attributes)
            generated = self._prepare_new(kind, new, write)
            attributes.name = str(new["metadata"].get("name") or "")
            write.warnings += objectmeta.tidy(new, patched=write.patched)
            await self._settle(kind, new, None)
            if write.spoken is not None:
                await write.spoken.take(kind, new, mutated=attributes.mutated)
            self._raise(
                kind, new, [*objectmeta.validate_create(new, kind), *await self._errors(kind, new, write)]
            )
            write.warnings += kind.warnings(new, None)
            if kind.canonicalize is not None:
                kind.canonicalize(new)
            if write.may_create is not None:
                await write.may_create()
            await self._validate(attributes)
            if versioned and not write.options.dry_run:  # as upstream, whose store finds that last
                raise StatusError(
                    "resourceVersion should not be set on objects to be created", code=500, reason=""
                )
            return await self._shown(kind, write, await self._store_new(kind, new, write, generated))
        finally:
            attributes.settle()

    def _prepare_new(self, kind: Kind, new: Object, write: Write) -> bool:
        """Fills in what the server and the kind set on a new object; whether its name was generated."""
        objectmeta.prepare_create(new, kind, self.clock.now(), self.rng)
        generated = not new["metadata"].get("name") and bool(new["metadata"].get("generateName"))
        if generated:
            # Before the kind's own rules: a Job labels its pods with its name.
            objectmeta.generate_name(new, self.rng)
        kind.prepare_create(new)
        if kind.stamp is not None:
            kind.stamp(new, None, self.clock.now())
        if isinstance(kind, conversion.CustomKind) and "status" in kind.below(write.resource.version):
            new.pop("status", None)
        kind.default(new)
        return generated

    async def _store_new(self, kind: Kind, new: Object, write: Write, generated: bool) -> Written:
        transaction = await self._begin(kind, new, None, write)
        try:
            if write.options.dry_run:
                await self._refuse_existing(kind, new)
                return Written(new, self.format(kind).encode(new), 0, created=True)
            written = await self._insert(kind, new, generated)
        except BaseException:
            if transaction is not None:
                await transaction.undo()
            raise
        if transaction is not None:
            await transaction.commit()
        await self._wrote(kind, new, None)
        return written

    async def _insert(self, kind: Kind, new: Object, generated: bool) -> Written:
        fmt = self.format(kind)
        metadata = new["metadata"]
        for attempt in range(GENERATE_ATTEMPTS if generated else 1):
            if attempt:
                objectmeta.generate_name(new, self.rng)
                metadata = new["metadata"]
            key = stored.key(kind.resource, metadata.get("namespace", ""), metadata["name"])
            value = fmt.encode(new)
            try:
                revision = await translated(self.store.create(key, value))
            except KeyExists:
                continue
            metadata["resourceVersion"] = str(revision)
            return Written(new, value, revision, created=True)
        raise await self._exists(kind, new, generated)

    async def _refuse_existing(self, kind: Kind, new: Object) -> None:
        if await self.entry(kind, new["metadata"].get("namespace", ""), new["metadata"]["name"]) is not None:
            raise await self._exists(kind, new, False)

    async def _exists(self, kind: Kind, new: Object, generated: bool) -> StatusError:
        resource, name = kind.resource, str(new["metadata"]["name"])
        error = already_exists(resource.group, resource.plural, name)
        if generated:
            error.message += ", the server was not able to generate a unique name for the object"
            error.retry_after = 1
            return error
        entry = await self.entry(kind, new["metadata"].get("namespace", ""), name)
        if entry is not None and objects.is_deleting(entry.object):
            error.message = f"object is being deleted: {error.message}"
        return error

    # -- update --

    async def update(
        self, kind: Kind, namespace: str, name: str, change: Change, write: Write, *, create: bool = False
    ) -> Written:
        """Stores what ``change`` makes of the current object, trying again when another write came between.

        ``create``: where nothing is, ``change(None)`` is created.
        """
        entry: Value | None = await self.entry(kind, namespace, name)
        for _ in range(RETRIES):
            if entry is None:
                if write.uid:
                    raise preconditions.other_uid(kind, namespace, name, write.uid, "")
                if not create:
                    raise not_found(kind.resource.group, kind.resource.plural, name)
                try:
                    made = await aside(write.size, change, None)
                    return await self._create_by_update(kind, namespace, name, made, write)
                except AlreadyExists:
                    entry = await self.entry(kind, namespace, name)
                    if entry is None:
                        raise
                    continue  # somebody made it meanwhile: change that
            try:
                written = await self._update_once(kind, self.format(kind), entry, change, write)
                return await self._shown(kind, write, written)
            except RevisionMismatch as mismatch:
                entry = mismatch.current
        raise conflict(kind.resource.group, kind.resource.plural, name)

    async def _create_by_update(
        self, kind: Kind, namespace: str, name: str, new: Object, write: Write
    ) -> Written:
        metadata = objectmeta.metadata_of(new)
        resource = kind.resource
        if metadata.get("uid"):
            why = f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
            raise conflict(resource.group, resource.plural, name, why)
        if metadata.get("resourceVersion") not in (None, "", "0"):
            raise conflict(
                resource.group, resource.plural, name,
                "StorageError: invalid object, Code: 4, Key: "
                + preconditions.storage_key(kind, namespace, name) + ", ResourceVersion: 0, AdditionalErrorMsg: the object was not found",
            ) if not write.applied else not_found(resource.group, resource.plural, name)  # fmt: skip
        metadata.pop("resourceVersion", None)
        metadata["name"] = name
        return await self.create(kind, new, namespace, write)

    async def _update_once(
        self, kind: Kind, fmt: StoredFormat, entry: Value, change: Change, write: Write
    ) -> Written:
        write.size = max(write.size, len(entry.value))
        old = await crd_conversion.current(kind, fmt.decode(entry.value, entry.revision))
        await breath(write.size)
        current = await crd_conversion.from_stored(
            kind, write.resource, fmt.decode(entry.value, entry.revision)
        )
        await breath(write.size)
        before = spoken(kind, write.resource, {}, current)
        changed = await aside(write.size, change, current)
        preconditions.check_update(kind, changed, old, patched=write.patched)
        write.spoken = None if before is None else replace(before, new=changed)
        new = await crd_conversion.to_stored(kind, write.resource, changed)
        kind.default(new)
        if not (write.applied or write.unowned):
            await self._manage(
                kind, old, new, write
            )  # before anything is restored; admission's part is nobody's
        attributes = admission_attributes(UPDATE, kind, write, new, old)
        if write.present is not None:
            attributes.shown, attributes.take = (write.present(new), write.present(old)), write.take
        try:
            # What the write may not change is put back afterwards: who mutates sees what was sent, and may not either.
            if not write.admitted:
                await self._admit(kind, attributes)
            self._prepare_update(kind, new, old, write)
            kind.default(new)
            if write.spoken is not None:
                await write.spoken.take(kind, new, mutated=attributes.mutated)
                self._prepare_update(kind, write.spoken.new, write.spoken.old or {}, write)
            write.warnings += objectmeta.tidy(new, patched=write.patched)
            if write.subresource not in _SAME_GENERATION:
                objectmeta.bump_generation(new, old, kind, write.resource.version)
            if not write.subresource:
                await self._settle(kind, new, old)
            self._raise(kind, new, await self._update_errors(kind, new, old, write))
            if not write.subresource:
                write.warnings += kind.warnings(new, old)
            elif write.subresource == "status":
                write.warnings += kind.warnings_status(new, old)
            if kind.canonicalize is not None:
                kind.canonicalize(new)
            if write.present is not None:
                attributes.shown = write.present(new), write.present(old)
            if not write.admitted:
                await self._validate(attributes)
            if unchanged(new, old) and not self.stale(entry.key):
                return Written(old, entry.value, entry.revision)
            return await self._store_changed(kind, fmt, entry, new, old, write)
        finally:
            attributes.settle()

    async def _store_changed(
        self, kind: Kind, fmt: StoredFormat, entry: Value, new: Object, old: Object, write: Write
    ) -> Written:
        value = fmt.encode(new)
        transaction = await self._begin(kind, new, old, write)
        try:
            if transaction is not None:
                value = fmt.encode(new)
            if write.options.dry_run:
                new["metadata"]["resourceVersion"] = str(entry.revision)
                return Written(new, value, 0)
            gone = deletion.completed_by(new, kind)
            if gone:
                # As upstream: who takes away the last finalizer is shown that; watchers see the object as it was.
                await translated(self.store.delete(entry.key, entry.revision))
                revision = entry.revision
            else:
                revision = await translated(self.store.update(entry.key, value, entry.revision))
        except BaseException:
            if transaction is not None:
                await transaction.undo()
            raise
        if transaction is not None:
            await transaction.commit()
        new["metadata"]["resourceVersion"] = str(revision)
        await self._wrote(kind, None if gone else new, old)
        return Written(new, value, revision, deleted=gone)

    async def _remove(self, entry: Value, last: bytes) -> int:
        """Deletes an object; watchers see how it is marked for that before they see it deleted.

        Once it is marked, others may change or remove it too: it is to go all the same.
        """
        if last == entry.value:
            return await translated(self.store.delete(entry.key, entry.revision))
        revision = await translated(self.store.update(entry.key, last, entry.revision))
        while True:
            try:
                return await translated(self.store.delete(entry.key, revision))
            except RevisionMismatch as mismatch:
                if mismatch.current is None or mismatch.current.created != entry.created:
                    return revision
                revision = mismatch.current.revision

    def _prepare_update(self, kind: Kind, new: Object, old: Object, write: Write) -> None:
        objectmeta.prepare_update(new, old)
        if write.prepare is not None:
            write.prepare(new, old)
        elif write.subresource == "status":
            keep_all_but_status(new, old, kind)
            kind.prepare_status(new, old)
        else:
            if "status" in kind.below(write.resource.version):
                restore(new, old, "status")
            kind.prepare_update(new, old)
        if kind.stamp is not None:
            kind.stamp(new, old, self.clock.now())

    # -- delete --

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions, write: Write
    ) -> Written:
        """Removes an object, or marks it where finalizers or a grace period keep it (``deleted`` False)."""
        entry: Value | None = await self.entry(kind, namespace, name)
        for _ in range(RETRIES * 2):
            if entry is None:
                raise not_found(kind.resource.group, kind.resource.plural, name)
            try:
                return await self._shown(kind, write, await self._delete_once(kind, entry, options, write))
            except RevisionMismatch as mismatch:
                entry = mismatch.current
        raise conflict(kind.resource.group, kind.resource.plural, name)

    async def _delete_once(self, kind: Kind, entry: Value, options: DeleteOptions, write: Write) -> Written:
        fmt = self.format(kind)
        write.size = max(write.size, len(entry.value))
        old = await crd_conversion.current(kind, fmt.decode(entry.value, entry.revision))
        await breath(write.size)
        preconditions.check_delete(kind, old, options)
        attributes = admission_attributes(DELETE, kind, write, None, old)
        attributes.dry_run = options.dry_run
        attributes.options = options.body()
        if not write.admitted:
            await self._admit(kind, attributes)
            await self._validate(attributes)
        new = await crd_conversion.current(kind, fmt.decode(entry.value, entry.revision))
        at_once = deletion.mark(new, kind, options, self.clock.now())
        if at_once and (kind.grace is None or unchanged(new, old)):
            new = old
        if options.dry_run:
            return Written(new, entry.value, 0, deleted=at_once)
        if at_once:
            # As upstream: what may be deleted gracefully is marked first, and watchers see that.
            value = entry.value if new is old else fmt.encode(new)
            revision = await self._remove(entry, value)
            new["metadata"]["resourceVersion"] = str(revision)
            await self._wrote(kind, None, old)
            return Written(new, value, revision, deleted=True)
        if unchanged(new, old):
            return Written(old, entry.value, entry.revision)
        value = fmt.encode(new)
        revision = await translated(self.store.update(entry.key, value, entry.revision))
        new["metadata"]["resourceVersion"] = str(revision)
        await self._wrote(kind, new, old)
        return Written(new, value, revision)

    # -- the server's own changes --

    async def change(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        edit: Callable[[Object], bool],
        endpoint: str | None = None,
    ) -> Object | None:
        """Compare-and-swap by the server itself, past admission and validation: quota, disruption budgets, conditions.

        ``edit`` changes a copy in place and says whether to write. ``endpoint``: the subresource (``""``: none) through
        which the server is taken to have written; None: the fields become nobody's. None where nothing is.
        """
        entry: Value | None = await self.entry(kind, namespace, name)
        fmt = self.format(kind)
        for _ in range(RETRIES * 4):
            if entry is None:
                return None
            obj = await crd_conversion.current(kind, fmt.decode(entry.value, entry.revision))
            if not edit(obj):
                return obj
            if endpoint is not None:
                before = await crd_conversion.current(kind, fmt.decode(entry.value, entry.revision))
                await self._own(kind, before, obj, endpoint, len(entry.value))
            try:
                if deletion.completed_by(obj, kind):
                    revision = await translated(self.store.delete(entry.key, entry.revision))
                else:
                    revision = await translated(self.store.update(entry.key, fmt.encode(obj), entry.revision))
            except RevisionMismatch as mismatch:
                entry = mismatch.current
                continue
            obj["metadata"]["resourceVersion"] = str(revision)
            return obj
        raise conflict(kind.resource.group, kind.resource.plural, name)

    # -- steps --

    async def _shown(self, kind: Kind, write: Write, written: Written) -> Written:
        """Has a webhook convert what a write left to the client's version."""
        if (
            isinstance(kind, conversion.CustomKind)
            and kind.converter is not None
            and write.resource != kind.resource
        ):
            written.shown = await crd_conversion.from_stored(kind, write.resource, written.object)
        return written


def _never(_key: str) -> bool:
    return False
