"""Finds out who asks."""

from __future__ import annotations

from sublet.apiserver.authentication.authenticator import Authenticator
from sublet.apiserver.chain import Proceed
from sublet.client.exchange import Request, Response
from sublet.machinery.status import Unauthorized


class Authenticate:
    """Sets ``request.user``; in-process requests bring theirs. Credentials go no further than here."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        if request.user is None:
            request.user = await self._authenticator.authenticate(request)
            if request.user is None:
                raise Unauthorized
        return await proceed(request)
