"""Requests carried by a function call: what runs beside the API server needs no socket.

The application gets the same :class:`Request` it would get from the wire, with the user already known, so the whole
chain (authorization, admission, audit) applies. Bodies are bytes here as everywhere; :meth:`Client._object` is the
one place where they are made and read, so an application that takes and gives objects needs no other change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sublet.client.exchange import IN_PROCESS, Application, Request, Response, User


class InProcessTransport:
    """Asks ``application`` as ``user``; used by one event loop."""

    def __init__(self, application: Application, user: User) -> None:
        self._application = application
        self._user = user

    async def request(self, request: Request) -> Response:
        request.user = self._user
        request.remote = request.remote or IN_PROCESS
        response = await self._application.handle(request)
        if not isinstance(response.body, bytes):
            response.body = b"".join([chunk async for chunk in response.body])
        return response

    async def stream(self, request: Request) -> Response:
        request.user = self._user
        request.remote = request.remote or IN_PROCESS
        response = await self._application.handle(request)
        if isinstance(response.body, bytes):
            response.body = _once(response.body)
        return response

    async def close(self) -> None:
        """There is nothing to close: the application belongs to whoever started it."""


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
