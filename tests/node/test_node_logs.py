"""Reading container logs in the runtime's format."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from sublet.node.logs import LogOptions, last_lines, parse, read_log


def entry(second: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-01-02T03:04:{second:02d}.5Z {stream} {tag} {text}\n"


def write(path: Path, *entries: str) -> Path:
    path.write_text("".join(entries))
    return path


async def read(path: Path, options: LogOptions | None = None) -> str:
    chunks = [chunk async for chunk in read_log(path, options or LogOptions(), lambda: False)]
    return b"".join(chunks).decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(
        tmp_path / "0.log", entry(1, "one"), entry(2, "two", "stderr"), entry(3, "thr", tag="P"), entry(3, "ee"),
        entry(4, ""), entry(5, "five"),
    )  # fmt: skip


async def test_partial_lines_are_joined(log: Path) -> None:
    assert await read(log) == "one\ntwo\nthree\n\nfive\n"


async def test_tail_counts_whole_lines(log: Path) -> None:
    assert await read(log, LogOptions(tail=3)) == "three\n\nfive\n"
    assert await read(log, LogOptions(tail=0)) == ""
    assert await read(log, LogOptions(tail=99)) == await read(log)


async def test_since_leaves_older_lines_out(log: Path) -> None:
    assert await read(log, LogOptions(since=1_767_323_044.0)) == "\nfive\n"


async def test_timestamps_stand_before_whole_lines_only(log: Path) -> None:
    lines = (await read(log, LogOptions(timestamps=True))).splitlines()
    assert lines[0] == "2026-01-02T03:04:01.5Z one"
    assert lines[2] == "2026-01-02T03:04:03.5Z three"


async def test_one_stream_can_be_chosen(log: Path) -> None:
    assert await read(log, LogOptions(stream="Stderr")) == "two\n"


async def test_bytes_can_be_limited(log: Path) -> None:
    assert await read(log, LogOptions(limit=6)) == "one\ntw"


async def test_rotated_files_come_first(log: Path) -> None:
    with gzip.open(log.with_name("0.log.20260101-000000.gz"), "wt") as old:
        old.write(entry(0, "oldest"))
    write(log.with_name("0.log.20260102-000000"), entry(0, "older"))
    assert (await read(log)).splitlines()[:3] == ["oldest", "older", "one"]


async def test_following_goes_on_after_a_rotation_until_the_container_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "0.log", entry(1, "one"))
    alive = [True]
    received: list[bytes] = []

    async def follow() -> None:
        async for chunk in read_log(path, LogOptions(follow=True), lambda: alive[0]):
            received.append(chunk)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.15)
    with path.open("a") as file:
        file.write(entry(2, "two"))
    path.rename(tmp_path / "0.log.20260102-000000")
    write(path, entry(3, "three"))
    await asyncio.sleep(0.3)
    alive[0] = False
    await asyncio.wait_for(task, 5)
    assert b"".join(received) == b"one\ntwo\nthree\n"


async def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert await read(tmp_path / "none.log") == ""


def test_lines_cut_short_are_none() -> None:
    assert parse(b"2026-01-02T03:04:05Z std") is None
    assert parse(b"") is None


def test_last_lines_are_the_end(log: Path) -> None:
    assert last_lines(log, 2, 100) == "\nfive\n"
    assert last_lines(log, 99, 4) == "ive\n"
