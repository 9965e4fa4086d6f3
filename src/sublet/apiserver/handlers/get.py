"""GET of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.options import list_options
from sublet.apiserver.reading import fresh_enough
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.stored import key
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The object; its stored bytes where the client takes JSON of the stored version."""
    call = Call.of(request, info, api)
    revision = list_options(info).revision if info.params else None
    cache = await fresh_enough(api.registry, call.kind, revision)
    entry = cache.get(key(call.kind.resource, call.namespace, info.name))
    if entry is None:
        raise call.not_found()
    return Response(200, [("Content-Type", call.view.accepted.content_type)], call.view.one(entry))
