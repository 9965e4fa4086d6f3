"""Watches of one open store: history first, then each committed batch, exactly once and in order.

Shared by the drivers whose commits all happen in this process. Everything runs on the loop's thread, so a
revision and the events up to it become visible in one step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from sublet.store.interface import Event, FutureRevision, Progress, StoreClosed

History = Callable[[str, int, int, int], Awaitable[Sequence[Event]]]
"""``(prefix, after, through, limit)`` → the first ``limit`` events with ``after < revision <= through``.

Raises Compacted when some of them are no longer kept."""

_PAGE = 1000


class _Watch:
    __slots__ = ("behind", "events", "prefix", "waiter")

    def __init__(self, prefix: str, behind: bool) -> None:
        self.prefix = prefix
        self.behind = behind
        """True: events are not collected; they are to be read from history."""
        self.events: list[Event] = []
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Feed:
    """Who watches, and up to which revision the store has committed."""

    def __init__(
        self, revision: int, history: History, *, silence: float = 1.0, buffer: int = 10_000
    ) -> None:
        self.revision = revision
        self._history = history
        self._silence = silence
        self._buffer = buffer
        self._watches: set[_Watch] = set()
        self._closed = ""

    def publish(self, events: Sequence[Event]) -> None:
        """Makes one committed batch visible. A watch that lags by more than the buffer rereads history."""
        self.revision = events[-1].revision
        for watch in self._watches:
            if watch.behind:
                continue
            matching = [event for event in events if event.key.startswith(watch.prefix)]
            if not matching:
                continue
            if len(watch.events) + len(matching) > self._buffer:
                watch.events = []
                watch.behind = True
            else:
                watch.events += matching
            watch.wake()

    def close(self, reason: str) -> None:
        """Ends every watch with StoreClosed."""
        self._closed = reason
        for watch in self._watches:
            watch.wake()

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Event | Progress]]:
        """See :meth:`sublet.store.interface.Store.watch`."""
        if after > self.revision:
            raise FutureRevision(after, self.revision)
        if not self._closed:
            await self._history(prefix, after, after, 1)  # raises Compacted
        watch = _Watch(prefix, behind=True)
        self._watches.add(watch)
        position = after
        try:
            while True:
                if self._closed:
                    raise StoreClosed(self._closed)
                if watch.behind:
                    through = self.revision
                    watch.behind = False
                    while position < through:
                        past = await self._history(prefix, position, through, _PAGE)
                        position = through if len(past) < _PAGE else past[-1].revision
                        yield [*past, Progress(position)]
                    continue
                if not watch.events:
                    await self._wait(watch)
                    if watch.behind or self._closed:
                        continue
                batch, watch.events = watch.events, []
                position = self.revision
                yield [*batch, Progress(position)]
        finally:
            self._watches.discard(watch)

    async def _wait(self, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        watch.waiter = loop.create_future()
        timer = loop.call_later(self._silence, watch.wake)
        try:
            await watch.waiter
        finally:
            timer.cancel()
            watch.waiter = None
