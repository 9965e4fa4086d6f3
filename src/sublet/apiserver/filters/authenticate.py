"""Finds out who asks."""

from __future__ import annotations

from sublet.apiserver.authentication.authenticator import Authenticator
from sublet.apiserver.chain import Proceed
from sublet.apiserver.metrics import Counter
from sublet.client.exchange import Request, Response
from sublet.machinery.status import Unauthorized

_COUNTED = {
    name: f'username="{name}"'
    for name in ("admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default")
}
"""Users that upstream tells apart in its metrics; names are without bound."""
_OTHER = 'username="other"'


class Authenticate:
    """Sets ``request.user``; in-process requests bring theirs. Credentials go no further than here."""

    def __init__(self, authenticator: Authenticator, attempts: Counter, users: Counter) -> None:
        self._authenticator = authenticator
        self._attempts = attempts
        self._users = users

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        if request.user is None:
            try:
                request.user = await self._authenticator.authenticate(request)
                if request.user is None:
                    raise Unauthorized
            except Unauthorized:
                self._attempts.add('result="failure"')
                raise
            self._attempts.add('result="success"')
            self._users.add(_COUNTED.get(request.user.name, _OTHER))
        return await proceed(request)
