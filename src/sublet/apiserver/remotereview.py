"""Reviews asked of others by kubeconfig: TokenReview and SubjectAccessReview webhooks; answers are kept for a while."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Generic, TypeVar

from sublet.client import kubeconfig
from sublet.client.exchange import Request
from sublet.client.http import HTTPTransport
from sublet.machinery import codec
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable, StatusError, from_object

T = TypeVar("T")

_KEPT = 8192
_TRIES = 5
_FIRST_WAIT = 0.5
_FACTOR = 1.5
_AGAIN = frozenset((429, 500, 502, 503, 504))


class RemoteReviews:
    """One webhook; :meth:`close` at the end."""

    def __init__(
        self, file: Path, clock: Clock, seconds: float = 30.0, *, first_wait: float = _FIRST_WAIT
    ) -> None:
        """``first_wait``: seconds until the second attempt. Raises ``KubeconfigError``."""
        self._transport = HTTPTransport(
            kubeconfig.load(file), request_seconds=seconds, connections=64, clock=clock
        )
        self._seconds = seconds
        self._first_wait = first_wait

    async def ask(self, review: Object) -> Object:
        """The status that the webhook gave. Raises ``StatusError`` where it gave none, after some attempts."""
        body = codec.encode_json(review)
        headers = {"content-type": "application/json", "accept": "application/json, */*"}
        wait, tries = self._first_wait, _TRIES
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    tries -= 1
                    answer = await self._transport.request(Request("POST", "", "", headers, body))
                    if answer.status not in _AGAIN or not tries:
                        break
                    await asyncio.sleep(wait)
                    wait *= _FACTOR
        except TimeoutError as error:
            raise ServiceUnavailable(
                "the webhook did not answer in time: context deadline exceeded"
            ) from error
        assert isinstance(answer.body, bytes)
        return _status(answer.status, answer.body, review)

    async def close(self) -> None:
        await self._transport.close()


def _status(code: int, body: bytes, review: Object) -> Object:
    try:
        document: Any = codec.decode_json(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status":
        raise from_object({**document, "code": document.get("code") or code})
    if not 200 <= code < 300:
        raise StatusError(f"the webhook answered {code}", code=502, reason="InternalError")
    if not isinstance(document, dict) or document.get("kind", review["kind"]) != review["kind"]:
        raise StatusError(f"the webhook's answer is no {review['kind']}", code=502, reason="InternalError")
    status: Object = document.get("status") or {}
    return status


class Answers(Generic[T]):
    """Answers kept for a while, each as long as it says; the oldest go first."""

    def __init__(self, clock: Clock, most: int = _KEPT) -> None:
        self._clock = clock
        self._most = most
        self._kept: dict[bytes, tuple[float, T]] = {}

    def key(self, *parts: object) -> bytes:
        """A key that holds no secret itself."""
        return hashlib.sha256(codec.encode_json(list(parts))).digest()

    def get(self, key: bytes) -> T | None:
        found = self._kept.get(key)
        if found is None or found[0] <= self._clock.monotonic():
            return None
        return found[1]

    def put(self, key: bytes, answer: T, seconds: float) -> None:
        if seconds <= 0:
            return
        self._kept.pop(key, None)
        while len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._clock.monotonic() + seconds, answer)
