"""Writes the audit log. These filters are in the chain only where a log is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sublet.apiserver.audit.event import Event
from sublet.apiserver.audit.log import AuditLog
from sublet.apiserver.audit.policy import COMPLETE, PANIC, RECEIVED, STARTED
from sublet.apiserver.chain import Proceed
from sublet.apiserver.filters.errors import understood
from sublet.apiserver.filters.timeout import BadTimeout, timed_out
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Connection, Request, Response, Upgrade, User
from sublet.machinery.status import StatusError, Unauthorized
from sublet.store.interface import StoreError


class Audit:
    """Events of requests whose user is known."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        info: RequestInfo = request.context["info"]
        user = request.user
        assert user is not None
        event = self._log.event(request, info, user)
        if event is None:
            return await proceed(request)
        self._log.write(event, RECEIVED)
        try:
            response = await proceed(request)
        except asyncio.CancelledError:
            # The time is over, or the client has gone: upstream answers both so.
            self._fail(event, timed_out().to_object())
            raise
        except Exception as error:
            expected = isinstance(error, (StatusError, StoreError))
            status = understood(error).to_object()
            await self._log.finish_failed(event, status, COMPLETE if expected else PANIC)
            raise
        if response.upgrade is None and isinstance(response.body, bytes) and not info.long_running:
            await self._log.finish(event, response)
            return response
        event.receive_body()
        event.respond(response)
        if info.long_running:
            self._log.write(event, STARTED)
        if response.upgrade is not None:
            response.upgrade = self._until_closed(response.upgrade, event)
        elif isinstance(response.body, bytes):
            self._log.write(event, COMPLETE)
        else:
            response.body = _Ending(response.body, self._log, event)
        return response

    def _fail(self, event: Event, status: dict[str, object], stage: str = COMPLETE) -> None:
        event.receive_body()
        event.fail(status)
        self._log.write(event, stage)

    def _until_closed(self, upgrade: Upgrade, event: Event) -> Upgrade:
        async def run(connection: Connection) -> None:
            try:
                await upgrade(connection)
            finally:
                self._log.write(event, COMPLETE)

        return run


class _Ending:
    """A stream whose end is logged, however it comes."""

    def __init__(self, body: AsyncIterator[bytes], log: AuditLog, event: Event) -> None:
        self._body = body
        self._log = log
        self._event: Event | None = event

    def __aiter__(self) -> _Ending:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._body)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        self._end()
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()

    def _end(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            self._log.write(event, COMPLETE)


class AuditRefused:
    """Events of requests that are refused before anybody knows who asks: for their credentials, for a time limit that
    is none. Goes around what refuses them."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        try:
            return await proceed(request)
        except Unauthorized as error:
            if request.user is None:
                event = self._log.event(request, request.context["info"], User(""))
                if event is not None:
                    event.fail({"message": _tried(request), "code": error.code})
                    self._log.write(event, STARTED)
            raise
        except BadTimeout as error:
            event = self._log.event(request, request.context["info"], User(""))
            if event is not None:
                event.fail(error.to_object())
                self._log.write(event, STARTED)
            raise


def _tried(request: Request) -> str:
    """By which means, without any of the secret."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    tried = [scheme] if scheme in ("bearer", "basic") else []
    if request.peer_certificate:
        tried.append("x509")
    if tried:
        return f"Authentication failed, attempted: {', '.join(tried)}"
    return "Authentication failed, no credentials provided"
