"""Events of ``events.k8s.io``, as the scheduler reports: what happens again to an object becomes a series of one event.

Source: client-go's tools/events (event_broadcaster.go, event_recorder.go). The second time makes the series; later
ones are counted here and written when it ends, after six minutes without, and every half hour meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from functools import partial
from typing import Any

from msgspec import Struct

from sublet.client.client import Client
from sublet.client.events import EventQueue, identity, reference
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import NotFound

EVENTS = Resource("events.k8s.io", "v1", "events", "Event", True)
_REMEMBERED = 1024
_OVER_AFTER = 360.0
"""Seconds without another one after which a series is over; how often that is looked after."""
_REFRESH_TURNS = 5
_NOTE_LIMIT = 1024
_CUT = " ..."


class _Series(Struct):
    event: Object
    last: float
    count: int = 1


class SeriesRecorder(EventQueue):
    """Writes events.k8s.io/v1 Events of controllers that work on the machine ``host``."""

    def __init__(
        self, client: Client, host: str = "", *, clock: Clock | None = None, limit: int = 1000
    ) -> None:
        super().__init__(limit)
        self._client = client
        self._host = host or socket.gethostname()
        self._clock = clock or SystemClock()
        self._series: OrderedDict[tuple[Any, ...], _Series] = OrderedDict()
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None

    def event(
        self,
        controller: str,
        about: tuple[Object, Resource],
        type: str,
        reason: str,
        action: str,
        note: str,
        related: tuple[Object, Resource] | None = None,
    ) -> None:
        """Records that ``controller`` did ``action`` to an object. ``type`` is Normal or Warning. Never waits.

        ``about``, ``related``: an object and its resource. A note of more than 1024 characters is cut.
        """
        if len(note) > _NOTE_LIMIT:
            note = note[: _NOTE_LIMIT - len(_CUT)] + _CUT
        obj, resource = identity(about[0]), about[1]
        now = self._clock.now()
        event = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{objects.name(obj)}.{int(now * 1e9):x}",
                "namespace": objects.namespace(obj) or "default",
            },
            "eventTime": objects.rfc3339_micro(now),
            "reportingController": controller,
            "reportingInstance": f"{controller}-{self._host}",
            "action": action,
            "reason": reason,
            "regarding": reference(obj, resource),
            "note": note,
            "type": type,
        }
        if related is not None:
            event["related"] = reference(identity(related[0]), related[1])
        self._enqueue(resource, obj, partial(self._record, event, now))

    async def close(self, seconds: float = 2.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await super().close(seconds)

    async def _record(self, event: Object, now: float) -> None:
        same = ("type", "action", "reason", "reportingController", "reportingInstance")
        about = (tuple((event.get(part) or {}).items()) for part in ("regarding", "related"))
        key = (*(event[part] for part in same), *about)
        series = self._series.get(key)
        if series is None:
            self._remember(key, _Series(event, now))
            await self._client.create(EVENTS, event, event["metadata"]["namespace"])
            return
        series.count += 1
        series.last = now
        if series.count == 2:
            await self._write(series)

    def _remember(self, key: tuple[Any, ...], series: _Series) -> None:
        self._series[key] = series
        if len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_OVER_AFTER, self._look)

    async def _write(self, series: _Series) -> None:
        """The series as it is now: a patch, and the whole event where it is gone."""
        told = {"series": {"count": series.count, "lastObservedTime": objects.rfc3339_micro(series.last)}}
        metadata = series.event["metadata"]
        try:
            await self._client.patch(EVENTS, metadata["name"], told, metadata["namespace"], kind="strategic")
        except NotFound:
            await self._client.create(EVENTS, {**series.event, **told}, metadata["namespace"])

    def _look(self) -> None:
        """What is over is told to its end and forgotten; every half hour the others are told of too."""
        self._turns += 1
        before = self._clock.now() - _OVER_AFTER
        for key, series in list(self._series.items()):
            over = series.last < before
            if over:
                del self._series[key]
            if series.count > 1 and (over or self._turns % _REFRESH_TURNS == 0):
                regarding = series.event["regarding"]
                about = {"metadata": {part: regarding.get(part, "") for part in ("name", "namespace")}}
                self._enqueue(EVENTS, about, partial(self._write, series))
        self._timer = asyncio.get_running_loop().call_later(_OVER_AFTER, self._look) if self._series else None
