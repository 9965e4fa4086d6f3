"""Lets requests run as their priority level has seats, and lets the others wait or go away (429)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sublet.apiserver.chain import Proceed
from sublet.apiserver.filters.inflight import too_many
from sublet.apiserver.flowcontrol.control import FlowControl
from sublet.apiserver.flowcontrol.levels import CANCELLED, Asked, Counts, Level, Waiting
from sublet.apiserver.metrics import LATENCY
from sublet.apiserver.requestinfo import CONNECT, RequestInfo
from sublet.client.exchange import IN_PROCESS, Request, Response
from sublet.machinery import durations

_LONGEST = 15.0
"""Seconds that a request may wait: a quarter of what it may take, as upstream."""

_WIDE = ("list", "watch")
"""The verbs of requests that may take more than one seat."""


class PriorityAndFairness:
    """Logs and connections are not counted, as upstream; a watch is until it has been opened.

    Requests from this process are the control plane's own workers, each of which waits for its answers: they cannot
    flood, and are not held up.
    """

    def __init__(
        self, control: FlowControl, longest: float = _LONGEST, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._control = control
        self._longest = longest
        self._now = now

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        if request.remote == IN_PROCESS or info.subresource in CONNECT:
            return await proceed(request)
        user = request.user
        assert user is not None
        found = self._control.classify(user, info)
        request.context["flow"] = found.headers
        level, counts = found.level, found.counts
        now = self._now
        arrived = now()
        wide = info.verb in _WIDE and not level.exempt
        seats = self._control.seats_of(level, info) if wide else 1
        asked = Asked(found.schema.name, found.flow, seats, arrived, user.name, info)
        waited = None
        if level.exempt:
            level.take_anyway(seats)
        elif not level.try_start(seats):
            waited = await self._wait(request, level, counts, asked)
            if waited is None:
                return too_many()
        counts.dispatched += 1
        asked.started = arrived if waited is None else now()
        level.executing.add(asked)
        try:
            return await proceed(request)
        finally:
            level.executing.discard(asked)
            seconds = now() - asked.started
            counts.ran.observe(seconds)
            level.finish(seats, waited, seconds)

    async def _wait(self, request: Request, level: Level, counts: Counts, asked: Asked) -> Waiting | None:
        """The place it waited at; None: it gets no seats."""
        try:
            outcome = await level.wait(asked, self._longest)
        except asyncio.CancelledError:
            counts.reject(CANCELLED)
            raise
        if not isinstance(outcome, Waiting):
            counts.reject(outcome)
            return None
        seconds = self._now() - asked.arrived
        counts.waited.observe(seconds)
        notes = request.context.setdefault("audit_annotations", {})
        notes[f"{LATENCY}apf-queue-wait"] = durations.text(round(seconds * 1e9))
        return outcome
