"""``componentstatuses``: the health of the parts, in the old way that ``kubectl get cs`` still asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sublet.apiserver import negotiation
from sublet.apiserver.calls import Call
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """One, or the List."""
    call = Call.of(request, info, api)
    found = [await _status(api, "etcd-0", "etcd")]
    if info.name:
        found = [each for each in found if each["metadata"]["name"] == info.name]
        if not found:
            raise call.not_found()
        return negotiation.respond(
            call.view.shaped({"kind": "ComponentStatus", "apiVersion": "v1", **found[0]}), call.view.accepted
        )
    if call.view.accepted.view == "Table":
        return negotiation.respond(call.view.table(found, ""), call.view.accepted)
    listed = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": found}
    return negotiation.respond(listed, replace(call.view.accepted, view="", version=""))


async def _status(api: APIServer, name: str, check: str) -> Object:
    condition = {"type": "Healthy", "status": "True", "message": "ok"}
    try:
        await api.health.checks("readyz")[check]()
    except (StatusError, StoreError) as error:
        condition = {"type": "Healthy", "status": "False", "message": "", "error": str(error)}
    return {"metadata": {"name": name}, "conditions": [condition]}
