"""What the API server does by itself while it runs: its own endpoint, old events."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sublet.apiserver import bootstrap
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import RevisionMismatch, StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

PERIOD = 30.0
"""Seconds between two looks."""
_PER_ROUND = 500
"""Events removed per look at most, so that a look stays short."""


class Duties:
    """Runs from :meth:`start` to :meth:`stop`."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="API server duties")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await bootstrap.publish_endpoint(self._api)
                await self.expire_events()
            except (StatusError, StoreError) as error:
                _log.warning("a duty of the API server failed, trying again in %d s: %s", PERIOD, error)

    async def expire_events(self) -> int:
        """Removes Events that have not been written for longer than they are kept; returns how many."""
        registry = self._api.registry
        kind = registry.kinds.stored("", "events")
        if kind is None:
            return 0
        before = self._api.clock.now() - self._api.settings.event_ttl
        removed = 0
        for entry in registry.cache(kind).entries():
            if _written(entry.object) >= before:
                continue
            try:
                await registry.store.delete(entry.key, entry.revision)
            except RevisionMismatch:
                continue
            removed += 1
            if removed >= _PER_ROUND:
                break
        return removed


def _written(event: Object) -> float:
    """Unix seconds of an Event's last write, as far as it says."""
    found = 0.0
    series = event.get("series") or {}
    for text in (
        event["metadata"].get("creationTimestamp"), event.get("lastTimestamp"), event.get("eventTime"),
        series.get("lastObservedTime"),
    ):  # fmt: skip
        if text:
            try:
                found = max(found, objects.parse_time(text))
            except ValueError:
                continue
    return found
