"""A data store in one SQLite file: ``sqlite:///var/lib/sublet/state.db``. Durable, for one process.

Who runs where: the loop checks compare-and-swap against an index of the live keys (key, revision, created; no
values) and queues the write; one thread takes everything queued, gives revisions, and commits it with one
synced statement; the loop then makes the batch visible and acknowledges it. A second thread reads lists and
history. A key has at most one write on its way: the next one waits for its outcome, so nothing is ever decided
on a write that may still fail.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from sublet.store import sqlitefile
from sublet.store.breaks import LoopBreaks
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
from sublet.store.sqlitefile import CREATE, DELETE, KINDS, UPDATE, Known

T = TypeVar("T")

_BATCH = 256
_BATCH_BYTES = 8 << 20
_COMPACT_STEP = 1000
_FREE_PAGES = 128
_COUNTS = 32


async def open(url: str) -> Store:
    """Opens or makes the file that ``url`` names. Raises :class:`StoreClosed` (held by another process),
    :class:`StoreCorrupt`, :class:`StoreFull` or :class:`StoreError`, each naming the file."""
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or not parts.path:
        raise StoreError(f"data store URL {url!r} must be sqlite:///absolute/path or sqlite:relative/path")
    return await SQLiteStore.open(Path(unquote(parts.path)))


def file_url(path: Path) -> str:
    """The URL of the store in this file."""
    return f"sqlite://{quote(str(path.absolute()))}"


class _Write:
    __slots__ = ("created", "future", "key", "kind", "previous", "value", "waiters")

    def __init__(
        self, kind: int, key: str, value: bytes, created: int, previous: int, future: asyncio.Future[int]
    ) -> None:
        self.kind = kind
        self.key = key
        self.value = value
        self.created = created
        """0 for a create: its own revision."""
        self.previous = previous
        self.future = future
        self.waiters: list[asyncio.Future[None]] = []


class _Job:
    """Something else for the writing thread, in turn with the writes."""

    __slots__ = ("future", "run")

    def __init__(self, run: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self.future = future


class SQLiteStore:
    """See :class:`sublet.store.interface.Store`; made by :meth:`open`."""

    def __init__(
        self,
        path: Path,
        lock: sqlitefile.FileLock,
        connection: sqlite3.Connection,
        loaded: tuple[dict[str, Known], int, int],
        *,
        compact_interval: float,
        history_bytes: int,
    ) -> None:
        self._path = path
        self._lock = lock
        self._connection = connection
        self._index, revision, self._compacted = loaded
        self._compacted_to = self._compacted
        """What the file is compacted to; trails ``_compacted`` while a compaction works."""
        self._compacting = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._breaks = LoopBreaks(self._loop)
        self._points = sqlitefile.connect(path)
        self._lists: sqlite3.Connection | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._counts: dict[tuple[str, int, str], int] = {}
        """How many entries are left at (prefix, revision, start): the next page need not count again."""
        self._pending: dict[str, _Write] = {}
        self._queue: queue.SimpleQueue[_Write | _Job | None] = queue.SimpleQueue()
        self._feed = Feed(revision, self._history)
        self._closing: asyncio.Future[None] | None = None
        self._thread = threading.Thread(
            target=self._write_forever, args=(revision + 1,), name="store-write", daemon=True
        )
        self._thread.start()
        self._schedule = CompactionSchedule(
            self.compact, lambda: self._feed.revision, interval=compact_interval, limit=history_bytes
        )
        self._schedule.start()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        compact_interval: float = 300.0,
        history_bytes: int = 64 << 20,
        max_bytes: int = 0,
    ) -> SQLiteStore:
        """``compact_interval`` seconds and ``history_bytes``: see :class:`CompactionSchedule`; ``max_bytes``
        is a quota for the file (0: none), beyond which writes raise :class:`StoreFull`."""
        lock, connection, loaded = await asyncio.to_thread(_open_file, path, max_bytes)
        return cls(
            path, lock, connection, loaded, compact_interval=compact_interval, history_bytes=history_bytes
        )

    async def get(self, key: str) -> Entry | None:
        self._check_open()
        return await self._live(key)

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Listing:
        self._check_open()
        current = self._feed.revision
        if revision > current:
            raise FutureRevision(revision, current)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)
        revision = revision or current
        entries, remaining = await self._read(self._page, prefix, start, limit, revision)
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        return Listing([self._shared(entry) for entry in entries], revision, remaining)

    async def create(self, key: str, value: bytes) -> int:
        await self._settled(key)
        if key in self._index:
            raise KeyExists(f"{key} exists")
        return await self._write(CREATE, key, value, 0, 0)

    async def update(self, key: str, value: bytes, expected: int) -> int:
        known = await self._expect(key, expected)
        return await self._write(UPDATE, known[0], value, known[2], known[1])

    async def delete(self, key: str, expected: int) -> int:
        known = await self._expect(key, expected)
        return await self._write(DELETE, known[0], b"", known[2], known[1])

    def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Event | Progress]]:
        return self._feed.watch(prefix, after)

    async def current_revision(self) -> int:
        self._check_open()
        return self._feed.revision

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        self._compacted = max(self._compacted, revision)
        async with self._compacting:
            while self._compacted_to < revision:
                through = min(revision, self._compacted_to + _COMPACT_STEP)
                await self._in_turn(partial(sqlitefile.compact, after=self._compacted_to, through=through))
                self._compacted_to = through
            while await self._in_turn(partial(sqlitefile.give_back, pages=256, keep=_FREE_PAGES)):
                self._check_open()

    async def close(self) -> None:
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = self._loop.create_future()
        await self._schedule.stop()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # what the thread committed last is acknowledged before the watches end
        self._feed.close(f"data store {self._path} is closed")
        await asyncio.to_thread(self._close_files)
        self._closing.set_result(None)

    def _close_files(self) -> None:
        self._reader.shutdown()
        for connection in (self._points, self._lists, self._connection):
            if connection is not None:
                connection.close()
        self._lock.release()

    def _check_open(self) -> None:
        if self._closing is not None:
            raise StoreClosed(f"data store {self._path} is closed")

    # Reading

    async def _live(self, key: str) -> Entry | None:
        while (known := self._index.get(key)) is not None:
            with sqlitefile.translated(self._path):
                value = sqlitefile.value_of(self._points, known[1])
            if value is not None:
                return Entry(known[0], value, known[1], known[2])
            await asyncio.sleep(0)  # superseded and compacted, and the loop is about to learn of it
        return None

    def _shared(self, entry: Entry) -> Entry:
        """The same entry made of the index's own objects, so that a cache of it costs no second key."""
        known = self._index.get(entry.key)
        if known is None:
            return entry
        if known[1] != entry.revision:
            return Entry(known[0], entry.value, entry.revision, entry.created)
        return Entry(known[0], entry.value, known[1], known[2])

    async def _read(self, run: Callable[..., T], *arguments: object) -> T:
        self._check_open()
        self._breaks.begin()
        try:
            return await self._loop.run_in_executor(self._reader, self._reading, run, *arguments)
        finally:
            self._breaks.end()

    def _reading(self, run: Callable[..., T], *arguments: object) -> T:
        with sqlitefile.translated(self._path):
            if self._lists is None:
                self._lists = sqlitefile.connect(self._path)
            return run(self._lists, *arguments)

    def _page(
        self, connection: sqlite3.Connection, prefix: str, start: str, limit: int, revision: int
    ) -> tuple[Sequence[Entry], int]:
        entries = sqlitefile.entries_at(connection, prefix, start, limit, revision)
        left = self._counts.pop((prefix, revision, start), -1)
        if not limit or len(entries) < limit:
            return entries, 0
        following = entries[-1].key + "\0"
        if left < 0:
            left = len(entries) + sqlitefile.count_at(connection, prefix, following, revision)
        left -= len(entries)
        self._counts[prefix, revision, following] = left
        while len(self._counts) > _COUNTS:
            del self._counts[next(iter(self._counts))]
        return entries, left

    async def _history(self, prefix: str, after: int, through: int, limit: int) -> Sequence[Event]:
        events: Sequence[Event] = ()
        if after >= self._compacted and after < through:
            events = await self._read(sqlitefile.events_between, prefix, after, through, limit)
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        return events

    # Writing, on the loop

    async def _settled(self, key: str) -> None:
        """Waits until no write to the key is on its way."""
        self._check_open()
        while (write := self._pending.get(key)) is not None:
            waiter: asyncio.Future[None] = self._loop.create_future()
            write.waiters.append(waiter)
            await waiter
            self._check_open()

    async def _expect(self, key: str, expected: int) -> Known:
        await self._settled(key)
        known = self._index.get(key)
        if known is None or known[1] != expected:
            raise RevisionMismatch(key, await self._live(key))
        return known

    def _write(self, kind: int, key: str, value: bytes, created: int, previous: int) -> asyncio.Future[int]:
        write = _Write(kind, key, value, created, previous, self._loop.create_future())
        self._pending[key] = write
        self._breaks.begin()
        self._queue.put(write)
        return write.future

    async def _in_turn(self, run: Callable[[sqlite3.Connection], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._breaks.begin()
        try:
            self._queue.put(_Job(run, future))
            return await future
        finally:
            self._breaks.end()

    def _committed(self, batch: Sequence[_Write], first: int) -> None:
        """Makes a durable batch visible: watches are woken before the writers."""
        self._breaks.end(len(batch))
        index = self._index
        events: list[Event] = []
        for revision, write in enumerate(batch, first):
            created = write.created or revision
            events.append(Event(KINDS[write.kind], write.key, write.value, revision, created))
            if write.kind == DELETE:
                del index[write.key]
            else:
                index[write.key] = (write.key, revision, created)
            if write.kind != CREATE:
                self._schedule.note(revision, len(write.value) + 500)
        self._feed.publish(events)
        for revision, write in enumerate(batch, first):
            self._settle(write)
            if not write.future.done():
                write.future.set_result(revision)

    def _failed(self, batch: Sequence[_Write], error: StoreError) -> None:
        self._breaks.end(len(batch))
        for write in batch:
            self._settle(write)
            if not write.future.done():
                write.future.set_exception(error)

    def _settle(self, write: _Write) -> None:
        del self._pending[write.key]
        for waiter in write.waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Writing, in the thread

    def _write_forever(self, revision: int) -> None:
        following: _Write | _Job | None = self._queue.get()
        while following is not None:
            if isinstance(following, _Job):
                done = self._run_job(following)
                following = self._queue.get() if done else None
                continue
            batch = [following]
            weight = len(following.value)
            following = None
            ended = False
            while len(batch) < _BATCH and weight < _BATCH_BYTES:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if not isinstance(item, _Write):
                    following, ended = item, item is None
                    break
                batch.append(item)
                weight += len(item.value)
            if self._commit(batch, revision):
                revision += len(batch)
            if following is None and not ended:
                following = self._queue.get()

    def _commit(self, batch: Sequence[_Write], first: int) -> bool:
        try:
            sqlitefile.append(self._connection, _rows(batch, first))
        except sqlite3.Error as error:
            if not self._stands(first + len(batch) - 1):
                self._report(self._failed, batch, _store_error(error, self._path))
                return False
        self._report(self._committed, batch, first)
        return True

    def _stands(self, last: int) -> bool:
        """Whether a batch that met an error is nevertheless committed."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return sqlitefile.newest(self._connection) >= last
        except sqlite3.Error:
            return False

    def _run_job(self, job: _Job) -> bool:
        try:
            result = job.run(self._connection)
        except sqlite3.Error as error:
            return self._report(_resolve, job.future, None, _store_error(error, self._path))
        return self._report(_resolve, job.future, result, None)

    def _report(self, to: Callable[..., None], *arguments: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(to, *arguments)
        except RuntimeError:  # the loop is gone, and with it everyone who could ask
            return False
        return True


def _open_file(
    path: Path, max_bytes: int
) -> tuple[sqlitefile.FileLock, sqlite3.Connection, tuple[dict[str, Known], int, int]]:
    lock = sqlitefile.FileLock(path)
    connection: sqlite3.Connection | None = None
    try:
        sqlitefile.prepare(path)
        with sqlitefile.translated(path):
            connection = sqlitefile.connect(path, max_bytes=max_bytes)
            sqlitefile.initialize(connection, path)
            return lock, connection, sqlitefile.load(connection)
    except BaseException:
        if connection is not None:
            connection.close()
        lock.release()
        raise


def _rows(batch: Sequence[_Write], first: int) -> list[sqlitefile.Row]:
    return [
        (
            revision,
            write.key,
            write.kind,
            write.created or revision,
            write.previous,
            None if write.kind == DELETE else write.value,
        )
        for revision, write in enumerate(batch, first)
    ]


def _store_error(error: sqlite3.Error, path: Path) -> StoreError:
    try:
        sqlitefile.translate(error, path)
    except StoreError as translated:
        return translated


def _resolve(future: asyncio.Future[Any], result: object, error: StoreError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
