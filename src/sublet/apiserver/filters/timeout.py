"""Ends requests that take too long; watches, logs and upgraded connections may take as long as they like."""

from __future__ import annotations

import asyncio
import re

from sublet.apiserver.chain import Proceed
from sublet.apiserver.dispatch import CONNECT
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import BadRequest, Timeout

LIMIT = 60.0
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class RequestTimeout:
    """60 seconds, or less where ``?timeout=`` says so."""

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        if info.verb == "watch" or info.subresource in CONNECT:
            return await proceed(request)
        seconds = LIMIT
        if asked := info.param("timeout"):
            seconds = min(parse_duration(asked) or LIMIT, LIMIT)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await proceed(request)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Timeout(
                "Timeout: request did not complete within the allotted timeout", retry_after=1
            ) from None


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``1m30s``. Raises :class:`BadRequest`."""
    if text == "0":
        return 0.0
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise BadRequest(f'invalid timeout specified in the request URL - time: invalid duration "{text}"')
    return sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
