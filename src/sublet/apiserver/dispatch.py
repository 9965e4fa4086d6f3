"""Finds the handler of a request: one module per verb in ``handlers/``, each with

``async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response``.

Modules are imported when first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.requestinfo import CONNECT, RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import BadRequest, MethodNotAllowed, StatusError, not_found

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer
    from sublet.machinery.kind import Kind

Handler = Callable[[Request, RequestInfo, "APIServer"], Awaitable[Response]]

SUBRESOURCES: Mapping[str, str] = {
    "status": "status", "approval": "status", "finalize": "status", "ephemeralcontainers": "status",
    "resize": "status", "scale": "scale", "binding": "binding", "eviction": "eviction", "token": "tokens",
    "log": "connect", "exec": "connect", "attach": "connect", "portforward": "connect", "proxy": "connect",
}  # fmt: skip
"""Subresource -> module in ``handlers/``."""

NOT_STORED: Mapping[tuple[str, str], str] = {
    ("", "bindings"): "binding",
    ("", "componentstatuses"): "componentstatuses",
    ("authentication.k8s.io", "tokenreviews"): "tokens",
    ("authentication.k8s.io", "selfsubjectreviews"): "reviews",
    ("authorization.k8s.io", "localsubjectaccessreviews"): "reviews",
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "reviews",
    ("authorization.k8s.io", "selfsubjectrulesreviews"): "reviews",
    ("authorization.k8s.io", "subjectaccessreviews"): "reviews",
}
"""(group, plural) of what is asked and not kept -> module."""

PATHS: Mapping[str, str] = {
    "": "discovery", "api": "discovery", "apis": "discovery", "openapi": "openapi", "version": "version",
    "healthz": "health", "livez": "health", "readyz": "health", "metrics": "metrics",
    ".well-known": "tokens", "openid": "tokens", "statusz": "zpages", "flagz": "zpages", "debug": "debug",
    "logs": "absent",
}  # fmt: skip
"""First segment of a non-resource path -> module."""

_JUDGES = "admissionregistration.k8s.io"
_WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))


class Dispatch:
    """Routes requests of one API server."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self._handlers: dict[str, Handler] = {}

    async def answer(self, request: Request) -> Response:
        """The handler's answer; 404 in plain text where nothing is served, as upstream."""
        info: RequestInfo = request.context["info"]
        aggregation = self._api.aggregation
        if aggregation.remotes and (remote := aggregation.responsible(info)) is not None:
            return await aggregation.answer(request, remote)
        if not info.is_resource:
            module = PATHS.get(info.parts[0])
            if module is None:
                return not_served()
            return await self._handler(module)(request, info, self._api)
        found = self._api.kinds.find(info.api_group, info.api_version, info.resource)
        if found is None:
            return not_served()
        if request.method == "HEAD" and info.subresource != "proxy" and not isinstance(found[0], CustomKind):
            raise router_refusal()  # upstream's router knows the methods of its routes and no more
        module = _module(found[0], info)
        if not module:
            return not_served()
        response = await self._handler(module)(request, info, self._api)
        if info.api_group == _JUDGES and info.verb in _WRITES:
            # Admission reads the watch cache: who is told that a webhook is there can rely on it from now on.
            await self._api.registry.fresh(found[0])
        return response

    def _handler(self, module: str) -> Handler:
        handler = self._handlers.get(module)
        if handler is None:
            handler = importlib.import_module(f"sublet.apiserver.handlers.{module}").handle
            self._handlers[module] = handler
        return handler


def _module(kind: Kind, info: RequestInfo) -> str:
    """The handler module's name, ``""`` where nothing is served. Raises :class:`MethodNotAllowed`."""
    if _misplaced(kind, info):
        return ""
    if isinstance(kind, CustomKind):
        return _module_of_custom(kind, info)
    if info.subresource:
        if info.subresource in CONNECT and info.subresource in kind.subresources:
            return "connect"
        subresource = kind.below(info.api_version).get(info.subresource)
        module = SUBRESOURCES.get(info.subresource, "")
        if subresource is None or not module or len(info.parts) > 3:
            return ""
        verbs = subresource.verbs
    else:
        verbs = kind.verbs
        module = NOT_STORED.get((info.api_group, info.resource)) or info.verb
    if info.verb not in verbs:
        raise router_refusal()
    if not info.subresource and info.verb == "create" and info.name:
        raise router_refusal()
    if kind.resource.namespaced and not info.namespace and info.verb in ("create", "deletecollection"):
        raise router_refusal()
    if not info.name and info.verb in ("update", "patch"):
        raise router_refusal()
    return module


def _module_of_custom(kind: CustomKind, info: RequestInfo) -> str:
    """No router knows their paths: their handler goes by the verb, and a name where none belongs is not looked at."""
    resource = kind.resource
    if resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        return ""
    module, verbs = info.verb, kind.verbs
    if info.subresource:
        subresource = kind.below(info.api_version).get(info.subresource)
        if subresource is None:
            raise not_found(resource.group, resource.plural, info.name)
        module, verbs = SUBRESOURCES[info.subresource], subresource.verbs
    if info.verb not in verbs:
        raise MethodNotAllowed(
            f'{info.verb} is not supported on resources of kind "{resource.qualified}"',
            group=resource.group,
            kind=resource.plural,
        )
    if not info.name and info.verb in ("update", "patch"):
        raise BadRequest("name must be provided")
    return module


def _misplaced(kind: Kind, info: RequestInfo) -> bool:
    """A namespaced object without its namespace in the path, or a cluster-scoped one below a namespace."""
    if kind.resource.namespaced:
        return not info.namespace and len(info.parts) > 1
    return bool(info.namespace) and info.resource != "namespaces"


def router_refusal() -> StatusError:
    """What upstream's router says of a path that it serves with other methods."""
    return MethodNotAllowed(
        "the server does not allow this method on the requested resource", with_details=True
    )


def not_served() -> Response:
    """What upstream's mux answers for a path nobody serves; clients turn it into their own message."""
    return Response(
        404,
        [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")],
        b"404 page not found\n",
    )
