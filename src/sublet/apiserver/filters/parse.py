"""Reads what is asked."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.apiserver.requestinfo import parse
from sublet.client.exchange import Request, Response


class Parse:
    """Fills ``info`` and an empty ``warnings``."""

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        request.context["info"] = parse(request)
        request.context["warnings"] = []
        return await proceed(request)
