"""What can happen to a data store's files while it runs or between two runs: nothing acknowledged is lost, nothing
half-written is shown, and errors name the file."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sublet.store.drivers.sqlite import SQLiteStore
from sublet.store.interface import Compacted, StoreError, StoreFull

VALUE = b"v" * 2500
ROUNDS = int(os.environ.get("SUBLET_SOAK", "0")) or 2


async def run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.fixture
async def small_disk(tmp_path: Path) -> AsyncIterator[Path]:
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if await run("mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)):
        pytest.skip("cannot mount a small disk here")
    yield disk
    await run("umount", "-l", str(disk))


async def left_behind(folder: Path, count: int) -> tuple[Path, Path]:
    """The database and write-ahead log of a store that died after ``count`` writes, each a transaction of its own."""
    store = await SQLiteStore.open(folder / "live.db")
    for number in range(count):
        await store.create(f"/a/{number:03d}", b"%03d" % number + VALUE)
    paths = folder / "dead.db", folder / "dead.db-wal"
    for path in paths:
        shutil.copy(folder / path.name.replace("dead", "live"), path)
    await store.close()
    return paths


async def surviving(database: Path) -> int:
    """How many writes the store shows; they must be the first ones, whole, and writing must go on after them."""
    store = await SQLiteStore.open(database)
    try:
        found = (await store.list("/a/")).entries
        for number, entry in enumerate(found):
            assert (entry.key, entry.revision) == (f"/a/{number:03d}", number + 1)
            assert entry.value == b"%03d" % number + VALUE
        assert await store.create("/b/next", VALUE) == len(found) + 1
        return len(found)
    finally:
        await store.close()


async def test_a_half_written_log_is_read_up_to_its_last_whole_write(tmp_path: Path) -> None:
    database, log = await left_behind(tmp_path, 30)
    whole = log.read_bytes()
    kept = database.read_bytes()
    seen = set()
    for share in (1.0, 0.97, 0.8, 0.55, 0.5001):
        for path in tmp_path.glob("dead.db*"):
            path.unlink()
        database.write_bytes(kept)
        log.write_bytes(whole[: int(len(whole) * share)])
        seen.add(await surviving(database))
    assert max(seen) == 30
    assert len(seen) >= 4


async def test_damage_in_the_log_hides_what_follows_and_nothing_else(tmp_path: Path) -> None:
    database, log = await left_behind(tmp_path, 30)
    damaged = bytearray(log.read_bytes())
    at = int(len(damaged) * 0.7)
    damaged[at : at + 200] = random.Random(7).randbytes(200)
    log.write_bytes(damaged)
    assert 0 < await surviving(database) < 30


async def test_a_file_that_another_program_locks_is_named_and_works_again_later(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "state.db")
    await store.create("/a/1", VALUE)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"state\.db is locked by another program .* nothing was written"):
        await store.create("/a/2", VALUE)
    assert [entry.key for entry in (await store.list("/a/")).entries] == ["/a/1"]
    other.execute("ROLLBACK")
    other.close()
    assert await store.create("/a/2", VALUE) == 2
    await store.close()


async def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    store = await SQLiteStore.open(small_disk / "state.db")
    await store.create("/a/1", VALUE)
    await store.close()
    assert await run("mount", "-o", "remount,ro", str(small_disk)) == 0
    with pytest.raises(StoreError, match=r"state\.db cannot be opened: .*Read-only file system"):
        await SQLiteStore.open(small_disk / "state.db")
    assert await run("mount", "-o", "remount,rw", str(small_disk)) == 0
    store = await SQLiteStore.open(small_disk / "state.db")
    assert await store.create("/a/2", VALUE) == 2
    await store.close()


async def test_soak_of_a_disk_that_fills_and_empties_loses_nothing(small_disk: Path) -> None:
    path, ballast = small_disk / "state.db", small_disk / "ballast"
    acknowledged: dict[str, int] = {}
    for turn in range(ROUNDS):
        store = await SQLiteStore.open(path)
        ballast.write_bytes(b"x" * (1 << 20))
        with pytest.raises(StoreFull, match=r"state\.db: nothing was written"):
            for number in range(3000):
                key = f"/a/{turn}-{number}"
                acknowledged[key] = await store.create(key, VALUE)
        ballast.unlink()
        key = f"/a/{turn}-later"
        acknowledged[key] = await store.create(key, VALUE)
        await store.close()
        store = await SQLiteStore.open(path)
        found = (await store.list("/a/")).entries
        assert {entry.key: entry.revision for entry in found} == acknowledged
        for entry in found:
            await store.delete(entry.key, entry.revision)
        acknowledged.clear()
        await store.compact(await store.current_revision())
        await store.close()


async def test_soak_of_rewriting_keeps_the_file_small(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await SQLiteStore.open(path, history_bytes=1 << 20)

    async def rewrite(key: str) -> None:
        known = await store.get(key)
        revision = known.revision if known else await store.create(key, VALUE)
        for _ in range(200):
            revision = await store.update(key, VALUE, revision)

    largest = 0
    for _ in range(ROUNDS):
        await asyncio.gather(*(rewrite(f"/a/{number}") for number in range(10)))
        largest = max(largest, sum(each.stat().st_size for each in tmp_path.iterdir()))
    await store.close()
    assert largest < 24 << 20  # 50 MB would be there after ten rounds without compaction
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    store = await SQLiteStore.open(tmp_path / "state.db", compact_interval=0.2)
    first = await store.create("/a/x", b"1")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    second = await store.update("/a/x", b"2", first)
    assert second == first + 1
    async with asyncio.timeout(10):
        while True:
            try:
                await store.list("/a/", revision=first)
            except Compacted:
                break
            await asyncio.sleep(0.02)
    assert (await store.get("/a/x")) is not None
    await store.close()
