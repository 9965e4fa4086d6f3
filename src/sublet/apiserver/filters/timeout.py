"""Ends requests that take too long; watches, logs and upgraded connections may take as long as they like."""

from __future__ import annotations

import asyncio
from typing import Any

from sublet.apiserver.chain import Proceed
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery import durations
from sublet.machinery.status import BadRequest, Timeout

LIMIT = 60.0
_SWEEP_SECONDS = 1.0


class BadTimeout(BadRequest):
    """The URL asks for a time limit that is none."""


class RequestTimeout:
    """60 seconds, or less where ``?timeout=`` says so.

    A timer for each request would be a seventh of what a small read costs: those without a limit of their own share
    one, that looks every second for those whose time is over.
    """

    def __init__(self, limit: float = LIMIT, sweep: float = _SWEEP_SECONDS) -> None:
        self._limit = limit
        self._sweep = sweep
        self._running: dict[_Running, None] = {}
        """The oldest first, so that a sweep ends at the first that still has time."""
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        if info.long_running:
            return await proceed(request)
        if asked := info.param("timeout"):
            seconds = parse_duration(asked)
            if 0 < seconds < self._limit:
                return await _within(seconds, request, proceed)
        loop = asyncio.get_running_loop()
        running = _Running(asyncio.current_task(), loop.time() + self._limit)
        self._running[running] = None
        if self._timer is None:
            self._timer = loop.call_later(self._sweep, self._look)
        try:
            return await proceed(request)
        except asyncio.CancelledError:
            if running.expired and running.task is not None and running.task.uncancel() <= running.cancelling:
                request.context["terminated"] = True
                raise timed_out() from None
            raise
        finally:
            del self._running[running]

    def _look(self) -> None:
        """Ends what is overdue; rests while there is no request."""
        self._timer = None
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for running in self._running:
            if running.until > now:
                break
            running.expire()
        self._timer = loop.call_later(self._sweep, self._look)


class _Running:
    """A request in progress."""

    __slots__ = ("cancelling", "expired", "task", "until")

    def __init__(self, task: asyncio.Task[Any] | None, until: float) -> None:
        self.task = task
        self.until = until
        self.expired = False
        self.cancelling = task.cancelling() if task is not None else 0

    def expire(self) -> None:
        if not self.expired and self.task is not None:
            self.expired = True
            self.task.cancel()


async def _within(seconds: float, request: Request, proceed: Proceed) -> Response:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await proceed(request)
    except TimeoutError:
        if not limit.expired():
            raise
        request.context["terminated"] = True
        raise timed_out() from None


def timed_out() -> Timeout:
    """The answer to a request whose time is over."""
    return Timeout("Timeout: request did not complete within the allotted timeout", with_details=True)


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``1m30s``. Raises :class:`BadTimeout`."""
    try:
        return -durations.parse(text[1:]) if text.startswith("-") else durations.parse(text.removeprefix("+"))
    except ValueError as error:
        raise BadTimeout(f"invalid timeout specified in the request URL - {error}") from None
