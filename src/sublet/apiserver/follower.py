"""Follows one watch cache from within: something derived from all its objects, kept up to date or brought so when asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from sublet.apiserver.watchcache import CachedEntry, WatchCache, Watcher, WatcherOverrun, decode_stored
from sublet.machinery.status import StatusError
from sublet.store.interface import Compacted, StoreClosed

_log = logging.getLogger(__name__)

Change = Callable[[str, Any], None]
"""(store key, object or None when it is gone)."""


class CatchUp:
    """Tells ``change`` of every object there is, then of every change, and ``reset`` before telling all anew.

    It does so only within :meth:`catch_up`, which costs next to nothing when nothing happened: so what is derived is
    never behind the watch cache, and no task runs. The objects told are decoded for this call alone: keep them.
    """

    def __init__(self, cache: WatchCache, change: Change, reset: Callable[[], None]) -> None:
        self._cache = cache
        self._change = change
        self._reset = reset
        self._watcher: Watcher | None = None

    def catch_up(self) -> None:
        """Tells everything that the watch cache shows and has not been told."""
        if self._watcher is not None:
            try:
                for event in self._watcher.take():
                    self._tell(event.entry.key, None if event.type == "delete" else event.entry)
                return
            except (WatcherOverrun, Compacted):
                self.stop()
            except StoreClosed:
                return
        self._load()

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _load(self) -> None:
        self._watcher = self._cache.watch(self._cache.revision)
        self._reset()
        for entry in self._cache.entries():
            self._tell(entry.key, entry)

    def _tell(self, key: str, entry: CachedEntry | None) -> None:
        try:
            self._change(key, None if entry is None else decode_stored(entry))
        except StatusError as error:
            _log.error("%s could not be taken in: %s", key, error)
        except Exception:
            _log.exception("%s could not be taken in", key)


class Follower:
    """Tells ``change`` of every object there is, then of every change, and ``reset`` before telling all anew.

    The objects told are decoded for this call alone: they may be kept. Nothing is awaited between ``start`` and the
    first telling, so what is derived is complete when ``start`` returns.
    """

    def __init__(self, cache: WatchCache, change: Change, reset: Callable[[], None]) -> None:
        self._cache = cache
        self._change = change
        self._reset = reset
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(self._load()))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _load(self) -> int:
        revision = self._cache.revision
        self._reset()
        for entry in self._cache.entries():
            self._tell(entry.key, entry)
        return revision

    def _tell(self, key: str, entry: CachedEntry | None) -> None:
        try:
            self._change(key, None if entry is None else decode_stored(entry))
        except StatusError as error:
            _log.error("%s could not be taken in: %s", key, error)
        except Exception:
            _log.exception("%s could not be taken in", key)

    async def _run(self, after: int) -> None:
        while True:
            try:
                with self._cache.watch(after) as watcher:
                    while True:
                        for event in await watcher.next():
                            gone = event.type == "delete"
                            self._tell(event.entry.key, None if gone else event.entry)
            except (WatcherOverrun, Compacted):
                after = self._load()
            except StoreClosed:
                return
