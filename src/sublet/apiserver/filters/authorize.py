"""Lets through what the user may do."""

from __future__ import annotations

from sublet.apiserver.authorization.authorizer import Authorizer
from sublet.apiserver.authorization.denial import denial
from sublet.apiserver.chain import Proceed
from sublet.apiserver.metrics import Counter
from sublet.apiserver.requestinfo import CONNECT, RequestInfo
from sublet.client.exchange import Request, Response

_ALWAYS_CREATE = CONNECT - {"log", "proxy"}
"""A WebSocket's GET on these runs something in the pod: it needs the verb that SPDY's POST needs."""


class Authorize:
    def __init__(self, authorizer: Authorizer, decisions: Counter, *, websockets: bool = True) -> None:
        """``websockets``: whether what a WebSocket's GET runs needs the right to create, as minors from 1.35 on ask."""
        self._authorizer = authorizer
        self._always_create = _ALWAYS_CREATE if websockets else frozenset()
        self._decisions = decisions

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        user = request.user
        assert user is not None
        decision = await self._authorizer.decide(user, info)
        if decision.allowed and info.verb == "get" and info.subresource in self._always_create:
            info = info.as_create()
            decision = await self._authorizer.decide(user, info)
        if not decision.allowed:
            self._decisions.add('result="denied"')
            request.context["refusal"] = decision.reason
            raise denial(user, info, decision.reason)
        self._decisions.add('result="allowed"')
        request.context["authorization"] = decision.reason
        return await proceed(request)
