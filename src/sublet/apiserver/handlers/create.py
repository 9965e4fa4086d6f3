"""POST to a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import BadRequest

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The object as it was stored."""
    call = Call.of(request, info, api)
    if call.kind.resource.namespaced and not call.namespace:
        raise BadRequest("an empty namespace may not be set during creation")
    options = write_options(request, info, "CreateOptions")
    obj = await call.decode(options)
    written = await api.registry.create(call.kind, obj, call.namespace, call.write(options))
    return call.respond(written, 201)
