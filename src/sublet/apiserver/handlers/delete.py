"""DELETE of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sublet.apiserver import deletion, negotiation
from sublet.apiserver.calls import Call, status_view
from sublet.apiserver.options import WriteOptions, delete_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.writing import Written
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


_STORAGE = "storage.k8s.io"
RETURNED = frozenset((
    "pods", "services", "serviceaccounts", "persistentvolumeclaims", "persistentvolumes", "podtemplates",
    "resourcequotas", f"storageclasses.{_STORAGE}", f"csidrivers.{_STORAGE}", f"csinodes.{_STORAGE}",
    f"volumeattachments.{_STORAGE}", f"volumeattributesclasses.{_STORAGE}",
))  # fmt: skip
"""Kinds whose deletion answers the object even when it is gone, as their OpenAPI operations say."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """A Status when the object is gone, else the object as it lingers."""
    call = Call.of(request, info, api)
    options = delete_options(request, info)
    write = replace(call.write(WriteOptions(dry_run=options.dry_run)))
    written = await api.registry.delete(call.kind, call.namespace, info.name, options, write)
    return answer(call, written, 202 if options.orphan is False else 200)


def answer(call: Call, written: Written, lingering: int = 200) -> Response:
    """What a deletion answers; ``lingering`` is the code where the object is still there."""
    if not written.deleted:
        return call.respond(written, lingering)
    if call.kind.resource.qualified in RETURNED:
        return call.respond(written)
    return negotiation.respond(deletion.success(call.kind, written.object), status_view(call.view.accepted))
