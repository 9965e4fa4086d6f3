"""Refuses what would pile up, where priority and fairness is switched off: a bound on requests in progress."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import IN_PROCESS, Request, Response

_READING = frozenset(("get", "list"))
"""Other methods off resources (HEAD, OPTIONS) count as writing, as upstream."""
_MASTERS = "system:masters"


class InFlight:
    """At most ``reading`` and ``writing`` requests at once (0: any number).

    Watches, connections and requests from this process are not counted; those of system:masters are, but never refused.
    """

    def __init__(self, reading: int = 400, writing: int = 200) -> None:
        self._limits = (writing, reading)
        self._busy = [0, 0]

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        if request.remote == IN_PROCESS or info.long_running:
            return await proceed(request)
        which = 1 if info.verb in _READING else 0
        if self._busy[which] >= self._limits[which] > 0:
            user = request.user
            return await proceed(request) if user is not None and _MASTERS in user.groups else too_many()
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
