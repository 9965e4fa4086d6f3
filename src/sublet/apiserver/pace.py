"""Long work in pieces, so that the loop's other tasks have their turns in between."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Says when a task has had the loop for ``seconds``; ask :attr:`due` often, it is cheap."""

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float = 0.002) -> None:
        self._seconds = seconds
        self._until = time.perf_counter() + seconds

    @property
    def due(self) -> bool:
        return time.perf_counter() >= self._until

    async def pause(self) -> None:
        """Lets the others have their turns."""
        await asyncio.sleep(0)
        self._until = time.perf_counter() + self._seconds
