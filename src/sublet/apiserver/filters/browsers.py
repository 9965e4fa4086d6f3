"""What browsers are told: whose pages may ask, and that they must keep to TLS."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.apiserver.chain import Proceed
from sublet.client.exchange import Request, Response
from sublet.machinery import regexp

_METHODS = "POST, GET, OPTIONS, PUT, DELETE, PATCH"
_HEADERS = "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since"


class CrossOrigin:
    """Lets pages of the origins that one of the expressions matches read answers, and answers their browsers' question
    whether they may (``OPTIONS``) without asking further, as upstream's."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = [regexp.compiled(each) for each in origins]

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        origin = request.headers.get("origin", "")
        if not origin or not any(each.search(origin) for each in self._origins):
            return await proceed(request)
        response = Response(204) if request.method == "OPTIONS" else await proceed(request)
        response.headers += [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", _HEADERS),
            ("Access-Control-Expose-Headers", "Date"),
            ("Access-Control-Allow-Credentials", "true"),
        ]
        return response


class StrictTransport:
    """``Strict-Transport-Security`` on every answer."""

    def __init__(self, directives: Sequence[str]) -> None:
        self._header = ("Strict-Transport-Security", "; ".join(directives))

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        response = await proceed(request)
        response.headers.append(self._header)
        return response
