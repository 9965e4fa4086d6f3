"""Lets through what the user may do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from sublet.apiserver.authorization.authorizer import Authorizer, Decision
from sublet.apiserver.authorization.denial import denial, harmless
from sublet.apiserver.chain import Proceed
from sublet.apiserver.metrics import Counter
from sublet.apiserver.requestinfo import CONNECT, RequestInfo
from sublet.client.exchange import Request, Response

_ALWAYS_CREATE = CONNECT - {"log", "proxy"}
"""A WebSocket's GET on these runs something in the pod: it needs the verb that SPDY's POST needs."""


class Authorize:
    def __init__(
        self, authorizer: Authorizer, decisions: Counter, *, websockets: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """``websockets``: whether what a WebSocket's GET runs needs the right to create, as minors from 1.35 on ask."""
        self._authorizer = authorizer
        self._always_create = _ALWAYS_CREATE if websockets else frozenset()
        self._decisions = decisions
        self._now = now

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        user = request.user
        assert user is not None
        started = self._now()
        decision = await self._authorizer.decide(user, info)
        if decision.allowed and info.verb == "get" and info.subresource in self._always_create:
            info = info.as_create()
            decision = await self._authorizer.decide(user, info)
        result = f'result="{_result(decision)}"'
        self._decisions.add(result)
        self._authorizer.metrics.durations.observe(result, self._now() - started)
        if decision.allowed:
            request.context["authorization"] = decision.reason
            return await proceed(request)
        if decision.error:
            request.context["authorization_failed"] = True
            return _failed(request, decision.error)
        request.context["refusal"] = decision.reason
        raise denial(user, info, decision.reason)


def _result(decision: Decision) -> str:
    if decision.error:
        return "error"
    return "allowed" if decision.allowed else "denied" if decision.denied else "no-opinion"


def _failed(request: Request, why: str) -> Response:
    """Nobody can tell whether the user may, as a webhook did not answer: that is no refusal."""
    asked = f"{request.path}?{request.query}" if request.query else request.path
    text = harmless(f"Internal Server Error: {json.dumps(asked, ensure_ascii=False)}: {why}")
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
    return Response(500, headers, f"{text}\n".encode())
