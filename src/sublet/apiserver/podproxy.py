"""The ``proxy`` subresource of Pods, Services and Nodes: any request, passed on to a port of a pod or node."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.watchcache import decode_stored
from sublet.client import proxied
from sublet.client.exchange import Request, Response
from sublet.client.proxied import ProxyPath
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, ServiceUnavailable, not_found

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "content-length",
))  # fmt: skip
_CORS = frozenset(f"access-control-allow-{what}" for what in ("credentials", "headers", "methods", "origin"))
"""Who may read an answer across origins is this server's to say, not a pod's."""
_SLICES = "/registry/discovery.k8s.io/endpointslices/"
_MOST_REWRITTEN = 16 << 20
"""Bytes of a page up to which links in it are rewritten: it has to be held as a whole."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """What the pod or node answered, its redirects and the links of its pages kept below the proxy's path."""
    if api.pod_streams is None:
        raise ServiceUnavailable("this control plane has no connection to the nodes its pods run on")
    path = proxied.split(request.path)
    if path is None:
        raise BadRequest(f'invalid {info.resource.removesuffix("s")} request "{info.name}"')
    upgrading = "upgrade" in request.headers
    if not path.rest and request.method in ("GET", "HEAD") and not upgrading:
        query = f"?{request.query}" if request.query else ""
        return Response(301, [("Location", f"{request.path}/{query}")])
    sent = replace(request, headers={**request.headers, "x-forwarded-uri": path.prefix + path.target})
    response = await _send(sent, path, info, api)
    if response.status != 101:
        await _below(response, path, request.headers.get("host", ""))
    return response


async def _send(request: Request, path: ProxyPath, info: RequestInfo, api: APIServer) -> Response:
    streams = api.pod_streams
    if streams is None:
        raise ServiceUnavailable("this control plane has no connection to the nodes its pods run on")
    if info.resource == "nodes":
        return await streams.connect_node(await _read(api, "nodes", "", path.name), path, request)
    if info.resource == "pods":
        pod = await _read(api, "pods", info.namespace, path.name)
    else:
        pod, request = await _behind(request, path, info, api)
    return await streams.connect(pod, "proxy", request)


async def _below(response: Response, path: ProxyPath, host: str) -> None:
    """Makes the answer one that leads nowhere but below the proxy's path."""
    hosts = (host,) if host else ()
    headers: list[tuple[str, str]] = []
    kind = coding = ""
    moved = False
    for name, value in response.headers:
        lower = name.lower()
        if lower in _HOP or lower in _CORS:
            continue
        if lower == "location":
            moved, value = True, proxied.relocated(value, path.prefix, hosts)
        elif lower == "content-type":
            kind = value.partition(";")[0].strip()
        elif lower == "content-encoding":
            coding = value
        headers.append((name, value))
    response.headers = headers
    if kind == "text/html" and not moved and coding in ("", "gzip", "deflate"):
        response.body = await _page(response.body, coding, path, hosts)


async def _page(
    body: bytes | AsyncIterator[bytes], coding: str, path: ProxyPath, hosts: tuple[str, ...]
) -> bytes | AsyncIterator[bytes]:
    """The page with its links rewritten; as it came where it is too long or not what it says it is."""
    if isinstance(body, bytes):
        whole = body
    else:
        chunks: list[bytes] = []
        size = 0
        async for chunk in body:
            chunks.append(chunk)
            size += len(chunk)
            if size > _MOST_REWRITTEN:
                return _again(chunks, body)
        whole = b"".join(chunks)
    try:
        plain = (
            gzip.decompress(whole) if coding == "gzip" else zlib.decompress(whole, -15) if coding else whole
        )
        page = plain.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return whole
    from sublet.client import proxiedpages  # with a parser of HTML

    made = proxiedpages.rewritten(page, lambda link: proxied.relocated(link, path.prefix, hosts)).encode()
    if coding == "gzip":
        return gzip.compress(made)
    if coding:
        deflate = zlib.compressobj(wbits=-15)
        return deflate.compress(made) + deflate.flush()
    return made


async def _again(chunks: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    async for chunk in rest:
        yield chunk


async def _read(api: APIServer, plural: str, namespace: str, name: str) -> Object:
    kind = api.kinds.stored("", plural)
    if kind is None:
        raise not_found("", plural, name)
    return await api.registry.get(kind, namespace, name)


async def _behind(
    request: Request, path: ProxyPath, info: RequestInfo, api: APIServer
) -> tuple[Object, Request]:
    """A ready pod behind a Service's port, and the request as one for that pod."""
    service = await _read(api, "services", info.namespace, path.name)
    wanted = _port_name(service, path.port)
    found = False
    for endpoint, port in _endpoints(api, info.namespace, path.name):
        found = True
        target = endpoint.get("targetRef") or {}
        ready = (endpoint.get("conditions") or {}).get("ready", True)
        if port.get("name", "") == wanted and ready and target.get("kind") == "Pod":
            pod = await _read(api, "pods", info.namespace, target["name"])
            above = f"/api/v1/namespaces/{info.namespace}/pods"
            name = f"{path.scheme}:{target['name']}:{port['port']}"
            return pod, replace(request, path=f"{above}/{name}/proxy{path.target}")
    raise ServiceUnavailable(f'no endpoints available for service "{info.name if found else path.name}"')


def _port_name(service: Object, port: str) -> str:
    """The name of the Service's port that a number means; names are taken as they are."""
    if not port.isdigit():
        return port
    for each in (service.get("spec") or {}).get("ports") or ():
        if each.get("port") == int(port):
            return str(each.get("name", ""))
    name = (service.get("metadata") or {}).get("name", "")
    raise ServiceUnavailable(f'no service port {port} found for service "{name}"')


def _endpoints(
    api: APIServer, namespace: str, service: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(endpoint, port) of everything behind a Service."""
    cache = api.caches.cache(_SLICES)
    for entry in cache.entries(f"{_SLICES}{namespace}/"):
        slice_ = decode_stored(entry)
        labels = slice_["metadata"].get("labels") or {}
        if labels.get("kubernetes.io/service-name") != service:
            continue
        for port in slice_.get("ports") or ():
            if port.get("port"):
                for endpoint in slice_.get("endpoints") or ():
                    yield endpoint, port
