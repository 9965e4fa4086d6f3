"""Gives every request an id and every response the headers all of them carry."""

from __future__ import annotations

import os

from sublet.apiserver.chain import Proceed
from sublet.client.exchange import Request, Response

_CACHE = ("Cache-Control", "no-cache, private")
_ID_LIMIT = 64


class AuditID:
    """``Audit-Id``: the client's own where it is short enough, else a new one."""

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        given = request.headers.get("audit-id", "")
        identity = given if 0 < len(given) <= _ID_LIMIT else _new()
        request.context["audit_id"] = identity
        response = await proceed(request)
        headers = response.headers
        cached = response.header("cache-control")
        headers.append(("Audit-Id", identity))
        headers += request.context.get("flow", ())
        if not cached:
            headers.append(_CACHE)
        return response


def _new() -> str:
    """A random UUID (version 4), written without an object of one: every request pays for it."""
    text = os.urandom(16).hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"
