"""GET of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The object; its stored bytes where the client takes JSON of the stored version."""
    return await Call.of(request, info, api).get()
