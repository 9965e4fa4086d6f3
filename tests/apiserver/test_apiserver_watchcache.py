"""The watch cache shows the store's state and hands each event to exactly the watchers it concerns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sublet.apiserver.watchcache import (
    CachedEntry,
    CachedEvent,
    Computed,
    ObjectMutated,
    WatchCache,
    WatchCaches,
    WatcherOverrun,
    decode_stored,
    resource_prefix,
)
from sublet.machinery.codec import encode_json
from sublet.store.drivers.memory import MemoryStore
from sublet.store.drivers.sqlite import SQLiteStore
from sublet.store.interface import Compacted, StoreClosed

PODS = "/registry/core/pods/"


def pod(name: str, node: str = "", **labels: str) -> bytes:
    return b"s1 0.1.0 1.36\n" + encode_json(
        {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": node}}
    )


def node_name(obj: Any) -> str:
    return str(obj["spec"]["nodeName"])


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    await opened.close()


@pytest.fixture
async def caches(store: MemoryStore) -> AsyncIterator[WatchCaches]:
    made = WatchCaches(store, computed=Computed(detect_mutation=True))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def pods(caches: WatchCaches) -> WatchCache:
    cache = caches.cache(PODS)
    cache.add_index("spec.nodeName", node_name)
    return cache


def summary(events: list[CachedEvent]) -> list[tuple[str, str, int]]:
    return [(event.type, event.entry.key.removeprefix(PODS), event.revision) for event in events]


async def test_a_fresh_cache_shows_what_was_written(store: MemoryStore, pods: WatchCache) -> None:
    revision = await store.create(PODS + "default/a", pod("a"))
    await pods.fresh()
    entry = pods.get(PODS + "default/a")
    assert entry is not None
    assert (entry.revision, entry.created, entry.value) == (revision, revision, pod("a"))
    assert entry.object["metadata"]["name"] == "a"
    deleted = await store.delete(PODS + "default/a", revision)
    await pods.fresh()
    assert pods.get(PODS + "default/a") is None
    assert pods.revision == deleted


async def test_writers_to_sqlite_find_their_own_writes_in_a_fresh_cache(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "state.db")
    caches = WatchCaches(store)
    await caches.start()

    async def write(n: int) -> None:
        revision = await store.create(f"{PODS}default/{n}", pod("x"))
        await caches.fresh()
        entry = caches.cache(PODS).get(f"{PODS}default/{n}")
        assert entry is not None
        assert entry.revision == revision

    await asyncio.gather(*(write(n) for n in range(200)))
    await caches.stop()
    await store.close()


async def test_entries_are_in_key_order_within_prefix_and_limit(store: MemoryStore, pods: WatchCache) -> None:
    names = ["b/x", "a-b/x", "a/y", "a/x", "a.b/x"]
    for name in names:
        await store.create(PODS + name, pod(name))
    await pods.fresh()
    inside = [PODS + name for name in sorted(names, key=str.encode)]
    assert [entry.key for entry in pods.entries()] == inside
    assert [entry.key for entry in pods.entries(PODS + "a/")] == [PODS + "a/x", PODS + "a/y"]
    assert [entry.key for entry in pods.entries(start=inside[1] + "\0", limit=2)] == inside[2:4]
    assert pods.count() == 5
    assert pods.count(PODS + "a/", start=PODS + "a/x\0") == 1
    assert pods.entries(PODS + "none/") == []


async def test_resources_are_kept_apart(store: MemoryStore, caches: WatchCaches, pods: WatchCache) -> None:
    deployments = caches.cache("/registry/apps/deployments/")
    with pods.watch(0) as watcher:
        await store.create("/registry/apps/deployments/default/web", pod("web"))
        await pods.fresh()
        assert await watcher.next(0.01) == []
    assert len(deployments) == 1
    assert len(pods) == 0
    assert pods.revision == deployments.revision == 1


def test_resource_prefix_of_namespaced_and_cluster_scoped_keys() -> None:
    assert resource_prefix(PODS + "default/web") == PODS
    assert resource_prefix("/registry/core/nodes/n1") == "/registry/core/nodes/"
    assert resource_prefix("/registry/marker") == "/registry/"


async def test_cache_of_a_prefix_outside_is_refused(caches: WatchCaches) -> None:
    with pytest.raises(ValueError, match="must begin with '/registry/' and end with '/'"):
        caches.cache("/registry/core/pods")


async def test_a_watch_resumes_from_any_kept_revision_and_then_follows(
    store: MemoryStore, pods: WatchCache
) -> None:
    first = await store.create(PODS + "default/a", pod("a"))
    second = await store.update(PODS + "default/a", pod("a", "n1"), first)
    with pods.watch(0) as whole, pods.watch(first) as rest, pods.watch(second) as nothing:
        third = await store.delete(PODS + "default/a", second)
        await pods.fresh()
        expected = [
            ("create", "default/a", first),
            ("update", "default/a", second),
            ("delete", "default/a", third),
        ]
        events = await whole.next(1)
        assert summary(events) == expected
        assert summary(await rest.next(1)) == expected[1:]
        assert summary(await nothing.next(1)) == expected[2:]
        assert whole.revision == rest.revision == third
    assert events[1].previous is events[0].entry
    assert events[2].previous is events[2].entry is events[1].entry
    assert events[0].previous is None
    assert pods.watchers == 0


async def test_a_watch_from_a_future_revision_skips_what_comes_before(
    store: MemoryStore, pods: WatchCache
) -> None:
    with pods.watch(2) as watcher:
        for name in "abc":
            await store.create(PODS + name, pod(name))
        assert summary(await watcher.next(1)) == [("create", "c", 3)]


async def test_narrowed_watches_get_only_their_namespace_or_object(
    store: MemoryStore, pods: WatchCache
) -> None:
    with pods.watch(0, prefix=PODS + "a/") as space, pods.watch(0, prefix=PODS + "a/x") as single:
        for name in ("a/x", "a/y", "b/x"):
            await store.create(PODS + name, pod(name))
        assert [event.entry.key for event in await space.next(1)] == [PODS + "a/x", PODS + "a/y"]
        assert [event.entry.key for event in await single.next(1)] == [PODS + "a/x"]
    with pods.watch(0, prefix=PODS + "a/") as again:
        assert [event.entry.key for event in await again.next(1)] == [PODS + "a/x", PODS + "a/y"]
    with pytest.raises(ValueError, match="is not below"):
        pods.watch(0, prefix="/registry/core/nodes/")


async def test_an_indexed_watch_sees_objects_come_and_go(store: MemoryStore, pods: WatchCache) -> None:
    with pods.watch(0, indexed=("spec.nodeName", "n1")) as watcher:
        other = await store.create(PODS + "default/other", pod("other", "n2"))
        revision = await store.create(PODS + "default/a", pod("a"))
        bound = await store.update(PODS + "default/a", pod("a", "n1"), revision)
        gone = await store.update(PODS + "default/a", pod("a", "n2"), bound)
        await store.update(PODS + "default/other", pod("other", "n3"), other)
        expected = [("update", "default/a", bound), ("update", "default/a", gone)]
        assert summary(await watcher.next(1)) == expected
    with pods.watch(0, indexed=("spec.nodeName", "n1")) as again:
        assert summary(await again.next(1)) == expected
    with pytest.raises(KeyError, match=r"no index 'spec\.colour'"):
        pods.watch(0, indexed=("spec.colour", "red"))


async def test_an_unreadable_object_stops_nobody(
    store: MemoryStore, pods: WatchCache, caplog: pytest.LogCaptureFixture
) -> None:
    with pods.watch(0, indexed=("spec.nodeName", "n1")) as narrowed, pods.watch(0) as whole:
        await store.create(PODS + "default/bad", b"s1 0.1.0 1.36\n{broken")
        good = await store.create(PODS + "default/good", pod("good", "n1"))
        assert summary(await narrowed.next(1)) == [("create", "default/good", good)]
        assert len(await whole.next(1)) == 2
    assert "/registry/core/pods/default/bad at revision 1 has no readable spec.nodeName" in caplog.text


async def test_next_waits_no_longer_than_told(pods: WatchCache) -> None:
    with pods.watch(0) as watcher:
        assert await watcher.next(0.01) == []


async def test_progress_of_a_silent_watch_follows_other_resources(
    store: MemoryStore, pods: WatchCache
) -> None:
    with pods.watch(0) as watcher:
        revision = await store.create("/registry/core/nodes/n1", pod("n1"))
        await pods.fresh()
        assert await watcher.next(0.01) == []
        assert watcher.revision == revision
        await store.create(PODS + "default/a", pod("a"))
        await pods.fresh()
        assert watcher.revision == revision, "an event that is not handed out yet does not count"


async def test_a_slow_watcher_is_ended_and_the_others_go_on(store: MemoryStore, pods: WatchCache) -> None:
    slow, fast = pods.watch(0, buffer=3), pods.watch(0)
    for n in range(4):
        await store.create(f"{PODS}default/{n}", pod("x"))
    await pods.fresh()
    with pytest.raises(WatcherOverrun, match="more than 3 events"):
        await slow.next(1)
    assert len(await fast.next(1)) == 4
    assert pods.watchers == 1
    fast.close()


async def test_a_watcher_may_be_ended_after_what_waits_for_it(store: MemoryStore, pods: WatchCache) -> None:
    with pods.watch(0) as watcher:
        await store.create(f"{PODS}default/a", pod("x"))
        await pods.fresh()
        pods.end_watchers(WatcherOverrun("enough"), keep=True)
        await store.create(f"{PODS}default/b", pod("x"))
        assert [event.entry.key for event in await watcher.next(1)] == [f"{PODS}default/a"]
        with pytest.raises(WatcherOverrun, match="enough"):
            await watcher.next(1)


async def test_history_is_bounded_and_older_watches_are_told(store: MemoryStore) -> None:
    caches = WatchCaches(store, history=10)
    await caches.start()
    for n in range(30):
        await store.create(f"{PODS}default/{n}", pod("x"))
    await store.create("/registry/core/nodes/quiet", pod("x"))
    pods = caches.cache(PODS)
    await pods.fresh()
    with pytest.raises(Compacted) as raised:
        pods.watch(19)
    assert raised.value.oldest == 20
    with pods.watch(20) as watcher:
        assert len(await watcher.next(1)) == 10
    with caches.cache("/registry/core/nodes/").watch(0) as quiet:
        assert len(await quiet.next(1)) == 1, "a busy resource does not push out a quiet one's history"
    await caches.stop()


async def test_watches_resume_across_a_restart(store: MemoryStore) -> None:
    revision = await store.create(PODS + "default/a", pod("a"))
    for n in range(50):
        revision = await store.update(PODS + "default/a", pod("a", f"n{n}"), revision)
    deleted = await store.delete(PODS + "default/a", revision)
    caches = WatchCaches(store, history=20)
    await caches.start()
    assert caches.revision == deleted
    with caches.cache(PODS).watch(deleted - 2) as watcher:
        events = await watcher.next(1)
    assert [event.type for event in events] == ["update", "delete"]
    assert events[1].entry.object["spec"]["nodeName"] == "n49"
    await caches.stop()


async def test_a_store_compacted_to_now_starts_without_history(store: MemoryStore) -> None:
    revision = await store.create(PODS + "default/a", pod("a"))
    revision = await store.update(PODS + "default/a", pod("a", "n1"), revision)
    await store.compact(revision)
    caches = WatchCaches(store)
    await caches.start()
    assert [entry.revision for entry in caches.cache(PODS).entries()] == [revision]
    with pytest.raises(Compacted):
        caches.cache(PODS).watch(revision - 1)
    await caches.stop()


async def test_wait_fresh_returns_when_the_revision_shows_or_time_is_up(
    store: MemoryStore, caches: WatchCaches, pods: WatchCache
) -> None:
    waiting = asyncio.create_task(pods.wait_fresh(2, 5))
    await store.create(PODS + "default/a", pod("a"))
    assert not waiting.done()
    await store.create(PODS + "default/b", pod("b"))
    await waiting
    with pytest.raises(TimeoutError, match=r"revision 99 did not show in 0\.01 s; at 2"):
        await pods.wait_fresh(99, 0.01)
    assert await caches.fresh(1) == 2


async def test_stopping_ends_watchers_and_waiters(store: MemoryStore) -> None:
    caches = WatchCaches(store)
    await caches.start()
    watching = asyncio.create_task(caches.cache(PODS).watch(0).next())
    waiting = asyncio.create_task(caches.wait_fresh(5))
    await asyncio.sleep(0)
    await caches.stop()
    for task in (watching, waiting):
        with pytest.raises(StoreClosed):
            await task
    with pytest.raises(StoreClosed):
        await caches.ready()


async def test_a_closed_store_ends_watchers(store: MemoryStore, caches: WatchCaches) -> None:
    watcher = caches.cache(PODS).watch(0)
    await caches.ready()
    await store.close()
    with pytest.raises(StoreClosed):
        await watcher.next(2)


async def test_bytes_are_made_once_for_all_watchers(store: MemoryStore, pods: WatchCache) -> None:
    made: list[int] = []

    def encode(event: CachedEvent) -> bytes:
        made.append(event.revision)
        return event.entry.value

    watchers = [pods.watch(0) for _ in range(100)]
    await store.create(PODS + "default/a", pod("a"))
    lines = [event.once(("ADDED", "v1"), encode) for watcher in watchers for event in await watcher.next(1)]
    assert len(lines) == 100
    assert made == [1]
    assert all(line is lines[0] for line in lines)


async def test_an_object_is_decoded_once_and_by_the_resources_own_decoder(
    store: MemoryStore, caches: WatchCaches
) -> None:
    decoded: list[str] = []

    def decode(entry: CachedEntry) -> Any:
        decoded.append(entry.key)
        return {**decode_stored(entry), "kind": "Pod"}

    cache = WatchCaches(store).cache(PODS, decode)
    entry = CachedEntry(PODS + "a", pod("a"), 1, 1, cache.decode, Computed())
    assert entry.object["kind"] == "Pod"
    assert entry.object is entry.object
    assert decoded == [PODS + "a"]


async def test_computed_values_are_dropped_beyond_the_budget_and_made_again() -> None:
    computed = Computed(limit=10_000)
    entries = [CachedEntry(f"k{n}", pod("x"), n, n, decode_stored, computed) for n in range(200)]
    first = entries[0].object
    for entry in entries:
        entry.once("view", lambda e: e.value)
    assert entries[0].object is not first
    assert entries[0].object == first


async def test_mutation_of_a_cached_object_is_found(store: MemoryStore) -> None:
    caches = WatchCaches(store, computed=Computed(detect_mutation=True))
    await caches.start()
    await store.create(PODS + "default/a", pod("a"))
    await caches.fresh()
    entry = caches.cache(PODS).get(PODS + "default/a")
    assert entry is not None
    entry.object["metadata"]["labels"]["changed"] = "in place"
    with pytest.raises(ObjectMutated, match="/registry/core/pods/default/a at revision 1"):
        await caches.stop()


async def test_a_watch_overtaken_by_compaction_reads_everything_anew(store: MemoryStore) -> None:
    """As after a long pause of a store on a server: watchers are ended, the state is right again."""
    caches = WatchCaches(store)
    await caches.start()
    watcher = caches.cache(PODS).watch(0)
    assert caches._task is not None
    caches._task.cancel()
    await asyncio.gather(caches._task, return_exceptions=True)
    revision = await store.create(PODS + "default/a", pod("a"))
    revision = await store.update(PODS + "default/a", pod("a", "n1"), revision)
    await store.compact(revision)
    caches._task = asyncio.create_task(caches._run())
    await caches.wait_fresh(revision, 5)
    entry = caches.cache(PODS).get(PODS + "default/a")
    assert entry is not None
    assert entry.object["spec"]["nodeName"] == "n1"
    with pytest.raises(WatcherOverrun, match="read anew"):
        await watcher.next(1)
    await caches.stop()


async def test_random_writes_leave_cache_store_and_watchers_agreeing(
    store: MemoryStore, pods: WatchCache
) -> None:
    """Whatever is written, replaying a watch's events gives the same state as the store's own list."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    replayed: dict[str, bytes] = {}
    watchers = [(pods.watch(0), replayed)]
    live: dict[str, int] = {}
    for _ in range(500):
        key = f"{PODS}{chance.choice('abc')}/{chance.randrange(10)}"
        if key not in live:
            live[key] = await store.create(key, pod("x", str(chance.random())))
        elif chance.random() < 0.4:
            await store.delete(key, live.pop(key))
        else:
            live[key] = await store.update(key, pod("x", str(chance.random())), live[key])
        if chance.random() < 0.02:
            state = {entry.key: entry.value for entry in pods.entries()}
            watchers.append((pods.watch(pods.revision), state))
    await pods.fresh()
    listed = {entry.key: entry.value for entry in (await store.list(PODS)).entries}
    assert {entry.key: entry.value for entry in pods.entries()} == listed
    for watcher, state in watchers:
        for event in await watcher.next(0):
            if event.type == "delete":
                assert state.pop(event.entry.key) == event.entry.value
            else:
                assert state.get(event.entry.key) == (event.previous.value if event.previous else None)
                state[event.entry.key] = event.entry.value
        assert state == listed
        watcher.close()
