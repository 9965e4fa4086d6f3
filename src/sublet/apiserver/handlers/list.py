"""GET of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.listing import listing
from sublet.apiserver.options import list_options
from sublet.apiserver.reading import page
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """One page (or all) of the selected objects, as of one revision."""
    call = Call.of(request, info, api)
    options = list_options(info)
    found = await page(api.registry, call.kind, await call.selected(options), options)
    body = await listing(call.view, found)
    return Response(200, [("Content-Type", call.view.accepted.content_type)], body)
