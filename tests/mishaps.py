"""A transport on which requests go wrong now and then, as they do between machines."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sublet.client.exchange import Request, Response, Transport
from sublet.machinery import status
from sublet.machinery.status import ServiceUnavailable


@dataclass(frozen=True)
class Odds:
    """How likely each mishap is for one request (0 to 1)."""

    conflict: float = 0.0
    """A write is refused with 409, as if another had been quicker."""
    refused: float = 0.0
    """The server answers 500, or cannot be reached; nothing was done."""
    unknown: float = 0.0
    """What was asked for is done, and the answer is lost."""
    slow: float = 0.0
    """It takes up to a second."""
    lost: float = 0.0
    """A watch breaks off, per event."""
    gone: float = 0.0
    """A watch is told that its resource version is too old (410), at once or per event."""


class Mishaps:
    """Whether and how things go wrong; ``happened`` counts it. Switched off by ``odds = Odds()``."""

    def __init__(self, odds: Odds, chance: random.Random) -> None:
        self.odds = odds
        self.happened: Counter[str] = Counter()
        self._chance = chance

    def strikes(self, name: str) -> bool:
        struck = self._chance.random() < getattr(self.odds, name)
        self.happened[name] += struck
        return struck

    def seconds(self) -> float:
        return self._chance.random()

    def on(self, transport: Transport) -> Transport:
        return _Unreliable(transport, self)


class _Unreliable:
    def __init__(self, inner: Transport, mishaps: Mishaps) -> None:
        self._inner = inner
        self._mishaps = mishaps

    async def request(self, request: Request) -> Response:
        if self._mishaps.strikes("slow"):
            await asyncio.sleep(self._mishaps.seconds())
        if request.method in ("PUT", "PATCH", "DELETE") and self._mishaps.strikes("conflict"):
            return _refusal(status.Conflict("the object has been modified; please apply your changes to it"))
        if self._mishaps.strikes("refused"):
            if self._mishaps.seconds() < 0.5:
                raise ServiceUnavailable("connection refused")
            return _refusal(status.InternalError("this was bound to happen"))
        response = await self._inner.request(request)
        if request.method != "GET" and self._mishaps.strikes("unknown"):
            raise ServiceUnavailable("the connection broke before the answer came")
        return response

    async def stream(self, request: Request) -> Response:
        if self._mishaps.strikes("gone"):
            return Response(200, body=_once(_error_event()))
        response = await self._inner.stream(request)
        assert not isinstance(response.body, bytes)
        response.body = self._broken_off(response.body)
        return response

    async def _broken_off(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async with aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                if self._mishaps.strikes("lost"):
                    yield chunk[: len(chunk) // 2]
                    return
                yield chunk
                if self._mishaps.strikes("gone"):
                    yield _error_event()
                    return

    async def close(self) -> None:
        await self._inner.close()


def _refusal(error: Any) -> Response:
    return Response(error.code, body=json.dumps(error.to_object()).encode())


def _error_event() -> bytes:
    error = status.Expired("too old resource version")
    return json.dumps({"type": "ERROR", "object": error.to_object()}).encode() + b"\n"


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
