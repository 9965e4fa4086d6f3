"""A data store in this process's memory: ``memory://``. It passes the same suite as the durable drivers.

For tests and throw-away control planes; what was written is gone when the process ends.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from typing import Literal

from sublet.store.compaction import CompactionSchedule
from sublet.store.feed import Feed
from sublet.store.interface import (
    Compacted,
    Entry,
    Event,
    FutureRevision,
    KeyExists,
    Listing,
    Progress,
    RevisionMismatch,
    Store,
    StoreClosed,
    StoreError,
)

_revision = attrgetter("revision")


async def open(url: str) -> Store:
    """Opens an empty store; ``memory://`` is the only URL."""
    if url not in ("memory:", "memory://"):
        raise StoreError(f"data store URL {url!r}: the memory driver takes nothing after memory://")
    return MemoryStore()


class MemoryStore:
    """See :class:`sublet.store.interface.Store`."""

    def __init__(self, *, compact_interval: float = 300.0, history_bytes: int = 64 << 20) -> None:
        self._keys: list[str] = []
        """Every key that has versions, in order."""
        self._versions: dict[str, list[Event]] = {}
        """What was written to each key and is not compacted, oldest first."""
        self._log: list[Event] = []
        self._compacted = 0
        self._feed = Feed(0, self._history)
        self._closed = False
        self._schedule = CompactionSchedule(
            self.compact, lambda: self._feed.revision, interval=compact_interval, limit=history_bytes
        )
        self._schedule.start()

    async def get(self, key: str) -> Entry | None:
        self._check_open()
        return self._live(key)

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Listing:
        self._check_open()
        revision = self._readable(revision)
        first = bisect_left(self._keys, max(prefix, start))
        entries: list[Entry] = []
        remaining = 0
        for index in range(first, len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                break
            entry = self._at(key, revision)
            if entry is None:
                continue
            if limit and len(entries) == limit:
                remaining += 1
            else:
                entries.append(entry)
        return Listing(entries, revision, remaining)

    async def create(self, key: str, value: bytes) -> int:
        self._check_open()
        if self._live(key) is not None:
            raise KeyExists(f"{key} exists")
        return await self._append("create", key, value, self._feed.revision + 1)

    async def update(self, key: str, value: bytes, expected: int) -> int:
        return await self._append("update", key, value, self._expect(key, expected).created)

    async def delete(self, key: str, expected: int) -> int:
        return await self._append("delete", key, b"", self._expect(key, expected).created)

    def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Event | Progress]]:
        return self._feed.watch(prefix, after)

    async def current_revision(self) -> int:
        self._check_open()
        return self._feed.revision

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        if revision <= self._compacted:
            return
        self._compacted = revision
        cut = bisect_right(self._log, revision, key=_revision)
        touched = {event.key for event in self._log[:cut]}
        del self._log[:cut]
        gone = set()
        for key in touched:
            versions = self._versions[key]
            keep = bisect_right(versions, revision, key=_revision) - 1
            if keep >= 0 and versions[keep].type == "delete":
                keep += 1
            del versions[: max(keep, 0)]
            if not versions:
                del self._versions[key]
                gone.add(key)
        if gone:
            self._keys = [key for key in self._keys if key not in gone]

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._feed.close("the data store is closed")
            await self._schedule.stop()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the data store is closed")

    def _readable(self, revision: int) -> int:
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)
        return revision or self._feed.revision

    def _at(self, key: str, revision: int) -> Entry | None:
        versions = self._versions[key]
        index = bisect_right(versions, revision, key=_revision) - 1
        if index < 0 or versions[index].type == "delete":
            return None
        found = versions[index]
        return Entry(key, found.value, found.revision, found.created)

    def _live(self, key: str) -> Entry | None:
        return self._at(key, self._feed.revision) if key in self._versions else None

    def _expect(self, key: str, expected: int) -> Entry:
        self._check_open()
        current = self._live(key)
        if current is None or current.revision != expected:
            raise RevisionMismatch(key, current)
        return current

    async def _append(
        self, type_: Literal["create", "update", "delete"], key: str, value: bytes, created: int
    ) -> int:
        event = Event(type_, key, value, self._feed.revision + 1, created)
        versions = self._versions.get(key)
        if versions is None:
            self._versions[key] = [event]
            insort(self._keys, key)
        else:
            self._schedule.note(event.revision, len(versions[-1].value))
            versions.append(event)
        self._log.append(event)
        self._feed.publish([event])
        await asyncio.sleep(0)  # the watches that publish woke run before the writer goes on
        return event.revision

    async def _history(self, prefix: str, after: int, through: int, limit: int) -> Sequence[Event]:
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        found: list[Event] = []
        for index in range(bisect_right(self._log, after, key=_revision), len(self._log)):
            event = self._log[index]
            if event.revision > through or len(found) == limit:
                break
            if event.key.startswith(prefix):
                found.append(event)
        return found
