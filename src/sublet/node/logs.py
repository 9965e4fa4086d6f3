"""Container logs as the runtime writes them: ``TIME stdout|stderr F|P text``, one file per attempt, rotated.

Source: the CRI log format; options are those of the pod's ``log`` subresource.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sublet.machinery import objects

_CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class Line:
    time: str
    stream: str
    partial: bool
    """Whether the text goes on in the next line of the same stream."""
    text: bytes


@dataclass(frozen=True, slots=True)
class LogOptions:
    follow: bool = False
    timestamps: bool = False
    since: float = 0.0
    """Unix seconds; older lines are left out."""
    tail: int = -1
    """Lines from the end; negative: all."""
    limit: int = 0
    """Bytes after which the answer ends; 0: none."""
    stream: str = "All"
    """``All``, ``Stdout`` or ``Stderr``."""


def parse(raw: bytes) -> Line | None:
    """One line of the file without its newline; None where it is none (a write cut short)."""
    parts = raw.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    text = parts[3] if len(parts) == 4 else b""
    return Line(parts[0].decode(errors="replace"), parts[1].decode(), parts[2].startswith(b"P"), text)


def rotated(path: Path) -> list[Path]:
    """A log's rotated files, oldest first, without the log itself."""
    return sorted(file for file in path.parent.glob(f"{path.name}.*") if not file.name.endswith(".tmp"))


def read_all(path: Path) -> Iterator[bytes]:
    """All lines, rotated files first."""
    for file in rotated(path):
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as old:
            for raw in old:
                yield raw.rstrip(b"\n")
    try:
        with path.open("rb") as current:
            for raw in current:
                if raw.endswith(b"\n"):
                    yield raw[:-1]
    except FileNotFoundError:
        return


def last_lines(path: Path, count: int, limit: int) -> str:
    """The text of the last lines, at most ``limit`` bytes of it."""
    kept: deque[bytes] = deque(maxlen=count)
    for raw in read_all(path):
        if line := parse(raw):
            kept.append(line.text + (b"" if line.partial else b"\n"))
    return b"".join(kept)[-limit:].decode(errors="replace")


class _Writer:
    """Lines to the bytes of an answer, until the limit."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit or None
        self._continues: dict[str, bool] = {}

    @property
    def full(self) -> bool:
        return self._left == 0

    def wanted(self, line: Line) -> bool:
        options = self._options
        if options.stream != "All" and line.stream != options.stream.lower():
            return False
        return not options.since or _seconds(line.time) >= options.since

    def show(self, line: Line) -> bytes:
        text = line.text + (b"" if line.partial else b"\n")
        if self._options.timestamps and not self._continues.get(line.stream):
            text = line.time.encode() + b" " + text
        self._continues[line.stream] = line.partial
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text


def _seconds(time: str) -> float:
    try:
        return objects.parse_time(time)
    except ValueError:
        return float("inf")


async def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in chunks; with ``follow`` until the container no longer runs and all of it is sent."""
    writer = _Writer(options)
    position, inode = await asyncio.to_thread(_place, path)
    lines = await asyncio.to_thread(_selected, path, options, writer, position)
    out = bytearray()
    for line in lines:
        out += writer.show(line)
        if len(out) >= _CHUNK:
            yield bytes(out)
            out.clear()
        if writer.full:
            break
    if out:
        yield bytes(out)
    while options.follow and not writer.full:
        alive = running()
        new, position, inode = await asyncio.to_thread(_more, path, position, inode)
        found = [parsed for raw in new if (parsed := parse(raw)) and writer.wanted(parsed)]
        shown = b"".join(map(writer.show, found))
        if shown:
            yield shown
        elif not alive:
            return
        else:
            await asyncio.sleep(0.1)


def _place(path: Path) -> tuple[int, int]:
    """(size up to the last whole line, inode): what is beyond comes by following."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    with path.open("rb") as file:
        file.seek(max(stat.st_size - _CHUNK, 0))
        end = file.read(stat.st_size - file.tell())
    whole = end.rfind(b"\n") + 1
    return stat.st_size - (len(end) - whole), stat.st_ino


def _selected(path: Path, options: LogOptions, writer: _Writer, size: int) -> list[Line]:
    kept: deque[Line] = deque()
    whole = 0
    for raw in _up_to(path, size):
        line = parse(raw)
        if line is None or not writer.wanted(line):
            continue
        kept.append(line)
        whole += not line.partial
        while options.tail >= 0 and whole > options.tail:
            whole -= not kept.popleft().partial
    if options.tail == 0:
        kept.clear()
    return list(kept)


def _up_to(path: Path, size: int) -> Iterator[bytes]:
    for file in rotated(path):
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as old:
            for raw in old:
                yield raw.rstrip(b"\n")
    if size:
        with path.open("rb") as current:
            while current.tell() < size and (raw := current.readline()):
                yield raw.rstrip(b"\n")


def _more(path: Path, position: int, inode: int) -> tuple[list[bytes], int, int]:
    """What was written since; after a rotation first the rest of the old file."""
    lines: list[bytes] = []
    try:
        stat = path.stat()
    except FileNotFoundError:
        return lines, position, inode
    if inode and stat.st_ino != inode:
        for file in rotated(path):
            if file.stat().st_ino == inode:
                lines += _whole_lines(file, position)[0]
        position = 0
    new, position = _whole_lines(path, position)
    return lines + new, position, stat.st_ino


def _whole_lines(path: Path, position: int) -> tuple[list[bytes], int]:
    with path.open("rb") as file:
        file.seek(position)
        data = file.read(4 << 20)
    whole, newline, _ = data.rpartition(b"\n")
    if not newline:
        return [], position
    return whole.split(b"\n"), position + len(whole) + 1
