"""Reads of any built-in kind for what runs inside the API server (admission, allocation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sublet.apiserver import stored
from sublet.apiserver.registry import Registry
from sublet.machinery.kind import Kind, Object


class RegistryReader:
    """Answers from the watch caches; objects are shared: never change them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        kind = self._kind(group, plural)
        entry = None
        if kind is not None:
            entry = self._registry.cache(kind).get(stored.key(kind.resource, namespace, name))
        return None if entry is None else entry.object

    async def get_latest(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        kind = self._kind(group, plural)
        if kind is None:
            return None
        entry = await self._registry.entry(kind, namespace, name)
        return None if entry is None else entry.object

    async def list(self, group: str, plural: str, namespace: str = "") -> Sequence[Object]:
        kind = self._kind(group, plural)
        if kind is None:
            return ()
        prefix = stored.key_prefix(kind.resource) + (f"{namespace}/" if namespace else "")
        return [entry.object for entry in self._registry.cache(kind).entries(prefix)]

    async def update(
        self, group: str, plural: str, namespace: str, name: str, change: Callable[[Object], bool],
        endpoint: str | None = None,
    ) -> Object | None:  # fmt: skip
        kind = self._kind(group, plural)
        if kind is None:
            return None
        return await self._registry.change(kind, namespace, name, change, endpoint)

    def _kind(self, group: str, plural: str) -> Kind | None:
        return self._registry.kinds.stored(group, plural)
