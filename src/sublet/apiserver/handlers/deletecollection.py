"""DELETE of a collection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from sublet.apiserver import deletion, stored
from sublet.apiserver.calls import Call, warnings
from sublet.apiserver.listing import listing
from sublet.apiserver.options import WriteOptions, delete_options, list_options
from sublet.apiserver.reading import page
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import NotFound

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

AT_ONCE = 16


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The List of the objects that were deleted or marked, as they were."""
    call = Call.of(request, info, api)
    options = delete_options(request, info)
    deletion.warn(call.kind, options, warnings(request))
    wanted = list_options(info)
    found = await page(api.registry, call.kind, await call.selected(wanted), wanted)
    await call.view.prepare(found.entries)
    write = call.write(WriteOptions(dry_run=options.dry_run))
    prefix = stored.key_prefix(call.kind.resource)

    left = iter(found.entries)

    async def remove() -> None:
        for entry in left:
            namespace, name = stored.place(entry.key, prefix)
            with contextlib.suppress(NotFound):
                await api.registry.delete(call.kind, namespace, name, options, write)

    await asyncio.gather(*(remove() for _ in range(min(AT_ONCE, len(found.entries)))))
    body = await listing(call.view, found)
    return Response(200, [("Content-Type", call.view.accepted.content_type)], body)
