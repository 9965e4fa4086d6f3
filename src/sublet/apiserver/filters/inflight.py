"""Refuses what would pile up: a simple bound on requests in progress."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

_READING = frozenset(("get", "list", "head", "options"))


class InFlight:
    """At most ``reading`` and ``writing`` requests at once; watches and connections are not counted, nor are
    in-process requests (they bring their user) and system:masters' health checks."""

    def __init__(self, reading: int = 400, writing: int = 200) -> None:
        self._limits = (writing, reading)
        self._busy = [0, 0]

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        if request.user is not None or info.long_running:
            return await proceed(request)
        which = 1 if info.verb in _READING else 0
        if self._busy[which] >= self._limits[which]:
            return Response(
                429,
                [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "1")],
                b"Too many requests, please try again later.\n",
            )
        self._busy[which] += 1
        try:
            return await proceed(request)
        finally:
            self._busy[which] -= 1
