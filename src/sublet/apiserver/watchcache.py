"""The current state of every resource in memory, and its recent events, fed by one watch of the data store.

``WatchCaches`` owns that watch and hands each event to the ``WatchCache`` of its resource. All methods that do
not say ``async`` show one consistent moment: nothing changes between two of them without an ``await``.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sublet.apiserver.cached import CachedEntry, CachedEvent, Computed, Decode, ObjectMutated
from sublet.apiserver.pace import Pace
from sublet.apiserver.stored import refuse_unreadable
from sublet.apiserver.watchers import Watcher, WatcherOverrun
from sublet.machinery.codec import decode_json
from sublet.store.interface import Compacted, Entry, Event, Progress, Store, StoreClosed, StoreError

__all__ = [
    "CachedEntry",
    "CachedEvent",
    "Computed",
    "Decode",
    "ObjectMutated",
    "WatchCache",
    "WatchCaches",
    "Watcher",
    "WatcherOverrun",
]

_log = logging.getLogger(__name__)

_END = "\U0010ffff"
_PAGE = 2000
_HISTORY = 2000
"""Events kept per resource for watches that resume, and revisions read back at start for the same purpose."""
_HISTORY_BYTES = 8 << 20
"""Values kept alive only by those events, per resource."""
_BUFFER = 4096
"""Events that may wait for one watcher."""
_RETRY = 1.0


def decode_stored(entry: CachedEntry) -> Any:
    """The JSON after the writer tag's line, as it stands; resources give a decode of their own."""
    value = entry.value
    refuse_unreadable(value)
    return decode_json(value if value[:1] == b"{" else value[value.index(b"\n") + 1 :])


class WatchCache:
    """One resource. Keys are whole store keys (``/registry/core/pods/default/web-0``)."""

    def __init__(self, prefix: str, owner: WatchCaches) -> None:
        self.prefix = prefix
        self.decode: Decode = decode_stored
        self._owner = owner
        self._entries: dict[str, CachedEntry] = {}
        self._keys: list[str] = []
        self._history: deque[CachedEvent] = deque()
        self._history_bytes = 0
        self._since = 0
        """Every event after this revision is in the history."""
        self._indexes: dict[str, Callable[[Any], str]] = {}
        self._watchers: dict[tuple[str, ...], set[Watcher]] = {}
        self._watched_indexes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def revision(self) -> int:
        """The store's revision that the cache shows."""
        return self._owner.revision

    def get(self, key: str) -> CachedEntry | None:
        return self._entries.get(key)

    def entries(self, prefix: str = "", *, start: str = "", limit: int = 0) -> Sequence[CachedEntry]:
        """Live entries in key order whose key begins with ``prefix`` ("" = all) and is not before ``start``.

        A page of an older revision comes from ``store.list(revision=…)``, not from here.
        """
        keys = self._keys
        low = bisect_left(keys, max(prefix, start))
        high = bisect_left(keys, prefix + _END, low) if prefix else len(keys)
        if limit:
            high = min(high, low + limit)
        found = self._entries
        return [found[key] for key in keys[low:high]]

    def count(self, prefix: str = "", *, start: str = "") -> int:
        """How many entries ``entries`` would give without a limit."""
        keys = self._keys
        low = bisect_left(keys, max(prefix, start))
        return (bisect_left(keys, prefix + _END, low) if prefix else len(keys)) - low

    async def wait_fresh(self, revision: int, timeout: float | None = None) -> None:
        """Returns once the cache shows at least ``revision``. Raises TimeoutError, :class:`StoreClosed`."""
        await self._owner.wait_fresh(revision, timeout)

    async def fresh(self, timeout: float | None = None) -> int:
        """Waits until the cache shows every write acknowledged before the call; returns its revision."""
        return await self._owner.fresh(timeout)

    def add_index(self, name: str, value: Callable[[Any], str]) -> None:
        """Lets watches narrow to objects whose ``value(object)`` is given (``spec.nodeName``)."""
        self._indexes[name] = value

    def watch(
        self,
        after: int,
        *,
        prefix: str = "",
        indexed: tuple[str, str] | None = None,
        buffer: int = _BUFFER,
    ) -> Watcher:
        """Events with revisions above ``after`` (which may be in the future), once each and in order.

        ``prefix``: "" for all, a namespace's prefix ending in ``/``, or one whole key. ``indexed``: the name
        and value of an index; both an object that gets the value and one that loses it are delivered. Only
        one of the two narrowings is applied here, the index first; the caller still filters.
        Raises :class:`Compacted` when ``after`` is before the kept events.
        """
        if after < self._since:
            raise Compacted(after, self._since)
        narrowing = self._narrowing(prefix, indexed)
        missed: list[CachedEvent] = []
        for event in reversed(self._history):
            if event.revision <= after:
                break
            if not narrowing or narrowing in self._narrowings(event, narrowing[:1] if indexed else ()):
                missed.append(event)
        missed.reverse()
        watcher = Watcher(missed, after, buffer, narrowing, self._current, self._detach)
        self._watchers.setdefault(narrowing, set()).add(watcher)
        if indexed is not None:
            self._watched_indexes[indexed[0]] += 1
        return watcher

    def _narrowing(self, prefix: str, indexed: tuple[str, str] | None) -> tuple[str, ...]:
        if indexed is not None:
            if indexed[0] not in self._indexes:
                raise KeyError(f"{self.prefix} has no index {indexed[0]!r}")
            return indexed
        if prefix in ("", self.prefix):
            return ()
        if not prefix.startswith(self.prefix):
            raise ValueError(f"{prefix!r} is not below {self.prefix!r}")
        return (prefix,)

    @property
    def watchers(self) -> int:
        """How many watchers are open."""
        return sum(len(group) for group in self._watchers.values())

    def _current(self) -> int:
        return self._owner.revision

    def _detach(self, watcher: Watcher) -> None:
        group = self._watchers.get(watcher.narrowing)
        if group is not None and watcher in group:
            group.remove(watcher)
            if not group:
                del self._watchers[watcher.narrowing]
            if len(watcher.narrowing) == 2:
                self._watched_indexes -= Counter(watcher.narrowing[:1])

    def _narrowings(self, event: CachedEvent, indexes: Iterable[str]) -> set[tuple[str, ...]]:
        """Every group of watchers that the event concerns, whether or not it has members."""
        key = event.entry.key
        found: set[tuple[str, ...]] = {(), (key,), (key[: key.rindex("/") + 1],)}
        for name in indexes:
            try:
                found.add((name, self._indexes[name](event.entry.object)))
                if event.previous is not None:
                    found.add((name, self._indexes[name](event.previous.object)))
            except Exception:  # one unreadable object must not stop the cache of all resources
                _log.exception("%s at revision %d has no readable %s", key, event.revision, name)
        return found

    def load(self, entries: Iterable[Entry], since: int) -> None:
        """Replaces everything by the state at revision ``since``. Called by the owner."""
        computed = self._owner.computed
        self._entries = {
            entry.key: CachedEntry(
                entry.key, entry.value, entry.revision, entry.created, self._decode, computed
            )
            for entry in entries
        }
        self._keys = sorted(self._entries)
        self._history.clear()
        self._history_bytes = 0
        self._since = since

    def _decode(self, entry: CachedEntry) -> Any:
        return self.decode(entry)

    def apply(self, event: Event) -> None:
        """Takes one event of the store and hands it to the watchers. Called by the owner, in order."""
        computed = self._owner.computed
        previous = self._entries.get(event.key)
        if event.type == "delete":
            if previous is None:
                return
            del self._entries[event.key]
            del self._keys[bisect_left(self._keys, event.key)]
            cached = CachedEvent("delete", previous, previous, event.revision, computed)
        else:
            entry = CachedEntry(event.key, event.value, event.revision, event.created, self._decode, computed)
            self._entries[event.key] = entry
            if previous is None:
                insort(self._keys, event.key)
            cached = CachedEvent(event.type, entry, previous, event.revision, computed)
        self._remember(cached)
        if self._watchers:
            self._dispatch(cached)

    def _remember(self, event: CachedEvent) -> None:
        history = self._history
        history.append(event)
        self._history_bytes += _kept_alive(event)
        while len(history) > self._owner.history or self._history_bytes > _HISTORY_BYTES:
            oldest = history.popleft()
            self._since = oldest.revision
            self._history_bytes -= _kept_alive(oldest)

    def _dispatch(self, event: CachedEvent) -> None:
        watchers = self._watchers
        if len(watchers) == 1 and () in watchers:
            groups: Iterable[tuple[str, ...]] = ((),)
        else:
            groups = self._narrowings(event, self._watched_indexes)
        for narrowing in groups:
            group = watchers.get(narrowing)
            if group:
                for watcher in tuple(group):
                    watcher.push(event)

    def end_watchers(self, reason: Exception, *, keep: bool = False) -> None:
        """Ends every watcher; ``keep``: after it has handed out the events that wait for it."""
        for group in list(self._watchers.values()):
            for watcher in tuple(group):
                watcher.end(reason, keep=keep)


def _kept_alive(event: CachedEvent) -> int:
    return len(event.previous.value) if event.previous is not None else 0


class WatchCaches:
    """All resources below ``prefix``, from one watch of the store."""

    def __init__(
        self,
        store: Store,
        prefix: str = "/registry/",
        *,
        history: int = _HISTORY,
        computed: Computed | None = None,
    ) -> None:
        self.revision = 0
        self.history = history
        self.computed = computed or Computed()
        self._store = store
        self._prefix = prefix
        self._caches: dict[str, WatchCache] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waited = 0
        self._since = 0
        self._task: asyncio.Task[None] | None = None
        self._stopped: Exception | None = None

    async def start(self) -> None:
        """Reads everything (and the last events, so that watches survive a restart) and begins to follow.

        Raises what the store raises. Afterwards the cache is as fresh as the store was at the call.
        """
        now = await self._store.current_revision()
        if now > self.history or (now and await self._oldest() > 1):
            await self._load(max(1, now - self.history))
        self._task = asyncio.create_task(self._run(), name="watch cache")
        await self.wait_fresh(now)

    async def _oldest(self) -> int:
        """1 as long as the whole history is kept: then the cache begins empty and follows from the start."""
        try:
            await self._store.list(self._prefix, limit=1, revision=1)
        except Compacted as error:
            return error.oldest
        return 1

    async def stop(self) -> None:
        """Ends the store's watch and, with StoreClosed, every watcher and waiter."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._end(StoreClosed("the watch cache is stopped"))
        self.computed.verify()

    def cache(self, resource_prefix: str, decode: Decode | None = None) -> WatchCache:
        """The cache of one resource, e.g. ``/registry/apps/deployments/``; there is one per prefix, also for a
        resource that has no objects yet. ``decode`` makes ``entry.object``; the last one given counts."""
        found = self._caches.get(resource_prefix)
        if found is None:
            if not (resource_prefix.startswith(self._prefix) and resource_prefix.endswith("/")):
                raise ValueError(f"{resource_prefix!r} must begin with {self._prefix!r} and end with '/'")
            found = self._caches[resource_prefix] = WatchCache(resource_prefix, self)
            found.load((), self._since)
        if decode is not None:
            found.decode = decode
        return found

    async def ready(self) -> None:
        """Raises unless the cache follows the store."""
        if self._stopped is not None:
            raise self._stopped
        if self._task is None:
            raise StoreClosed("the watch cache is not started")

    async def fresh(self, timeout: float | None = None) -> int:
        """Waits until every write acknowledged before the call shows; returns the revision shown."""
        await self.wait_fresh(await self._store.current_revision(), timeout)
        return self.revision

    async def wait_fresh(self, revision: int, timeout: float | None = None) -> None:
        """Returns once ``revision`` shows. Raises TimeoutError, or StoreClosed when the cache stops."""
        if self.revision >= revision:
            return
        if self._stopped is not None:
            raise self._stopped
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waited += 1
        heapq.heappush(self._waiters, (revision, self._waited, waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            raise TimeoutError(
                f"revision {revision} did not show in {timeout} s; at {self.revision}"
            ) from None

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        waiters = self._waiters
        while waiters and waiters[0][0] <= self.revision:
            waiter = heapq.heappop(waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    def _end(self, reason: Exception) -> None:
        self._stopped = reason
        for cache in self._caches.values():
            cache.end_watchers(reason)
        for _, _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(reason)
        self._waiters.clear()

    async def _load(self, revision: int) -> None:
        """Reads the state at ``revision`` (above 0), or the oldest kept one after it, page by page."""
        while True:
            try:
                loaded, at = await self._read(revision)
                break
            except Compacted as error:
                revision = error.oldest
        self._since = at
        for prefix in {*self._caches, *loaded}:
            self.cache(prefix).load(loaded.get(prefix, ()), at)
        self._advance(at)

    async def _read(self, revision: int) -> tuple[dict[str, list[Entry]], int]:
        loaded: dict[str, list[Entry]] = {}
        start = ""
        while True:
            page = await self._store.list(self._prefix, start=start, limit=_PAGE, revision=revision)
            revision = page.revision
            for entry in page.entries:
                loaded.setdefault(resource_prefix(entry.key, self._prefix), []).append(entry)
            if not page.remaining:
                return loaded, revision
            start = page.entries[-1].key + "\0"

    async def _run(self) -> None:
        try:
            await self._keep_following()
        except Exception as error:
            _log.exception("the watch cache stopped at revision %d", self.revision)
            self._end(StoreError(f"the watch cache stopped: {error}"))

    async def _keep_following(self) -> None:
        while True:
            try:
                await self._follow()
            except StoreClosed as error:
                self._end(error)
                return
            except Compacted as error:
                _log.warning("the watch of the data store fell behind, reading everything again: %s", error)
                await self._reload()
            except StoreError as error:
                _log.warning("the watch of the data store broke, resuming at %d: %s", self.revision, error)
                await asyncio.sleep(_RETRY)

    async def _reload(self) -> None:
        try:
            await self._load(await self._store.current_revision())
        except StoreError as error:
            _log.warning("reading the data store failed, trying again: %s", error)
            await asyncio.sleep(_RETRY)
            return
        for cache in self._caches.values():
            cache.end_watchers(WatcherOverrun("the watch cache was read anew"))

    async def _follow(self) -> None:
        async for batch in self._store.watch(self._prefix, self.revision):
            await self._take(batch)

    async def _take(self, batch: Sequence[Event | Progress]) -> None:
        caches, pace = self._caches, Pace()
        for item in batch:
            if pace.due:
                self._advance(self.revision)
                await pace.pause()
            if isinstance(item, Progress):
                self._advance(item.revision)
                continue
            prefix = resource_prefix(item.key, self._prefix)
            cache = caches.get(prefix) or self.cache(prefix)
            self.revision = item.revision
            cache.apply(item)
        self._advance(self.revision)


def resource_prefix(key: str, prefix: str = "/registry/") -> str:
    """``/registry/apps/deployments/default/web`` → ``/registry/apps/deployments/``."""
    group_end = key.find("/", len(prefix))
    plural_end = key.find("/", group_end + 1) if group_end > 0 else -1
    return key[: plural_end + 1] if plural_end > 0 else key[: key.rindex("/") + 1]
