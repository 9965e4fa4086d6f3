"""What the SQLite driver does beyond the promises that every driver keeps."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sublet.store.conformance import collect
from sublet.store.drivers.sqlite import SQLiteStore, file_url
from sublet.store.interface import Compacted, StoreClosed, StoreCorrupt, StoreError, StoreFull
from sublet.store.open import open_store

VALUE = b"v" * 2500


async def filled(path: Path, count: int = 300) -> None:
    store = await SQLiteStore.open(path)
    await asyncio.gather(*(store.create(f"/a/{n:05d}", VALUE) for n in range(count)))
    await store.close()


async def test_files_are_private(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "new folder" / "state.db")
    await store.create("/a/x", b"secret")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new folder").iterdir()}
    await store.close()
    assert set(modes) == {"state.db", "state.db-wal", "state.db-shm", "state.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_url_may_be_absolute_relative_and_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (f"sqlite://{tmp_path}/a.db", "sqlite:b.db", file_url(tmp_path / "c d%.db")):
        await (await open_store(url)).close()
    assert {"a.db", "b.db", "c d%.db"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("url", ["sqlite://host/path", "sqlite:///x.db?mode=ro", "sqlite://"])
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match="must be sqlite:///absolute/path"):
        await open_store(url)


async def test_second_process_is_told_who_holds_the_file(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom sublet.store.drivers.sqlite import SQLiteStore\n"
        "async def main():\n    store = await SQLiteStore.open(Path(sys.argv[1]))\n"
        "    print('open', flush=True)\n    sys.stdin.read()\nasyncio.run(main())\n"
    )
    path = tmp_path / "state.db"
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreClosed, match=f"state.db is in use by process {holder.pid}"):
            await SQLiteStore.open(path)
    finally:
        holder.kill()
        await holder.communicate()
    await (await SQLiteStore.open(path)).close()


async def test_full_store_refuses_writes_and_works_again_after_compaction(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "state.db", max_bytes=1 << 20)
    revision = await store.create("/b/history", VALUE)
    for _ in range(20):
        revision = await store.update("/b/history", VALUE, revision)
    written = 0
    with pytest.raises(StoreFull, match=r"state\.db: nothing was written"):
        for written in range(1000):
            revision = await store.create(f"/a/{written}", VALUE)
    assert written > 100
    assert await store.get(f"/a/{written}") is None
    assert await store.current_revision() == revision
    await store.compact(revision)
    assert await store.create(f"/a/{written}", VALUE) == revision + 1
    await store.close()
    store = await SQLiteStore.open(tmp_path / "state.db")
    assert len((await store.list("/a/")).entries) == written + 1
    await store.close()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root to mount a small disk")
async def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk))
    if await mount.wait():
        pytest.skip("cannot mount a small disk here")
    try:
        store = await SQLiteStore.open(disk / "state.db")
        acknowledged = {}
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        with pytest.raises(StoreFull):
            for n in range(3000):
                acknowledged[f"/a/{n}"] = await store.create(f"/a/{n}", VALUE)
        ballast.unlink()
        acknowledged["/a/later"] = await store.create("/a/later", VALUE)
        await store.close()
        store = await SQLiteStore.open(disk / "state.db")
        assert {entry.key: entry.revision for entry in (await store.list("/a/")).entries} == acknowledged
        await store.close()
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(disk))).wait()


async def test_file_of_something_else_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    with pytest.raises(StoreCorrupt, match=r"notes\.txt is not a data store of sublet"):
        await SQLiteStore.open(path)
    assert path.read_text() == "not a database\n" * 100


async def test_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs(x)")
    other.close()
    with pytest.raises(
        StoreCorrupt, match=r"other\.db is an SQLite database, but not a data store of sublet"
    ):
        await SQLiteStore.open(path)


async def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path, 1)
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(StoreError, match="has format 99"):
        await SQLiteStore.open(path)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
async def test_cut_off_file_is_refused_by_name(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(StoreCorrupt, match=r"state\.db is cut off: .* restore it from a snapshot"):
        await SQLiteStore.open(path)


async def test_overwritten_pages_are_found_and_the_lock_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    with path.open("r+b") as file:
        file.seek(8192 * 3)
        file.write(os.urandom(8192 * 20))
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"state\.db is damaged"):
            await SQLiteStore.open(path)


async def test_history_is_bounded_by_age(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "state.db", compact_interval=0.1)
    first = await store.create("/a/x", b"1")
    revision = await store.update("/a/x", b"2", first)
    async with asyncio.timeout(5):
        while True:
            try:
                await store.list("/a/", revision=first)
            except Compacted:
                break
            await asyncio.sleep(0.02)
    assert [entry.value for entry in (await store.list("/a/", revision=revision)).entries] == [b"2"]
    await store.close()


async def test_history_is_bounded_by_size_and_space_is_given_back(tmp_path: Path) -> None:
    """10,000 updates of 2.5 KB would weigh 25 MB; with 2 MB of history the file stays small."""
    path = tmp_path / "state.db"
    store = await SQLiteStore.open(path, history_bytes=2 << 20)

    async def rewrite(key: str) -> None:
        revision = await store.create(key, VALUE)
        for _ in range(1000):
            revision = await store.update(key, VALUE, revision)

    await asyncio.gather(*(rewrite(f"/a/{n}") for n in range(10)))
    await store.compact(await store.current_revision())
    await store.close()
    assert path.stat().st_size < 3 << 20
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM log").fetchone() == (10,)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


async def test_interrupted_compaction_goes_on_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await SQLiteStore.open(path)
    revision = await store.create("/a/x", b"")
    for _ in range(3000):
        revision = await store.update("/a/x", b"", revision)
    compaction = asyncio.create_task(store.compact(revision))
    await asyncio.sleep(0)
    compaction.cancel()
    await store.close()
    store = await SQLiteStore.open(path)
    await store.compact(revision)
    await store.close()
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM log").fetchone() == (1,)
    file.close()


async def test_watch_overtaken_by_compaction_says_so(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "state.db")
    revision = await store.create("/a/x", b"")
    for _ in range(20):
        revision = await store.update("/a/x", b"", revision)
    await store.compact(revision - 5)
    with pytest.raises(Compacted):
        await collect(store, "/a/", 1, revision)
    assert len(await collect(store, "/a/", revision - 5, revision)) == 5
    await store.close()


async def test_equal_keys_share_one_string_with_the_index(tmp_path: Path) -> None:
    """100,000 keys of 100 bytes in a second copy would cost 11 MB."""
    store = await SQLiteStore.open(tmp_path / "state.db")
    await store.create("/registry/core/pods/default/web", b"")
    first, second = [(await store.list("/registry/")).entries[0] for _ in range(2)]
    assert first.key is second.key
    await store.close()


async def test_writes_and_lists_get_through_while_the_loop_is_never_idle(tmp_path: Path) -> None:
    """A loop that polls between turns shorter than the interpreter's switch interval starved the writing
    thread for seconds a write. Generous bounds: a write takes 3 ms, a list of 200 20 ms."""
    store = await SQLiteStore.open(tmp_path / "state.db")
    running = True

    async def compute() -> None:
        while running:
            end = time.perf_counter() + 0.0002
            while time.perf_counter() < end:
                sum(range(50))
            await asyncio.sleep(0)

    busy = [asyncio.create_task(compute()) for _ in range(2)]
    async with asyncio.timeout(15):
        for n in range(200):
            await store.create(f"/a/{n}", VALUE)
        for _ in range(5):
            assert len((await store.list("/a/")).entries) == 200
    running = False
    await asyncio.gather(*busy)
    await store.close()
