"""``componentstatuses``: the health of the parts, in the old way that ``kubectl get cs`` still asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver import negotiation
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError, not_found
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """One, or the List."""
    accepted = negotiation.accept(request, info)
    found = [await _status(api, "etcd-0", "etcd")]
    if not info.name:
        listed = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": found}
        return negotiation.respond(listed, accepted)
    for each in found:
        if each["metadata"]["name"] == info.name:
            return negotiation.respond({"kind": "ComponentStatus", "apiVersion": "v1", **each}, accepted)
    raise not_found("", "componentstatuses", info.name)


async def _status(api: APIServer, name: str, check: str) -> Object:
    condition = {"type": "Healthy", "status": "True", "message": "ok"}
    try:
        await api.health.checks("readyz")[check]()
    except (StatusError, StoreError) as error:
        condition = {"type": "Healthy", "status": "False", "message": "", "error": str(error)}
    return {"metadata": {"name": name}, "conditions": [condition]}
