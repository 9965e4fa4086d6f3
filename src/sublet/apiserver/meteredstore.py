"""A data store whose operations are timed, for ``etcd_request_duration_seconds``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from sublet.machinery.exposition import Counter, Histograms
from sublet.store.interface import (
    Entry,
    Event,
    Listing,
    Progress,
    RevisionMismatch,
    Store,
    StoreError,
)

T = TypeVar("T")
_PREFIX = "/registry/"


class MeteredStore:
    """A :class:`~sublet.store.interface.Store` over another. Watches and revisions are not timed."""

    def __init__(
        self, store: Store, times: Histograms, errors: Counter, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._store = store
        self._times = times
        self._errors = errors
        self._now = now
        self._labels: dict[tuple[str, str], str] = {}

    async def _timed(self, operation: str, key: str, done: Awaitable[T]) -> T:
        started = self._now()
        try:
            return await done
        except StoreError as error:
            if not isinstance(error, RevisionMismatch):
                self._errors.add(self._label(operation, key))
            raise
        finally:
            self._times.observe(self._label(operation, key), self._now() - started)

    def _label(self, operation: str, key: str) -> str:
        end = key.find("/", key.find("/", len(_PREFIX)) + 1)
        prefix = key[:end] if end > 0 else key
        found = self._labels.get((operation, prefix))
        if found is None:
            group, _, plural = prefix[len(_PREFIX) :].partition("/")
            group = "" if group == "core" else group
            found = f'group="{group}",operation="{operation}",resource="{plural}"'
            self._labels[operation, prefix] = found
        return found

    async def get(self, key: str) -> Entry | None:
        return await self._timed("get", key, self._store.get(key))

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Listing:
        found = self._store.list(prefix, start=start, limit=limit, revision=revision)
        return await self._timed("list", prefix, found)

    async def create(self, key: str, value: bytes) -> int:
        return await self._timed("create", key, self._store.create(key, value))

    async def update(self, key: str, value: bytes, expected: int) -> int:
        return await self._timed("update", key, self._store.update(key, value, expected))

    async def delete(self, key: str, expected: int) -> int:
        return await self._timed("delete", key, self._store.delete(key, expected))

    def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Event | Progress]]:
        return self._store.watch(prefix, after)

    async def current_revision(self) -> int:
        return await self._store.current_revision()

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()
