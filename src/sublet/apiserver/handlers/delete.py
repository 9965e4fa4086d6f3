"""DELETE of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sublet.apiserver import deletion, negotiation
from sublet.apiserver.calls import Call, status_view, warnings
from sublet.apiserver.options import WriteOptions, delete_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.writing import Written
from sublet.client.exchange import Request, Response
from sublet.machinery.status import forbidden

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """A Status when the object is gone, else the object as it lingers."""
    call = Call.of(request, info, api)
    options = delete_options(request, info)
    deletion.warn(call.kind, options, warnings(request))
    if info.name in call.kind.undeletable:
        why = call.kind.undeletable[info.name]
        raise forbidden(call.kind.resource.group, call.kind.resource.plural, info.name, why)
    write = replace(call.write(WriteOptions(dry_run=options.dry_run)))
    written = await api.registry.delete(call.kind, call.namespace, info.name, options, write)
    return answer(call, written, 202 if options.orphan is False else 200)


def answer(call: Call, written: Written, lingering: int = 200) -> Response:
    """What a deletion answers; ``lingering`` is the code where the object is still there."""
    if not written.deleted:
        return call.respond(written, lingering)
    if call.kind.resource.qualified in deletion.RETURNED:
        return call.respond(written)
    return negotiation.respond(deletion.success(call.kind, written.object), status_view(call.view.accepted))
