"""``componentstatuses``: the health of the parts, in the old way that ``kubectl get cs`` still asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sublet.apiserver import negotiation
from sublet.apiserver.calls import Call
from sublet.apiserver.health import Check, Unhealthy
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_SECONDS = 20.0
"""As upstream's probe."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """One, or the List; each part is asked now."""
    call = Call.of(request, info, api)
    parts = api.health.parts
    if info.verb == "get":
        if info.name not in parts:
            raise StatusError(f"Component not found: {info.name}", code=500, reason="")
        found = await _status(info.name, parts[info.name])
        shown = call.view.shaped({"kind": "ComponentStatus", "apiVersion": "v1", **found})
        return negotiation.respond(shown, call.view.accepted)
    selection = call.selection()
    statuses = await asyncio.gather(*(_status(name, check) for name, check in parts.items()))
    chosen = [each for each in statuses if selection.matches_object(each)]
    if call.view.accepted.view == "Table":
        return negotiation.respond(call.view.table(chosen, ""), call.view.accepted)
    listed = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": chosen}
    return negotiation.respond(listed, replace(call.view.accepted, view="", version=""))


async def _status(name: str, check: Check) -> Object:
    condition = {"type": "Healthy", "status": "True", "message": "ok"}
    try:
        async with asyncio.timeout(_SECONDS):
            await check()
    except (StatusError, StoreError, Unhealthy, TimeoutError) as error:
        condition = {"type": "Healthy", "status": "False", "error": str(error) or "no answer in time"}
    return {"metadata": {"name": name}, "conditions": [condition]}
