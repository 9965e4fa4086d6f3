"""PUT of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.changes import replacing
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The object as it was stored; 201 where the kind lets a PUT create."""
    call = Call.of(request, info, api)
    options = write_options(request, info, "UpdateOptions")
    change, write = await replacing(call, options)
    write.may_create = call.may_create
    written = await api.registry.update(
        call.kind, call.namespace, info.name, change, write, create=call.kind.create_on_update
    )
    return call.respond(written, 201 if written.created else 200)
