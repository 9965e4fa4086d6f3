"""What every driver must do: the promises of :mod:`sublet.store.interface`, as checks a test runs on a driver.

``CHECKS`` maps names to coroutine functions ``check(store)``; each wants an empty store and leaves it open.
``DURABLE_CHECKS`` want a function that opens the same data again. :mod:`sublet.store.crash` goes further.
A broken promise raises :class:`PromiseBroken`, so the suite also works where ``assert`` is switched off.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from sublet.store.interface import (
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    Progress,
    RevisionMismatch,
    Store,
    StoreClosed,
    StoreError,
)

Check = Callable[[Store], Awaitable[None]]
Reopen = Callable[[], Awaitable[Store]]
DurableCheck = Callable[[Reopen], Awaitable[None]]

_PATIENCE = 20.0


class PromiseBroken(Exception):
    """The driver does not do what the interface says."""


def require(truth: bool, message: str) -> None:
    if not truth:
        raise PromiseBroken(message)


async def _raises(error: type[StoreError], doing: Awaitable[Any], what: str) -> Any:
    try:
        result = await doing
    except error as raised:
        return raised
    raise PromiseBroken(f"{what} must raise {error.__name__}, but gave {result!r}")


async def collect(store: Store, prefix: str, after: int, through: int) -> list[Event]:
    """Watches until everything up to ``through`` has been delivered."""
    events: list[Event] = []
    async with asyncio.timeout(_PATIENCE), aclosing(_generator(store, prefix, after)) as batches:
        async for batch in batches:
            for item in batch:
                if isinstance(item, Event):
                    events.append(item)
                elif item.revision >= through:
                    return events
    raise PromiseBroken("a watch ended by itself")


class _Batches:
    """A watch as something to close, whatever the driver's iterator is."""

    def __init__(self, iterator: AsyncIterator[Sequence[Event | Progress]]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> AsyncIterator[Sequence[Event | Progress]]:
        return self._iterator

    async def aclose(self) -> None:
        if inspect.isasyncgen(self._iterator):
            await self._iterator.aclose()


def _generator(store: Store, prefix: str, after: int) -> _Batches:
    return _Batches(store.watch(prefix, after))


async def _first(store: Store, prefix: str, after: int) -> Any:
    async with aclosing(_generator(store, prefix, after)) as batches:
        return await anext(aiter(batches))


async def check_create(store: Store) -> None:
    """A created value reads back whole, with its revision; a second create is refused."""
    before = await store.current_revision()
    require(await store.get("/a/x") is None, "nothing is there before the create")
    value = bytes(range(256)) * 300
    revision = await store.create("/a/x", value)
    require(revision > before, "a write gets a higher revision")
    entry = await store.get("/a/x")
    require(entry is not None and entry.value == value and entry.key == "/a/x", "the value reads back")
    require(entry is not None and entry.revision == entry.created == revision, "with its revision")
    await _raises(KeyExists, store.create("/a/x", b"2"), "create over a live value")
    require(await store.current_revision() == revision, "a refused write takes no revision")


async def check_empty_value(store: Store) -> None:
    """The empty value is a value."""
    revision = await store.create("/a/empty", b"")
    entry = await store.get("/a/empty")
    require(entry is not None and entry.value == b"", "an empty value reads back")
    updated = await store.update("/a/empty", b"", revision)
    listing = await store.list("/a/")
    require([(e.value, e.revision) for e in listing.entries] == [(b"", updated)], "and is listed")


async def check_update(store: Store) -> None:
    """An update needs the current revision and keeps ``created``."""
    created = await store.create("/a/x", b"1")
    updated = await store.update("/a/x", b"2", created)
    entry = await store.get("/a/x")
    require(
        entry is not None and (entry.value, entry.revision, entry.created) == (b"2", updated, created),
        "an update replaces value and revision and keeps created",
    )
    error = await _raises(RevisionMismatch, store.update("/a/x", b"3", created), "update at an old revision")
    require(error.current == entry, "the mismatch carries what stands there")
    error = await _raises(RevisionMismatch, store.update("/a/none", b"3", 1), "update of nothing")
    require(error.current is None, "the mismatch says that nothing is there")


async def check_delete(store: Store) -> None:
    """A deletion needs the current revision, has one of its own, and makes room for a new life."""
    created = await store.create("/a/x", b"1")
    await _raises(RevisionMismatch, store.delete("/a/x", created + 7), "delete at another revision")
    deleted = await store.delete("/a/x", created)
    require(deleted > created, "a deletion has a revision of its own")
    require(await store.get("/a/x") is None, "the value is gone")
    await _raises(RevisionMismatch, store.delete("/a/x", deleted), "delete of nothing")
    again = await store.create("/a/x", b"2")
    entry = await store.get("/a/x")
    require(entry is not None and entry.created == again, "a new life has a created revision of its own")


async def check_listing_order_and_pages(store: Store) -> None:
    """Lists are in bytewise key order, limited to the prefix; pages at one revision do not see later writes."""
    keys = ["/a/b-c/x", "/a/b/x", "/a/b/é", "/a/b/z", "/a/b.d/x", "/b/x", "/a/B/x"]
    for key in keys:
        await store.create(key, key.encode())
    inside = sorted((key for key in keys if key.startswith("/a/")), key=str.encode)
    listing = await store.list("/a/")
    require([entry.key for entry in listing.entries] == inside, "keys below the prefix, in bytewise order")
    require(all(entry.value == entry.key.encode() for entry in listing.entries), "with their values")
    require(
        listing.revision == await store.current_revision() and listing.remaining == 0, "complete, as of now"
    )
    seen: list[str] = []
    start, revision = "", 0
    while True:
        page = await store.list("/a/", start=start, limit=2, revision=revision)
        seen += [entry.key for entry in page.entries]
        require(page.remaining == len(inside) - len(seen), "remaining counts what follows")
        require(revision in (0, page.revision), "each page shows the revision asked for")
        revision = page.revision
        if not page.remaining:
            break
        start = page.entries[-1].key + "\0"
        await store.create(f"/a/b/later-{len(seen)}", b"")
    require(seen == inside, "pages at one revision together are the list at that revision")


async def check_listing_at_revisions(store: Store) -> None:
    """A read at a revision sees exactly the writes up to it."""
    states: dict[int, dict[str, bytes]] = {}
    live: dict[str, tuple[bytes, int]] = {}
    chance = random.Random(7)
    for step in range(120):
        key = f"/a/{chance.randrange(8)}"
        if key not in live:
            revision = await store.create(key, b"c%d" % step)
            live[key] = (b"c%d" % step, revision)
        elif chance.random() < 0.3:
            revision = await store.delete(key, live.pop(key)[1])
        else:
            revision = await store.update(key, b"u%d" % step, live[key][1])
            live[key] = (b"u%d" % step, revision)
        states[revision] = {name: value for name, (value, _) in live.items()}
    for revision, state in states.items():
        listing = await store.list("/a/", revision=revision)
        found = {entry.key: entry.value for entry in listing.entries}
        require(found == state and listing.revision == revision, f"the state at revision {revision}")
    await _raises(FutureRevision, store.list("/a/", revision=max(states) + 1000), "a list in the future")


async def check_watch_replays_and_follows(store: Store) -> None:
    """A watch from any revision gets every later write below its prefix, once, in order."""
    first = await store.create("/a/x", b"1")
    second = await store.update("/a/x", b"2", first)
    await store.create("/b/x", b"elsewhere")
    third = await store.delete("/a/x", second)
    expected = [
        Event("create", "/a/x", b"1", first, first),
        Event("update", "/a/x", b"2", second, first),
        Event("delete", "/a/x", b"", third, first),
    ]
    for after, count in ((0, 3), (first, 2), (second, 1), (third, 0)):
        require(await collect(store, "/a/", after, third) == expected[3 - count :], f"history after {after}")
    following = asyncio.create_task(collect(store, "/a/", third, third + 20))
    await asyncio.sleep(0.05)
    revisions = [await store.create(f"/a/{n}", b"") for n in range(20)]
    require([event.revision for event in await following] == revisions, "live writes, once and in order")
    await _raises(FutureRevision, _first(store, "/a/", revisions[-1] + 1000), "a watch from the future")


async def check_watch_while_writing(store: Store) -> None:
    """Watches that begin at any moment under 16 writers see one and the same order, nothing lost or twice."""
    total = 0
    watches: list[asyncio.Task[list[Event]]] = []
    start = await store.current_revision()

    async def write(writer: int) -> None:
        nonlocal total
        revision = await store.create(f"/a/{writer}", b"")
        for step in range(30):
            if step % 10 == writer % 10:
                watches.append(asyncio.create_task(collect(store, "/a/", revision, start + 16 * 31)))
            revision = await store.update(f"/a/{writer}", b"%d" % step, revision)
        total += 31

    await asyncio.gather(*(write(writer) for writer in range(16)))
    everything = await collect(store, "/a/", start, start + total)
    require([event.revision for event in everything] == list(range(start + 1, start + total + 1)), "no gaps")
    for watch in watches:
        events = await watch
        require(events == [e for e in everything if e.revision >= events[0].revision], "every watch agrees")


async def check_slow_watch(store: Store) -> None:
    """A watch that reads nothing for a long while still gets everything, and the store does not wait for it."""
    batches = _generator(store, "/a/", 0)
    iterator = aiter(batches)
    revision = await store.create("/a/x", b"")
    events = [item for item in await anext(iterator) if isinstance(item, Event)]
    revisions = [revision]
    for _ in range(25):
        revisions += await asyncio.gather(
            *(store.create(f"/a/{len(revisions)}-{n}", b"v") for n in range(500))
        )
    async with asyncio.timeout(_PATIENCE), aclosing(batches):
        while len(events) < len(revisions):
            events += [item for item in await anext(iterator) if isinstance(item, Event)]
    require([event.revision for event in events] == sorted(revisions), "nothing lost, nothing twice")


async def check_progress(store: Store) -> None:
    """A watch on a silent prefix soon says that it is complete up to the current revision."""
    revision = await store.create("/b/x", b"")
    began = time.monotonic()
    require(await collect(store, "/a/", 0, revision) == [], "no event, only progress")
    later = asyncio.create_task(collect(store, "/a/", revision, revision + 1))
    await asyncio.sleep(0.05)
    await store.create("/b/y", b"")
    require(await later == [], "progress also follows live writes elsewhere")
    require(time.monotonic() - began < 5, "progress comes at least about every second")


async def check_contention(store: Store) -> None:
    """Of many writers at one revision exactly one wins, and a counter raised by all of them misses nothing."""
    key = "/a/counter"
    outcomes = await asyncio.gather(*(store.create(key, b"0") for _ in range(20)), return_exceptions=True)
    require(sum(isinstance(outcome, int) for outcome in outcomes) == 1, "exactly one create wins")
    require(sum(isinstance(outcome, KeyExists) for outcome in outcomes) == 19, "the others hear KeyExists")

    async def raise_by(times: int) -> None:
        while times:
            entry = await store.get(key)
            if entry is None:
                raise PromiseBroken("the counter vanished")
            try:
                await store.update(key, b"%d" % (int(entry.value) + 1), entry.revision)
                times -= 1
            except RevisionMismatch:
                continue

    await asyncio.gather(*(raise_by(15) for _ in range(16)))
    entry = await store.get(key)
    require(entry is not None and entry.value == b"240", "every increment counts")


async def check_read_your_write(store: Store) -> None:
    """Whoever got an acknowledgement reads at least that state, by every way of reading."""

    async def write_and_read(n: int) -> None:
        revision = await store.create(f"/a/{n}", b"1")
        entry = await store.get(f"/a/{n}")
        require(entry is not None and entry.revision == revision, "get shows the acknowledged write")
        listing = await store.list(f"/a/{n}")
        require(listing.revision >= revision and len(listing.entries) == 1, "so does list")
        require(await store.current_revision() >= revision, "so does the current revision")

    await asyncio.gather(*(write_and_read(n) for n in range(1000, 1050)))


async def check_cancelled_writer(store: Store) -> None:
    """A writer that is cancelled leaves the key usable: its write stands whole or not at all."""
    for n in range(20):
        task = asyncio.create_task(store.create(f"/a/{n}", b"whole"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await store.create(f"/a/{n}", b"whole")
        except KeyExists:
            continue
        finally:
            entry = await store.get(f"/a/{n}")
            require(entry is not None and entry.value == b"whole", "the key holds a whole value")


async def check_compaction(store: Store) -> None:
    """After a compaction older reads and watches are refused, newer ones and live values are unharmed."""
    kept = await store.create("/a/kept", b"old but live")
    gone = await store.create("/a/gone", b"1")
    gone = await store.update("/a/gone", b"2", gone)
    await store.delete("/a/gone", gone)
    changed = await store.create("/a/changed", b"1")
    at = await store.update("/a/changed", b"2", changed)
    after = await store.update("/a/changed", b"3", at)
    await store.compact(at)
    listing = await store.list("/a/", revision=at)
    require(
        [(e.key, e.value, e.revision) for e in listing.entries]
        == [("/a/changed", b"2", at), ("/a/kept", b"old but live", kept)],
        "the state at the compacted revision is whole",
    )
    error = await _raises(Compacted, store.list("/a/", revision=at - 1), "a list before the compaction")
    require((error.asked, error.oldest) == (at - 1, at), "the error names the oldest kept revision")
    await _raises(Compacted, _first(store, "/a/", at - 1), "a watch from before the compaction")
    events = await collect(store, "/a/", at, after)
    require([event.revision for event in events] == [after], "a watch from the compacted revision works")
    await store.compact(at)
    await store.compact(1)
    await store.compact(after)
    entry = await store.get("/a/kept")
    require(entry is not None and entry.value == b"old but live", "live values survive")
    require(await store.current_revision() == after, "compaction takes no revision")
    await _raises(FutureRevision, store.compact(after + 1000), "compaction in the future")


async def check_close(store: Store) -> None:
    """Closing ends watches with StoreClosed, later calls are refused, closing twice is harmless."""
    revision = await store.create("/a/x", b"")
    watching = asyncio.create_task(collect(store, "/a/", revision, revision + 1))
    await asyncio.sleep(0.02)
    await store.close()
    await store.close()
    await _raises(StoreClosed, asyncio.wait_for(watching, 5), "a watch of a closed store")
    await _raises(StoreClosed, store.get("/a/x"), "get")
    await _raises(StoreClosed, store.list("/a/"), "list")
    await _raises(StoreClosed, store.create("/a/y", b""), "create")
    await _raises(StoreClosed, store.update("/a/x", b"", revision), "update")
    await _raises(StoreClosed, store.delete("/a/x", revision), "delete")
    await _raises(StoreClosed, store.current_revision(), "current_revision")
    await _raises(StoreClosed, store.compact(revision), "compact")
    await _raises(StoreClosed, _first(store, "/a/", revision), "watch")


async def check_reopen(reopen: Reopen) -> None:
    """Values, revisions, history and compaction survive closing; a deletion's revision is never given again."""
    store = await reopen()
    first = await store.create("/a/x", b"1")
    second = await store.update("/a/x", b"2", first)
    await store.create("/a/y", b"y")
    last = await store.delete("/a/y", second + 1)
    await store.close()
    store = await reopen()
    entry = await store.get("/a/x")
    require(
        entry is not None and (entry.value, entry.revision, entry.created) == (b"2", second, first), "value"
    )
    require(await store.current_revision() == last, "revision")
    events = await collect(store, "/a/", first, last)
    require([event.revision for event in events] == [second, second + 1, last], "history")
    await store.compact(last)
    await store.close()
    store = await reopen()
    require(await store.current_revision() == last, "a compacted deletion's revision is remembered")
    await _raises(Compacted, _first(store, "/a/", first), "a watch from before the compaction")
    require(await store.create("/a/y", b"") > last, "and never given again")
    await store.close()


async def check_close_with_writers(reopen: Reopen) -> None:
    """What was acknowledged before a close that came in the middle of many writes is there afterwards."""
    store = await reopen()
    acknowledged: dict[str, int] = {}

    async def write(writer: int) -> None:
        for n in range(1000):
            try:
                acknowledged[f"/a/{writer}-{n}"] = await store.create(f"/a/{writer}-{n}", b"v")
            except StoreClosed:
                return

    writers = [asyncio.create_task(write(writer)) for writer in range(8)]
    await asyncio.sleep(0.1)
    await store.close()
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*writers)
    store = await reopen()
    found = {entry.key: entry.revision for entry in (await store.list("/a/")).entries}
    require(bool(acknowledged) and acknowledged.items() <= found.items(), "every acknowledged write is there")
    await store.close()


def _named(function: str) -> str:
    return function.removeprefix("check_")


CHECKS: dict[str, Check] = {
    _named(check.__name__): check
    for check in (
        check_create,
        check_empty_value,
        check_update,
        check_delete,
        check_listing_order_and_pages,
        check_listing_at_revisions,
        check_watch_replays_and_follows,
        check_watch_while_writing,
        check_slow_watch,
        check_progress,
        check_contention,
        check_read_your_write,
        check_cancelled_writer,
        check_compaction,
        check_close,
    )
}
DURABLE_CHECKS: dict[str, DurableCheck] = {
    _named(check.__name__): check for check in (check_reopen, check_close_with_writers)
}
