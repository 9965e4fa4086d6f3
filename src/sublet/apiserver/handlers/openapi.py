"""``/openapi/v2``, ``/openapi/v3`` and the documents below it."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING

from sublet.apiserver import negotiation
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.openapi import Published
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import MethodNotAllowed, NotAcceptable

if TYPE_CHECKING:
    from sublet.apiserver.aggregation import Remote
    from sublet.apiserver.api import APIServer

PROTOBUF2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
SENT_PROTOBUF2 = PROTOBUF2.replace("@", ".")
"""How the answer spells it: ``@`` is not allowed in a media type, and Go's parser refuses it."""
_OLDER = "application/com.github.googleapis.gnostic.openapiv2@v1.0+protobuf"
"""What the same format was called before."""
_PROTOBUF2_NAMES = (PROTOBUF2, SENT_PROTOBUF2, _OLDER, _OLDER.replace("@", "."))
PROTOBUF3 = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
SENT_PROTOBUF3 = PROTOBUF3.replace("@", ".")
_JSON = ("application/json", "*/*", "application/*")
_FOREVER = "public, immutable"
_A_YEAR = 365 * 86400
"""Seconds after which a document that was asked for by its hash expires: as good as never."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    if info.verb not in ("get", "head"):
        raise MethodNotAllowed(f"{info.verb} is not supported on {info.path}")
    match [part for part in info.parts if part]:
        case ["openapi", "v2"]:
            return await _version2(request, api)
        case ["openapi", "v3"]:
            return _index(info, api)
        case ["openapi", "v3", *rest]:
            return await _version3(request, info, api, "/".join(rest))
    return not_served()


async def _version2(request: Request, api: APIServer) -> Response:
    if _form(request, _PROTOBUF2_NAMES, PROTOBUF2) == "json":
        return await _answer(request, await api.openapi.version2(), "application/json")
    return await _answer(request, await api.openapi.version2_protobuf(), SENT_PROTOBUF2)


def _form(request: Request, protobuf: tuple[str, ...], told: str) -> str:
    """``json`` or ``protobuf``, as the client prefers. Raises ``NotAcceptable``."""
    for media, _ in negotiation.parse_accept(request.headers.get("accept", "") or "*/*"):
        if media in _JSON:
            return "json"
        if media in protobuf:
            return "protobuf"
    raise NotAcceptable(f"only the following media types are accepted: application/json, {told}")


def _index(info: RequestInfo, api: APIServer) -> Response:
    """Always JSON, whatever is accepted, as upstream."""
    paths = {
        root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={identity}"}
        for root, identity in api.openapi.hashes().items()
    }
    for root, address in api.openapi.foreign3.items():
        if root not in paths or _remote(root, api) is not None:
            paths[root] = {"serverRelativeURL": address}
    paths = dict(sorted(paths.items()))
    return negotiation.respond({"paths": paths}, negotiation.Accepted("json", pretty=info.flag("pretty")))


async def _version3(request: Request, info: RequestInfo, api: APIServer, root: str) -> Response:
    if (remote := _remote(root, api)) is not None:
        return await api.aggregation.answer(request, remote)
    form = _form(request, (PROTOBUF3, SENT_PROTOBUF3), PROTOBUF3)
    identity = api.openapi.hashes().get(root)
    if identity is None:
        return Response(404)  # as upstream's aggregator: nothing is said
    asked = info.param("hash")
    if asked and asked != identity:
        return Response(301, [("Location", f"/openapi/v3/{root}?hash={identity}")])
    if form == "json":
        found, sent = await api.openapi.version3(root), "application/json"
    else:
        found, sent = await api.openapi.version3_protobuf(root), SENT_PROTOBUF3
    if found is None:
        return not_served()
    response = await _answer(request, found, sent)
    if asked:
        expires = formatdate(api.clock.now() + _A_YEAR, usegmt=True)
        response.headers += [("Cache-Control", _FOREVER), ("Expires", expires)]
    return response


def _remote(root: str, api: APIServer) -> Remote | None:
    """The API server that a document is of; None where it is one of ours. That of a group is where there is one."""
    remotes = api.aggregation.remotes
    match root.split("/"):
        case ["apis", group, version]:
            return remotes.get((group, version))
        case ["apis", group] if root in api.openapi.foreign3 and root not in api.openapi.hashes():
            return next((remote for remote in remotes.values() if remote.group == group), None)
    return None


def _known(stated: str, etag: str) -> bool:
    """Whether If-None-Match names an ETag: one of several, perhaps made weak by what stands between, or any."""
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in stated.split(","))


async def _answer(request: Request, found: Published, content_type: str) -> Response:
    etag = f'"{found.hash}"'
    headers = [("Content-Type", content_type), ("ETag", etag), ("Vary", "Accept-Encoding, Accept")]
    if _known(request.headers.get("if-none-match", ""), etag):
        return Response(304, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(200, [*headers, ("Content-Encoding", "gzip")], found.packed)
    return Response(200, headers, await asyncio.to_thread(found.bytes))
