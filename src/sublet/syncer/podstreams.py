"""Logs, exec, attach, port-forward and proxying of tenant pods: carried by the host's API server.

The host asks its node agents as for any pod of its own, so nothing else need be reachable from here. Bytes pass
unchanged, SPDY and WebSocket alike.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec.structs import replace

from sublet.client import proxied, tunnel
from sublet.client.client import Client
from sublet.client.exchange import Request, Response
from sublet.client.kubeconfig import ClusterAccess
from sublet.client.proxied import ProxyPath
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, Forbidden, NotFound, ServiceUnavailable, not_found
from sublet.syncer.mapping import Mapping

_PODS = resource("pods")
_SUBRESOURCES = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_PROTOCOLS = "sec-websocket-protocol"
_BEARER = "base64url.bearer.authorization.k8s.io."


class HostPodStreams:
    """Implements ``client.podstreams.PodStreams``. ``host`` and ``access`` are the same cluster and user."""

    def __init__(self, access: ClusterAccess, host: Client, mapping: Mapping) -> None:
        self._access = access
        self._host = host
        self._mapping = mapping

    async def connect(self, pod: Object, subresource: str, request: Request) -> Response:
        """See ``PodStreams``. Raises ``StatusError``; nothing that is said names the host's objects."""
        if subresource not in _SUBRESOURCES:
            raise BadRequest(f"pods have no subresource {subresource} to connect to")
        copy = await self._copy(pod)
        path = _PODS.path(self._mapping.host_namespace, copy, subresource)
        if subresource == "proxy":
            path = _PODS.path(self._mapping.host_namespace) + proxied_path(
                request.path, objects.name(pod), copy
            )
        sent = replace(request, path=path, headers=host_headers(request))
        response = await tunnel.forward(self._access, sent)
        if response.status in (401, 403) and subresource != "proxy":
            raise Forbidden(f"the host does not allow this tenant {subresource} of pods")
        if response.status < 400 or subresource == "proxy":
            return response
        return await self._in_tenant_words(response, pod, copy)

    async def connect_node(self, node: Object, path: ProxyPath, request: Request) -> Response:
        """See ``PodStreams``. The host's nodes are its own: what runs on them is not this tenant's alone."""
        raise ServiceUnavailable(
            f"error trying to reach service: node {objects.name(node)} is shared, its kubelet answers its own cluster only"
        )

    async def _copy(self, pod: Object) -> str:
        """The host pod's name, once it is certain that it is this pod's copy and not somebody else's."""
        name, namespace = objects.name(pod), objects.namespace(pod)
        copy = self._mapping.host_name(name, namespace)
        try:
            found = await self._host.get(_PODS, copy, self._mapping.host_namespace)
        except NotFound:
            found = None
        if found is None or self._mapping.tenant_key(found, _PODS) != objects.key(pod):
            raise ServiceUnavailable(f'pod "{name}" has not been started on the host yet', retry_after=1)
        if self._mapping.tenant_uid(found) != objects.uid(pod):
            raise not_found("", "pods", name)
        return copy

    async def _in_tenant_words(self, response: Response, pod: Object, copy: str) -> Response:
        text = (await tunnel.whole(response)).decode(errors="replace")
        text = self._mapping.sanitise(text, copy, objects.name(pod), objects.namespace(pod))
        headers = [
            (k, v) for k, v in response.headers if k.lower() not in ("content-length", "transfer-encoding")
        ]
        return Response(response.status, headers, text.encode())


def proxied_path(path: str, name: str, copy: str) -> str:
    """``/[SCHEME:]COPY[:PORT]/proxy/rest`` for a tenant's ``…/pods/[SCHEME:]NAME[:PORT]/proxy/rest``."""
    found = proxied.split(path)
    if found is None or found.plural != "pods":
        raise BadRequest(f"{path} is not a path to proxy")
    if found.name != name:
        raise BadRequest(f"{path} does not name the pod {name}")
    parts = [found.scheme, copy, found.port] if found.scheme else [copy, found.port] if found.port else [copy]
    return f"/{quote(':'.join(parts), safe=':')}/proxy{found.target if found.rest else ''}"


def host_headers(request: Request) -> dict[str, str]:
    """The headers that the host may see: who asks in the tenant is none of its business, nor are their tokens."""
    kept = {}
    for name, value in request.headers.items():
        if name.startswith(("impersonate-", "x-remote-")) or name in ("authorization", "cookie"):
            continue
        if name == _PROTOCOLS:
            value = ", ".join(
                each for each in (p.strip() for p in value.split(",")) if not each.startswith(_BEARER)
            )
        kept[name] = value
    return kept
