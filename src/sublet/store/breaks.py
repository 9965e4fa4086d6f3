"""Lets worker threads get at the interpreter while the loop is busy.

A thread that wants CPython's lock may ask a running thread to give it up only after a whole switch interval
without any hand-over. A loop under load releases the lock for some microseconds in every turn (its poll) and has
it back before a waiting thread wakes; so that interval never passes and the thread starves, for seconds. While
work is outstanding, the loop therefore pauses now and then for long enough that a waiting thread does wake.
"""

from __future__ import annotations

import asyncio
import time

_FIRST = 0.001
_BETWEEN = 0.001
_PAUSE = 0.0001


class LoopBreaks:
    """Counts the outstanding work of threads; pauses the loop only while there is some."""

    __slots__ = ("_loop", "_outstanding", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outstanding = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._outstanding += 1
        if self._timer is None:
            self._timer = self._loop.call_later(_FIRST, self._pause)

    def end(self, count: int = 1) -> None:
        self._outstanding -= count
        if not self._outstanding and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self) -> None:
        time.sleep(_PAUSE)
        self._timer = self._loop.call_later(_BETWEEN, self._pause)
