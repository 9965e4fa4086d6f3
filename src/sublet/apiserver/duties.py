"""What the API server does by itself while it runs: old events, values of earlier writers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sublet.apiserver import service_repair, stored
from sublet.apiserver.flowcontrol import maintenance
from sublet.apiserver.pace import Pace
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import RevisionMismatch, StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

PERIOD = 30.0
"""Seconds between two looks."""
_REPAIR_ROUNDS = round(service_repair.PERIOD / PERIOD)
_PER_ROUND = 500
"""Objects removed or rewritten per look at most, so that a look stays short."""


class Duties:
    """Runs from :meth:`start` to :meth:`stop`."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self._task: asyncio.Task[None] | None = None
        self._events: dict[str, tuple[int, float]] = {}
        """Key of an Event -> (revision, when it was last written), so that each is decoded once."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="API server duties")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        round_ = 0
        while True:
            await asyncio.sleep(PERIOD)
            round_ += 1
            try:
                await maintenance.maintain(self._api)
                await self.expire_events()
                await self.rewrite()
                if self._api.service_repair is not None and round_ % _REPAIR_ROUNDS == 0:
                    await self._api.service_repair.look()
            except (StatusError, StoreError) as error:
                _log.warning("a duty of the API server failed, trying again in %d s: %s", PERIOD, error)

    async def expire_events(self) -> int:
        """Removes Events that have not been written for longer than they are kept; returns how many."""
        registry = self._api.registry
        kind = registry.kinds.stored("", "events")
        if kind is None:
            return 0
        before = self._api.clock.now() - self._api.settings.event_ttl
        known, self._events = self._events, {}
        removed = 0
        for entry in registry.cache(kind).entries():
            seen = known.get(entry.key)
            if seen is None or seen[0] != entry.revision:
                seen = (entry.revision, _written(registry.decode(kind, entry)))
            self._events[entry.key] = seen
            if seen[1] >= before or removed >= _PER_ROUND:
                continue
            try:
                await registry.store.delete(entry.key, entry.revision)
            except RevisionMismatch:
                continue
            removed += 1
        return removed

    async def rewrite(self) -> int:
        """Writes anew what another version of sublet, another minor or another schema wrote; returns how many.

        Until then such values are decoded, defaulted and encoded at every read.
        """
        registry = self._api.registry
        rewritten, pace = 0, Pace()
        for kind in registry.kinds.kinds():
            if not kind.stored:
                continue
            fmt, prefix = registry.format(kind), stored.key_prefix(kind.resource)
            for entry in registry.cache(kind).entries():
                if pace.due:
                    await pace.pause()
                if fmt.is_current(entry.value):
                    continue
                await registry.change(kind, *stored.place(entry.key, prefix), lambda _obj: True)
                rewritten += 1
                if rewritten >= _PER_ROUND:
                    return rewritten
        return rewritten


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
