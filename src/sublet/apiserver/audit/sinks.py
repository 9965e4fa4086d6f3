"""Where audit events go: a file that is rotated, or a webhook that takes them in batches. Neither makes a request wait.

Events are taken into a bounded queue; when it is full they are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from sublet.apiserver.audit.policy import API_VERSION
from sublet.client.exchange import Request, Transport
from sublet.machinery.clock import Clock
from sublet.machinery.status import StatusError

_log = logging.getLogger(__name__)

_MEGABYTE = 1 << 20
_BUFFER = 10_000
"""Events that may wait, as upstream."""
_GATHER = 400
_ATTEMPTS = 5


class Sink(Protocol):
    name: str
    """``log`` or ``webhook``, as metrics call it."""
    dropped: int

    def start(self) -> None: ...

    def put(self, line: bytes) -> None:
        """One event as a line of JSON. Never waits, never raises."""
        ...

    async def stop(self) -> None:
        """Writes what is waiting, as far as that can be done soon."""
        ...


class LogSettings(Struct, frozen=True):
    """Of a log file, by kube-apiserver's flags. 0: without bound."""

    path: str
    """``-``: standard output."""
    max_age: int = 0
    """Days."""
    max_backups: int = 0
    max_size: int = 100
    """Megabytes at which the file is rotated."""


class LogFile:
    """Writes lines in a thread of its own, so that a slow disk holds up nobody."""

    name = "log"

    def __init__(self, settings: LogSettings, clock: Clock) -> None:
        self.dropped = 0
        self._settings = settings
        self._clock = clock
        self._queue: queue.Queue[bytes | None] = queue.Queue(_BUFFER)
        self._thread: threading.Thread | None = None
        self._failing = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    async def stop(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(self._queue.put, None)
            await asyncio.to_thread(thread.join, 10.0)

    def _run(self) -> None:
        file = _RotatedFile(self._settings, self._clock.now) if self._settings.path != "-" else None
        for lines in self._batches():
            data = b"".join(lines)
            try:
                if file is not None:
                    file.write(data)
                else:
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
                self._failing = False
            except OSError as error:
                self.dropped += len(lines)
                if not self._failing:
                    _log.error("the audit log %s cannot be written: %s", self._settings.path, error)
                self._failing = True
        if file is not None:
            file.close()

    def _batches(self) -> Iterator[list[bytes]]:
        """What waits, together, until the end is asked for."""
        while True:
            first = self._queue.get()
            lines: list[bytes] = []
            following = first
            while following is not None:
                lines.append(following)
                if len(lines) >= _GATHER:
                    break
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
            if lines:
                yield lines
            if following is None:
                return


class _RotatedFile:
    """``audit.log`` beside ``audit-2026-01-02T15-04-05.000.log``, …: upstream's names."""

    def __init__(self, settings: LogSettings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._now = now
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Raises ``OSError``."""
        limit = (self._settings.max_size or 100) * _MEGABYTE
        if self._file is None:
            self._open()
        if self._size and self._size + len(data) > limit:
            self._rotate()
        assert self._file is not None
        self._file.write(data)
        self._file.flush()
        self._size += len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.touch(mode=0o600)
        self._file = self._path.open("ab")
        self._size = self._file.tell()

    def _rotate(self) -> None:
        self.close()
        self._path.rename(self._path.with_name(self._backup_name()))
        self._open()
        self._forget_old()

    def _backup_name(self) -> str:
        from datetime import UTC, datetime

        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        return f"{self._path.stem}-{stamp}{self._path.suffix}"

    def _forget_old(self) -> None:
        backups = sorted(
            self._path.parent.glob(f"{self._path.stem}-????-??-??T*{self._path.suffix}"), reverse=True
        )
        oldest = self._now() - self._settings.max_age * 86400.0
        for index, backup in enumerate(backups):
            many = self._settings.max_backups and index >= self._settings.max_backups
            if many or (self._settings.max_age and backup.stat().st_mtime < oldest):
                backup.unlink(missing_ok=True)


class BatchSettings(Struct, frozen=True):
    """Of batches to a webhook, by kube-apiserver's flags."""

    max_size: int = 400
    """Events in one batch."""
    max_wait: float = 30.0
    """Seconds until an incomplete batch goes."""
    buffer: int = _BUFFER
    initial_backoff: float = 10.0
    """Seconds before the first repetition; each further one waits one and a half times as long."""


class Webhook:
    """Posts ``EventList`` objects over a transport; batches that are not taken after a few attempts are dropped."""

    name = "webhook"

    def __init__(self, transport: Transport, settings: BatchSettings | None = None) -> None:
        self.dropped = 0
        self._transport = transport
        self._settings = settings or BatchSettings()
        self._waiting: list[bytes] = []
        self._due = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="audit webhook")

    def put(self, line: bytes) -> None:
        if len(self._waiting) >= self._settings.buffer:
            self.dropped += 1
            return
        self._waiting.append(line)
        if len(self._waiting) >= self._settings.max_size:
            self._due.set()

    async def stop(self) -> None:
        self._stopping = True
        self._due.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=5.0)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._transport.close()

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            try:
                async with asyncio.timeout(self._settings.max_wait):
                    await self._due.wait()
            except TimeoutError:
                pass
            batch, self._waiting = (
                self._waiting[: self._settings.max_size],
                self._waiting[self._settings.max_size :],
            )
            if len(self._waiting) < self._settings.max_size and not self._stopping:
                self._due.clear()
            if batch:
                await self._send(batch)

    async def _send(self, batch: list[bytes]) -> None:
        head = f'{{"kind":"EventList","apiVersion":"{API_VERSION}","metadata":{{}},"items":['.encode()
        body = head + b",".join(line.rstrip(b"\n") for line in batch) + b"]}"
        backoff, problem = self._settings.initial_backoff, ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                if self._stopping:
                    break
                await asyncio.sleep(backoff)
                backoff *= 1.5
            try:
                headers = {"content-type": "application/json", "user-agent": "sublet-apiserver"}
                response = await self._transport.request(Request("POST", "", "", headers, body))
            except StatusError as error:
                problem = str(error)
                continue
            if response.status < 300:
                return
            problem = f"it answered {response.status}"
        self.dropped += len(batch)
        _log.error("the audit webhook did not take %d events: %s", len(batch), problem)
