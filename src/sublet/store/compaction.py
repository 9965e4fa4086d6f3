"""When a store compacts by itself: by age like upstream's API server, and by the size of its history.

Every ``interval`` seconds everything older than the previous tick goes, so history is kept for one to two
intervals. A flood of updates is cut earlier: when superseded values weigh more than ``limit`` bytes, the older
half goes at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sublet.store.interface import StoreError

_log = logging.getLogger(__name__)


class CompactionSchedule:
    """Calls ``compact(revision)`` when it is time; ``note`` tells it of every superseded value."""

    def __init__(
        self,
        compact: Callable[[int], Awaitable[None]],
        current: Callable[[], int],
        *,
        interval: float = 300.0,
        limit: int = 64 << 20,
    ) -> None:
        self._compact = compact
        self._current = current
        self._interval = interval
        self._limit = limit
        self._bytes = 0
        self._half = 0
        """The revision at which the history since the last compaction passed half of the limit."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="store compaction")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def note(self, revision: int, superseded: int) -> None:
        """A write at ``revision`` made history of ``superseded`` bytes."""
        self._bytes += superseded
        if self._half == 0 and self._bytes > self._limit // 2:
            self._half = revision
        if self._bytes > self._limit:
            self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        tick, previous = loop.time() + self._interval, self._current()
        while True:
            timer = loop.call_at(tick, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
            self._wake.clear()
            if loop.time() >= tick:
                revision, previous = previous, self._current()
                tick = loop.time() + self._interval
            else:
                revision = self._half
            if self._half and self._half <= revision:
                self._bytes, self._half = self._bytes // 2, 0
            try:
                await self._compact(revision)
            except StoreError as error:
                _log.warning(
                    "compaction to revision %d failed, next try in %.0f s: %s",
                    revision,
                    self._interval,
                    error,
                )
