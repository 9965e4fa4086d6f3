"""``/version``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver import negotiation
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.release import document
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import MethodNotAllowed

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The version in upstream's shape."""
    if info.path.strip("/") != "version":
        return not_served()
    if info.verb not in ("get", "head"):
        raise MethodNotAllowed(f"{info.verb} is not supported on /version")
    found = document(api.settings.minor, api.settings.version)
    return negotiation.respond(dict(found), negotiation.Accepted("json", pretty=True))
