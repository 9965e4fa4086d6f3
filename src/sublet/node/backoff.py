"""Waiting ever longer between attempts: 10 s, doubled up to 5 minutes, forgotten after a quiet time."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


class BackOff:
    """Times are Unix seconds. Source: client-go's flowcontrol.Backoff as kubelet uses it."""

    def __init__(self, start: float, limit: float) -> None:
        self._start = start
        self._limit = limit
        self._entries: dict[Hashable, _Entry] = {}

    def remaining(self, key: Hashable, since: float, now: float) -> float:
        """Seconds still to wait after a failure at ``since``; 0: go ahead."""
        entry = self._entries.get(key)
        if entry is None or since - entry.updated > 2 * self._limit:
            return 0.0
        return max(entry.delay - (now - since), 0.0)

    def delay(self, key: Hashable) -> float:
        """The present delay, for messages."""
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def next(self, key: Hashable, now: float) -> None:
        """An attempt is made now: the next failure waits longer."""
        entry = self._entries.get(key)
        if entry is None or now - entry.updated > 2 * self._limit:
            self._entries[key] = _Entry(self._start, now)
        else:
            self._entries[key] = _Entry(min(entry.delay * 2, self._limit), now)

    def forget(self, key: Hashable) -> None:
        self._entries.pop(key, None)
