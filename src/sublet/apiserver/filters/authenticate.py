"""Finds out who asks."""

from __future__ import annotations

import time
from collections.abc import Callable

from sublet.apiserver.authentication.authenticator import Authenticator
from sublet.apiserver.chain import Proceed
from sublet.apiserver.metrics import Metrics
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

    def __init__(
        self, authenticator: Authenticator, metrics: Metrics, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._authenticator = authenticator
        self._metrics = metrics
        self._now = now

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        if request.user is None:
            started = self._now()
            result = "error"
            try:
                request.user = await self._authenticator.authenticate(request)
                result = "failure" if request.user is None else "success"
            finally:
                labels = f'result="{result}"'
                self._metrics.authentications.add(labels)
                self._metrics.authentication.observe(labels, self._now() - started)
            if request.user is None:
                raise Unauthorized
            self._metrics.authenticated.add(_COUNTED.get(request.user.name, _OTHER))
        return await proceed(request)
