"""One watch of one resource: a bounded buffer between the watch cache and whoever sends its events out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.watchcache import CachedEvent


class WatcherOverrun(StoreError):
    """The watcher's buffer was full, or the cache had to start anew: the client resumes or lists again."""


class Watcher:
    """Events in revision order. Made by :meth:`WatchCache.watch`; ``close`` it (or use ``with``) at the end."""

    __slots__ = ("_buffer", "_current", "_detach", "_ended", "_events", "_handed", "_waiter", "narrowing")

    def __init__(
        self,
        events: list[CachedEvent],
        after: int,
        buffer: int,
        narrowing: tuple[str, ...],
        current: Callable[[], int],
        detach: Callable[[Watcher], None],
    ) -> None:
        self.narrowing = narrowing
        self._events = events
        self._handed = after
        self._buffer = max(buffer, len(events))
        self._current = current
        self._detach = detach
        self._ended: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def revision(self) -> int:
        """Everything up to this revision that concerns the watcher has been handed out by ``next``."""
        if not self._events and self._ended is None:
            self._handed = max(self._handed, self._current())
        return self._handed

    async def next(self, timeout: float | None = None) -> list[CachedEvent]:
        """All events that are there, waiting for the first; an empty list after ``timeout`` seconds.

        Raises :class:`WatcherOverrun` once the events before the overrun are lost, :class:`StoreClosed` when
        the cache stops. One task at a time.
        """
        if not self._events and self._ended is None:
            await self._wait(timeout)
        return self.take()

    def take(self) -> list[CachedEvent]:
        """All events that are there now, without waiting. Raises as :meth:`next` does."""
        if self._ended is not None and not self._events:
            raise self._ended
        events, self._events = self._events, []
        if events:
            self._handed = max(self._handed, events[-1].revision)
        return events

    async def _wait(self, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(timeout, _resolve, waiter) if timeout is not None else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def push(self, event: CachedEvent) -> None:
        """Called by the cache, never waits: a full buffer ends the watcher."""
        if self._ended is not None or event.revision <= self._handed:
            return
        if len(self._events) >= self._buffer:
            self.end(WatcherOverrun(f"more than {self._buffer} events are waiting for a slow watcher"))
            return
        self._events.append(event)
        if self._waiter is not None:
            _resolve(self._waiter)

    def end(self, reason: Exception, *, keep: bool = False) -> None:
        """``next`` raises ``reason`` from now on; with ``keep``, after it handed out what is buffered."""
        self._ended = reason
        if not keep:
            self._events = []
        self._detach(self)
        if self._waiter is not None:
            _resolve(self._waiter)

    def close(self) -> None:
        """Forgets the watcher; harmless when repeated."""
        self._events = []
        self._detach(self)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
