"""``/statusz`` and ``/flagz``: what the server is and how it was started, for people who look for faults.

Text, or an object of ``config.k8s.io`` for who asks for that version by ``Accept``; served where features
ComponentStatusz and ComponentFlagz are on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sublet.apiserver import negotiation
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.pages import PAGES, paths
from sublet.apiserver.release import document, patch_release
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotAcceptable

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_COMPONENT = "kube-apiserver"
_GROUP = "config.k8s.io"
_VERSIONS = ("v1beta1", "v1alpha1")
_DEPRECATED = ("v1alpha1",)
_TEXT = ("text/plain", "text/*", "*/*")
_SEPARATORS = (":", ": ", "=", " ")
"""One is drawn for each answer, so that nobody comes to rely on the text."""
_NOT_FOR_FAULTS = ("/.well-known", "/api", "/apis", "/openapi", "/openid", "/statusz")


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    page = info.path.strip("/")
    if f"/{page}" not in paths(api):
        return not_served()
    kind = PAGES[page][0]
    format_, version = _chosen(request.headers.get("accept", ""), kind)
    facts = _status(api) if page == "statusz" else {"flags": dict(api.settings.flags())}
    if not version:
        return _text(page, _lines(facts, api.rng.choice(_SEPARATORS), api.clock.now()))
    if version in _DEPRECATED:
        warning = f"This version of the {page} endpoint is deprecated. Please use a newer version."
        request.context["warnings"].append(warning)
    found: Object = {
        "kind": kind, "apiVersion": f"{_GROUP}/{version}", "metadata": {"name": _COMPONENT}, **facts,
    }  # fmt: skip
    return negotiation.respond(found, negotiation.Accepted(format_))


def _chosen(header: str, kind: str) -> tuple[negotiation.Format, str]:
    """The format and the version that come first in ``Accept``; no version for text. Raises ``NotAcceptable``."""
    if not header:
        return "json", ""
    formats: dict[str, negotiation.Format] = {negotiation.JSON: "json", negotiation.YAML: "yaml"}
    for media, parameters in negotiation.parse_accept(header):
        if media in _TEXT:
            return "json", ""
        asked = (parameters.get("g"), parameters.get("as"))
        if media in formats and asked == (_GROUP, kind) and (version := parameters.get("v")) in _VERSIONS:
            return formats[media], version
    kinds = ", ".join(
        (*(f"{each};as={kind};v={v};g={_GROUP}" for each in formats for v in _VERSIONS), "text/plain")
    )
    raise NotAcceptable(f"only the following media types are accepted: {kinds}")


def _status(api: APIServer) -> Object:
    minor = api.settings.minor
    folders = {
        "/" + path.split("/")[1] for path in (*api.discovery.paths(), *api.health.paths(), *paths(api))
    }
    return {
        "startTime": objects.rfc3339(api.metrics.started),
        "uptimeSeconds": max(0, int(api.clock.now() - api.metrics.started)),
        "goVersion": document(minor, api.settings.version)["goVersion"],
        "binaryVersion": patch_release(minor),
        "emulationVersion": minor,
        "paths": sorted(folders.difference(_NOT_FOR_FAULTS)),
    }


def _lines(facts: Object, separator: str, now: float) -> list[str]:
    if "flags" in facts:
        return [f"{name}{separator}{value}" for name, value in sorted(facts["flags"].items())]
    up = facts["uptimeSeconds"]
    started = time.strftime("%a %b %e %H:%M:%S UTC %Y", time.gmtime(now - up))
    shown = {
        "Started": started,
        "Up": f"{up // 3600} hr {up // 60 % 60:02d} min {up % 60:02d} sec",
        "Go version": facts["goVersion"],
        "Binary version": facts["binaryVersion"],
        "Emulation version": facts["emulationVersion"],
        "Paths": " ".join(facts["paths"]),
    }
    return [f"{name}{separator} {value}" for name, value in shown.items()]


def _text(page: str, lines: list[str]) -> Response:
    head = (
        f"\n{_COMPONENT} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting "
        "compatibility guarantees and is for debugging purposes only.\n\n"
    )
    body = head + "".join(f"{line}\n" for line in lines)
    return Response(200, [("Content-Type", "text/plain; charset=utf-8")], body.encode())
