"""PATCH: JSON patch, merge patch, strategic merge patch, server-side apply (reference B.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.changes import APPLY, changes, patch_type
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The object as it was stored; 201 where server-side apply created it."""
    call = Call.of(request, info, api)
    options = write_options(request, info, "PatchOptions", apply=patch_type(call) == APPLY)
    write = call.write(options)
    write.may_create = call.may_create
    change, create = await changes(call, options, write)
    written = await api.registry.update(call.kind, call.namespace, info.name, change, write, create=create)
    return call.respond(written, 201 if written.created else 200)
