"""``/status`` and the other subresources that read and write the object itself in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.calls import Call
from sublet.apiserver.changes import APPLY, changes, patch_type, replacing
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.subresources import RULES
from sublet.apiserver.writing import Write
from sublet.client.exchange import Request, Response
from sublet.machinery.status import MethodNotAllowed

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """GET, PUT and PATCH; what each subresource may change is written in ``apiserver/subresources.py``."""
    if info.verb == "get":
        return await Call.of(request, info, api).get()
    call = Call.of(request, info, api)
    if info.verb == "update":
        options = write_options(request, info, "UpdateOptions")
        change, write = await replacing(call, options)
    elif info.verb == "patch":
        options = write_options(request, info, "PatchOptions", apply=patch_type(call) == APPLY)
        write = call.write(options)
        change, _ = await changes(call, options, write)
    else:
        raise MethodNotAllowed(f"{info.verb} is not supported on {info.resource}/{info.subresource}")
    _limit(write)
    written = await api.registry.update(call.kind, call.namespace, info.name, change, write)
    return call.respond(written)


def _limit(write: Write) -> None:
    rules = RULES.get(write.subresource)
    if rules is not None:
        write.prepare, write.validate = rules
