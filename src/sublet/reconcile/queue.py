"""Keys that wait for a worker: each at most once, never handed to two workers at the same time.

Source: client-go's rate-limiting work queue: a failing key comes back after 5 ms, 10 ms, … 1000 s.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from sublet.machinery.exposition import Histogram

BASE_DELAY = 0.005
MAX_DELAY = 1000.0
BUCKETS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Of the durations of queues, as upstream."""


class Queue:
    """A key added while a worker has it comes back once that worker is done."""

    def __init__(self, *, base_delay: float = BASE_DELAY, max_delay: float = MAX_DELAY) -> None:
        self._base = base_delay
        self._max = max_delay
        self._ready: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._offered: dict[str, float] = {}
        self.added = 0
        self.retries = 0
        self.waited = Histogram(BUCKETS)
        """Seconds that keys were ready before a worker took them."""

    def __len__(self) -> int:
        """Keys that are ready now."""
        return len(self._ready)

    def add(self, key: str) -> None:
        """Makes the key ready, unless it is."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        self.added += 1
        if key not in self._processing:
            self._offer(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Adds the key later; of two times for a key the earlier counts."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        known = self._timers.get(key)
        if known is not None:
            if known.when() <= at:
                return
            known.cancel()
        self._timers[key] = loop.call_at(at, self._due, key)

    def add_rate_limited(self, key: str) -> None:
        """Adds the key later the more often it has failed."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        self.add_after(key, min(self._base * 2 ** min(failures, 60), self._max))

    def forget(self, key: str) -> None:
        """The key succeeded: its failures no longer count."""
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key; the caller says :meth:`done` when it has finished with it."""
        while not self._ready:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled() and self._ready:
                    self._wake()  # this one was chosen but is leaving: choose another
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        self.waited.observe(time.monotonic() - self._offered.pop(key))
        return key

    def done(self, key: str) -> None:
        self._processing.discard(key)
        if key in self._dirty:
            self._offer(key)

    def close(self) -> None:
        """Cancels what would be added later."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _offer(self, key: str) -> None:
        self._ready.append(key)
        self._offered[key] = time.monotonic()
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
