"""Refuses what would pile up, where priority and fairness is switched off: a bound on requests in progress."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import IN_PROCESS, Request, Response

_READING = frozenset(("get", "list", "head", "options"))
_MASTERS = "system:masters"


class InFlight:
    """At most ``reading`` and ``writing`` requests at once (0: any number); watches and connections are not counted,
    nor are requests from this process and those of system:masters."""

    def __init__(self, reading: int = 400, writing: int = 200) -> None:
        self._limits = (writing, reading)
        self._busy = [0, 0]

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        user = request.user
        if (
            request.remote == IN_PROCESS
            or info.long_running
            or (user is not None and _MASTERS in user.groups)
        ):
            return await proceed(request)
        which = 1 if info.verb in _READING else 0
        if self._busy[which] >= self._limits[which] > 0:
            return too_many()
        self._busy[which] += 1
        try:
            return await proceed(request)
        finally:
            self._busy[which] -= 1


def too_many() -> Response:
    """429 as upstream: plain text, and when to come again."""
    return Response(
        429,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("X-Content-Type-Options", "nosniff"),
            ("Retry-After", "1"),
        ],
        b"Too many requests, please try again later.\n",
    )
