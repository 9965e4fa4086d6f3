"""What a server that is going answers, for those who want to know at once that they must ask another."""

from __future__ import annotations

from sublet.apiserver.health import ENDPOINTS
from sublet.client.exchange import Application, Request, Response

_RETRY_SECONDS = 5


class ShuttingDown:
    """In place of ``application`` while requests that came before get their answers (``--shutdown-send-retry-after``).

    429 with ``Retry-After`` to whatever comes, as upstream's filter; only health is still told.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def handle(self, request: Request) -> Response:
        if request.path.strip("/").partition("/")[0] in ENDPOINTS:
            return await self._application.handle(request)
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("X-Content-Type-Options", "nosniff"),
            ("Retry-After", str(_RETRY_SECONDS)),
        ]
        return Response(429, headers, b"The apiserver is shutting down, please try again later.\n")
