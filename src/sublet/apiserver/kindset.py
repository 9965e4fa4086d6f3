"""All kinds the API server serves: the built-in ones and those that custom resource definitions add."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from sublet.machinery.kind import Kind, Resource

_log = logging.getLogger(__name__)


class Entry(Struct, frozen=True):
    """One stored kind and how it is served."""

    kind: Kind
    served: tuple[Resource, ...]
    """The versions that answer requests (a storage version need not be among them)."""
    custom: bool


class KindSet:
    """Lookup by (group, version, plural). One event loop only; changes are seen at once.

    ``generation`` grows with every change: whoever derives something (discovery, OpenAPI) compares it.
    """

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self.generation = 1
        self._entries: dict[tuple[str, str], Entry] = {}
        self._routes: dict[tuple[str, str, str], tuple[Kind, Resource]] = {}
        self._listeners: list[Callable[[], None]] = []
        for kind in kinds:
            self._put(Entry(kind, kind.served(), custom=False))

    def find(self, group: str, version: str, plural: str) -> tuple[Kind, Resource] | None:
        """The kind that answers under this address and the resource it is there, or None."""
        return self._routes.get((group, version, plural))

    def stored(self, group: str, plural: str) -> Kind | None:
        """By the stored resource's group and plural name, whichever versions are served."""
        entry = self._entries.get((group, plural))
        return entry.kind if entry else None

    def by_kind(self, group: str, kind: str, version: str = "") -> tuple[Kind, Resource] | None:
        """By the Kind's name, in the version given or the first served."""
        for entry in self._entries.values():
            for resource in entry.served:
                if resource.kind == kind and resource.group == group and version in ("", resource.version):
                    return entry.kind, resource
        return None

    def entries(self) -> Iterator[Entry]:
        """Every stored kind, in the order they were added."""
        return iter(tuple(self._entries.values()))

    def kinds(self) -> list[Kind]:
        return [entry.kind for entry in self._entries.values()]

    def is_custom(self, group: str, plural: str) -> bool:
        entry = self._entries.get((group, plural))
        return entry is not None and entry.custom

    def has_group_version(self, group: str, version: str) -> bool:
        return any(route[0] == group and route[1] == version for route in self._routes)

    def add(self, kind: Kind, *, unserved: Iterable[str] = ()) -> None:
        """Adds a custom resource's kind or replaces it; ``unserved`` names versions that answer nothing.

        Raises ``ValueError`` where a built-in kind stands.
        """
        key = (kind.resource.group, kind.resource.plural)
        old = self._entries.get(key)
        if old is not None and not old.custom:
            raise ValueError(f"{kind.resource.qualified} is a built-in resource")
        hidden = frozenset(unserved)
        if old is not None:
            self._drop(old)
        self._put(Entry(kind, tuple(r for r in kind.served() if r.version not in hidden), custom=True))
        self._changed()

    def remove(self, group: str, plural: str) -> None:
        """Takes a custom resource's kind away; nothing happens when it is not there."""
        entry = self._entries.get((group, plural))
        if entry is None:
            return
        if not entry.custom:
            raise ValueError(f"{entry.kind.resource.qualified} is a built-in resource and cannot be removed")
        del self._entries[group, plural]
        self._drop(entry)
        self._changed()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls ``listener`` after every change; returns what stops that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _put(self, entry: Entry) -> None:
        self._entries[entry.kind.resource.group, entry.kind.resource.plural] = entry
        for resource in entry.served:
            self._routes[resource.group, resource.version, resource.plural] = (entry.kind, resource)

    def _drop(self, entry: Entry) -> None:
        for resource in entry.served:
            self._routes.pop((resource.group, resource.version, resource.plural), None)

    def _changed(self) -> None:
        self.generation += 1
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:
                _log.exception("a listener for changes of the served kinds failed")
