"""Reads objects of any kind: how its values are written, which schema it has, what its watch cache shows."""

from __future__ import annotations

from sublet.apiserver import conversion, crd_conversion, stored
from sublet.apiserver.stored import StoredFormat
from sublet.apiserver.storeerrors import status
from sublet.apiserver.watchcache import CachedEntry, WatchCache, WatchCaches
from sublet.apiserver.writing import Value
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import not_found
from sublet.store.interface import StoreError


class StoredObjects:
    """Objects of all kinds, over the watch caches of one data store."""

    def __init__(self, caches: WatchCaches, minor: str, tag: str) -> None:
        """``tag``: what this server writes in front of each value, but for what a kind adds."""
        self.caches = caches
        self.minor = minor
        self._tag = tag
        self._formats: dict[int, tuple[Kind, StoredFormat]] = {}
        self._caches: dict[int, WatchCache] = {}
        self._schemas: dict[Resource, Schema | None] = {}

    # -- what a kind looks like --

    def format(self, kind: Kind) -> StoredFormat:
        """How values of a kind are written; one per kind, made when first asked for."""
        known = self._formats.get(id(kind))
        if known is not None:
            return known[1]
        tag = f"{self._tag} {kind.storage_tag}" if isinstance(kind, conversion.CustomKind) else self._tag
        renew = conversion.renewal(kind, self.minor)
        made = StoredFormat(kind.resource, tag, renew)
        if isinstance(kind, conversion.CustomKind) and kind.converter is not None:
            made.versions = {resource.version: resource for resource in kind.served()}
        # The kind is kept beside its format: an id is only unique while the object lives.
        self._formats[id(kind)] = (kind, made)
        return made

    def forget(self, kind: Kind) -> None:
        """Drops what was made for a kind that is no longer served."""
        self._formats.pop(id(kind), None)
        self._caches.pop(id(kind), None)

    def schema(self, kind: Kind, resource: Resource) -> Schema | None:
        """The schema of one served version."""
        if isinstance(kind, conversion.CustomKind):
            return kind.version_schema(resource.version)
        if resource == kind.resource:
            return kind.schema(self.minor)
        if resource not in self._schemas:
            from sublet.kinds import schemas

            self._schemas[resource] = schemas.definition(
                self.minor, resource.group, resource.version, resource.kind
            )
        return self._schemas[resource]

    # -- reading --

    def cache(self, kind: Kind) -> WatchCache:
        """The kind's watch cache; its entries' ``object`` is the whole object in the stored version."""
        known = self._caches.get(id(kind))
        if known is None:
            fmt = self.format(kind)
            known = self._caches[id(kind)] = self.caches.cache(
                stored.key_prefix(kind.resource), lambda entry: fmt.decode(entry.value, entry.revision)
            )
        return known

    async def fresh(self, kind: Kind) -> WatchCache:
        """The kind's watch cache, once it shows every write acknowledged before the call."""
        cache = self.cache(kind)
        try:
            await cache.fresh()
        except StoreError as error:
            raise status(error) from error
        return cache

    async def entry(self, kind: Kind, namespace: str, name: str) -> CachedEntry | None:
        """The value as of now, or None."""
        cache = await self.fresh(kind)
        return cache.get(stored.key(kind.resource, namespace, name))

    def decode(self, kind: Kind, entry: Value) -> Object:
        """A copy of one's own in the stored version."""
        return self.format(kind).decode(entry.value, entry.revision)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """A copy of one's own in the stored version. Raises ``NotFound``."""
        entry = await self.entry(kind, namespace, name)
        if entry is None:
            raise not_found(kind.resource.group, kind.resource.plural, name)
        return await crd_conversion.current(kind, self.decode(kind, entry))
