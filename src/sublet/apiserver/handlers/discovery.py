"""``/``, ``/api``, ``/apis`` and what lies below them without naming a resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver import negotiation, pages
from sublet.apiserver.discovery import AGGREGATED
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.kind import Object
from sublet.machinery.status import MethodNotAllowed

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_PARAMETERS = {"g": AGGREGATED, "v": "v2", "as": "APIGroupDiscoveryList"}
_PROFILES = ("", "nopeer")


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The document in the form the client accepts."""
    if info.verb not in ("get", "head"):
        raise MethodNotAllowed(f"{info.verb} is not supported on {info.path}")
    parts = [part for part in info.parts if part]
    if len(parts) == 1 and (content_type := _aggregated_type(request)):
        return _aggregated(request, api, parts[0], content_type)
    if not parts:  # as upstream: whatever is accepted
        paths = sorted((*api.discovery.paths(), *api.health.paths(), *pages.paths(api)))
        return negotiation.respond({"paths": paths}, negotiation.Accepted("json", pretty=True))
    document = _document(api, parts, request.headers.get("host", ""))
    if document is None:
        return not_served()
    return negotiation.respond(document, negotiation.accept(request, info))


def _document(api: APIServer, parts: list[str], host: str) -> Object | None:
    discovery = api.discovery
    match parts:
        case ["api"]:
            own = f"{api.settings.advertise_address}:{api.settings.secure_port}"
            return discovery.api_versions(own if api.settings.advertise_address else host)
        case ["apis"]:
            return discovery.group_list()
        case ["apis", group]:
            return discovery.group(group)
        case ["api", version]:
            return discovery.resource_list("", version)
        case ["apis", group, version] if group:
            return discovery.resource_list(group, version)
    return None


def _aggregated_type(request: Request) -> str:
    """The Content-Type of the aggregated form where the client prefers it, else ``""``."""
    header = request.headers.get("accept", "")
    if AGGREGATED not in header:
        return ""
    for media, parameters in negotiation.parse_accept(header):
        media = negotiation.JSON if media in ("*/*", "application/*") else media
        if media in (negotiation.JSON, negotiation.YAML, negotiation.PROTOBUF):
            asked = {key: parameters.get(key, "") for key in _PARAMETERS}
            if not any(asked.values()):
                return ""
            if asked == _PARAMETERS and (profile := parameters.get("profile", "")) in _PROFILES:
                content_type = ";".join((media, *(f"{k}={v}" for k, v in _PARAMETERS.items())))
                return f"{content_type};profile={profile}" if profile else content_type
    return ""


def _aggregated(request: Request, api: APIServer, prefix: str, content_type: str) -> Response:
    data, etag = api.discovery.aggregated(prefix, content_type.partition(";")[0])
    headers = [("ETag", etag), ("Vary", "Accept"), ("Cache-Control", "public")]
    if request.headers.get("if-none-match") == etag:
        return Response(304, headers)
    return Response(200, [("Content-Type", content_type), *headers], data)
