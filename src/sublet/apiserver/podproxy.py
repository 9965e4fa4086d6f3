"""The ``proxy`` subresource of Pods and Services: any request, passed on to a port of a pod."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.watchcache import decode_stored
from sublet.client.exchange import Request, Response
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, ServiceUnavailable, StatusError, not_found

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "content-length",
))  # fmt: skip
_SLICES = "/registry/discovery.k8s.io/endpointslices/"


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """What the pod answered, its redirects kept below the proxy's path."""
    if api.pod_streams is None:
        raise ServiceUnavailable("this control plane has no connection to the nodes its pods run on")
    if len(info.parts) == 3 and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
        query = f"?{request.query}" if request.query else ""
        return Response(301, [("Location", f"{request.path}/{query}")])
    if info.resource == "pods":
        pod = await _read(api, "pods", info.namespace, split_name(info.name)[1])
    elif info.resource == "services":
        pod, request = await _behind(request, info, api)
    else:
        raise StatusError(
            f"proxying to {info.resource} is not supported; use the subresources of pods and services",
            code=501, reason="NotImplemented",
        )  # fmt: skip
    response = await api.pod_streams.connect(pod, "proxy", request)
    if response.status != 101:
        prefix = _prefix(request.path)
        response.headers = [
            (name, _relocated(value, prefix) if name.lower() == "location" else value)
            for name, value in response.headers
            if name.lower() not in _HOP
        ]
    return response


def split_name(text: str) -> tuple[str, str, str]:
    """(scheme, name, port) of ``[scheme:]name[:port]``. Raises ``BadRequest``."""
    parts = text.split(":")
    match parts:
        case [name]:
            found = ("", name, "")
        case [name, port]:
            found = ("", name, port)
        case [scheme, name, port]:
            found = (scheme, name, port)
        case _:
            raise BadRequest(f'invalid service request "{text}"')
    if found[0] not in ("", "http", "https") or not found[1]:
        raise BadRequest(f'invalid service request "{text}"')
    return found


async def _read(api: APIServer, plural: str, namespace: str, name: str) -> Object:
    kind = api.kinds.stored("", plural)
    if kind is None:
        raise not_found("", plural, name)
    return await api.registry.get(kind, namespace, name)


async def _behind(request: Request, info: RequestInfo, api: APIServer) -> tuple[Object, Request]:
    """A ready pod behind a Service's port, and the request as one for that pod."""
    scheme, name, port = split_name(info.name)
    service = await _read(api, "services", info.namespace, name)
    wanted = _port_name(service, port)
    for endpoint, number in _endpoints(api, info.namespace, name, wanted):
        target = endpoint.get("targetRef") or {}
        if target.get("kind") == "Pod":
            pod = await _read(api, "pods", info.namespace, target["name"])
            head, _, rest = request.path.partition("/services/")
            below = rest.partition("/")[2].removeprefix("proxy")
            path = f"{head}/pods/{scheme}:{target['name']}:{number}/proxy{below or '/'}"
            return pod, replace(request, path=path)
    raise ServiceUnavailable(f'no endpoints available for service "{info.name}"')


def _port_name(service: Object, port: str) -> str:
    """The name of the Service's port that a name or number means; its only port when nothing is asked."""
    ports: list[dict[str, Any]] = (service.get("spec") or {}).get("ports") or []
    for each in ports:
        if (not port and len(ports) == 1) or port in (each.get("name", ""), str(each.get("port"))):
            return str(each.get("name", ""))
    name = (service.get("metadata") or {}).get("name", "")
    raise ServiceUnavailable(f'no service port "{port}" found for service "{name}"')


def _endpoints(
    api: APIServer, namespace: str, service: str, port: str
) -> Iterator[tuple[dict[str, Any], int]]:
    """(endpoint, port number) of everything ready behind a Service."""
    cache = api.caches.cache(_SLICES)
    for entry in cache.entries(f"{_SLICES}{namespace}/"):
        slice_ = decode_stored(entry)
        labels = slice_["metadata"].get("labels") or {}
        if labels.get("kubernetes.io/service-name") != service:
            continue
        for each in slice_.get("ports") or ():
            if each.get("name", "") == port and each.get("port"):
                for endpoint in slice_.get("endpoints") or ():
                    if (endpoint.get("conditions") or {}).get("ready", True):
                        yield endpoint, int(each["port"])


def _prefix(path: str) -> str:
    """``/api/v1/…/proxy`` of a proxied path."""
    before, _, _ = path.partition("/proxy")
    return f"{before}/proxy"


def _relocated(location: str, prefix: str) -> str:
    """A redirect of the pod, so that following it stays below the proxy."""
    parts = urlsplit(location)
    if parts.netloc or not parts.path.startswith("/"):
        return location
    return prefix + location
