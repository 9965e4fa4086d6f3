"""Streams into pods of own nodes: requests to the node's agent, in the words that a kubelet understands.

So the agent may be ours or a kubelet, and our agent serves other API servers as well.
"""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import time
from urllib.parse import parse_qsl, urlencode

from msgspec.structs import replace

from sublet.client import proxied, tunnel
from sublet.client.client import Client
from sublet.client.credentials import ssl_context
from sublet.client.exchange import Request, Response
from sublet.client.kubeconfig import ClusterAccess
from sublet.client.proxied import ProxyPath
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, InternalError, NotFound, ServiceUnavailable

HOLLOW = "sublet.dev/hollow"
"""Label ``true`` of nodes that only report: their addresses and their pods' are made up, so nobody may dial them."""
_ADDRESS_ORDER = ("InternalIP", "ExternalIP", "Hostname", "InternalDNS")
_REMEMBER_SECONDS = 30.0
_STREAM_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error"}
_LOG_PARAMETERS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)
_DEFAULT_PORT = 10250


class NodeStreams:
    """``PodStreams`` for pods that run on nodes of this control plane.

    ``client`` reads Node objects. ``tls`` holds the client certificate that node agents trust (its ``server`` does not
    matter); with ``ca_data`` the agents' certificates are verified, else not, as they are usually self-signed.
    """

    def __init__(self, client: Client, tls: ClusterAccess) -> None:
        self._client = client
        self._tls = tls if tls.ca_data else replace(tls, insecure=True)
        self._nodes: dict[str, tuple[float, str]] = {}

    def renew(self, certificate: bytes, key: bytes) -> None:
        """Shows a renewed client certificate (PEM) to nodes from the next connection on."""
        self._tls = replace(self._tls, client_cert=certificate, client_key=key)

    async def connect(self, pod: Object, subresource: str, request: Request) -> Response:
        """See ``PodStreams``."""
        if subresource == "proxy":
            return await self._proxy(pod, request)
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            raise BadRequest(f"pod {objects.name(pod)} does not have a host assigned")
        path, query = agent_request(pod, subresource, request.query)
        try:
            return await self._ask(node, request, path, query)
        except ServiceUnavailable:
            # the node may have come back under another address or port
            if self._nodes.pop(node, None) is None:
                raise
            return await self._ask(node, request, path, query)

    async def _ask(self, node: str, request: Request, path: str, query: str) -> Response:
        server = await self._server(node)
        sent = replace(request, path=path, query=query)
        response = await tunnel.send(server, sent, path, (), ssl_context(replace(self._tls, server=server)))
        if response.status in (401, 403):
            raise InternalError(
                f"node {node} refuses this API server's client certificate: {(await tunnel.whole(response)).decode(errors='replace')}"
            )
        return response

    async def _server(self, node: str) -> str:
        now = time.monotonic()
        held = self._nodes.get(node)
        if held is not None and now - held[0] < _REMEMBER_SECONDS:
            return held[1]
        try:
            found = await self._client.get(resource("nodes"), node)
        except NotFound:
            raise NotFound(f'node "{node}" not found') from None
        _refuse_hollow(found)
        server = agent_address(found)
        self._nodes[node] = (now, server)
        return server

    async def _check_runs(self, node: str) -> None:
        """Raises ``ServiceUnavailable`` where the pods of a node exist in the API alone."""
        held = self._nodes.get(node)
        if held is not None and time.monotonic() - held[0] < _REMEMBER_SECONDS:
            return
        with contextlib.suppress(NotFound):
            _refuse_hollow(await self._client.get(resource("nodes"), node))

    async def connect_node(self, node: Object, path: ProxyPath, request: Request) -> Response:
        """See ``PodStreams``."""
        _refuse_hollow(node)
        kubelet = agent_address(node)
        host, _, port = kubelet.removeprefix("https://").rpartition(":")
        if path.port in ("", port):
            server, context = kubelet, ssl_context(replace(self._tls, server=kubelet))
        else:
            server = f"{path.scheme or 'http'}://{_proxyable(host)}:{_number(path.port)}"
            context = ssl_context(ClusterAccess(server, insecure=True)) if path.scheme == "https" else None
        return await self._pass_on(server, path, request, context)

    async def _proxy(self, pod: Object, request: Request) -> Response:
        found = proxied.split(request.path)
        if found is None:
            raise BadRequest(f'invalid pod request "{request.path}"')
        server = proxy_target(pod, found)
        if node := (pod.get("spec") or {}).get("nodeName"):
            await self._check_runs(node)
        context = ssl_context(ClusterAccess(server, insecure=True)) if found.scheme == "https" else None
        return await self._pass_on(server, found, request, context)

    async def _pass_on(
        self, server: str, path: ProxyPath, request: Request, context: ssl.SSLContext | None
    ) -> Response:
        try:
            return await tunnel.send(server, request, path.target, (), context)
        except ServiceUnavailable as error:
            raise ServiceUnavailable(f"error trying to reach service: {error.message}") from None


def _refuse_hollow(node: Object) -> None:
    """Raises :class:`ServiceUnavailable` for a node that only reports."""
    if objects.labels(node).get(HOLLOW) == "true":
        raise ServiceUnavailable(
            f"node {objects.name(node)} is hollow: it reports its pods as running and runs none, so there is nothing "
            "to connect to"
        )


def agent_address(node: Object) -> str:
    """``https://address:port`` of a node's agent. Raises :class:`ServiceUnavailable` when the node names none."""
    status = node.get("status") or {}
    by_type = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    address = next((by_type[kind] for kind in _ADDRESS_ORDER if by_type.get(kind)), "")
    endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    port = endpoint.get("Port") or _DEFAULT_PORT
    if not address:
        raise ServiceUnavailable(
            f"no preferred addresses found; known addresses of node {objects.name(node)}: []"
        )
    return f"https://{f'[{address}]' if ':' in address else address}:{port}"


def agent_request(pod: Object, subresource: str, query: str) -> tuple[str, str]:
    """(path, query) for the agent from a subresource's own query. Raises :class:`BadRequest`."""
    pairs = parse_qsl(query, keep_blank_values=True)
    where = f"{objects.namespace(pod)}/{objects.name(pod)}"
    if subresource == "portforward":
        ports = [("port", value) for name, value in pairs if name == "ports"]
        return f"/portForward/{where}", urlencode(ports)
    container = next((value for name, value in pairs if name == "container" and value), "")
    container = container or _only_container(pod)
    if subresource == "log":
        chosen = [(name, value) for name, value in pairs if name in _LOG_PARAMETERS and value]
        return f"/containerLogs/{where}/{container}", urlencode(chosen)
    if subresource not in ("exec", "attach"):
        raise BadRequest(f"pods have no subresource {subresource} to connect to")
    renamed = []
    for name, value in pairs:
        if name == "command" and subresource == "exec":
            renamed.append((name, value))
        elif name in (*_STREAM_NAMES, "tty") and value in ("true", "1", "True"):
            renamed.append((_STREAM_NAMES.get(name, name), "1"))
    return f"/{subresource}/{where}/{container}", urlencode(renamed)


def _only_container(pod: Object) -> str:
    containers = (pod.get("spec") or {}).get("containers") or []
    default = objects.annotations(pod).get("kubectl.kubernetes.io/default-container")
    if default or len(containers) == 1:
        return str(default or containers[0]["name"])
    names = " ".join(c["name"] for c in containers)
    raise BadRequest(
        f"a container name must be specified for pod {objects.name(pod)}, choose one of: [{names}]"
    )


def proxy_target(pod: Object, path: ProxyPath) -> str:
    """``http://ip:port`` of what a path to proxy means. Raises :class:`BadRequest`."""
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise BadRequest("address not allowed")
    host = _proxyable(f"[{address}]" if ":" in address else address)
    return f"{path.scheme or 'http'}://{host}:{_port(pod, path)}"


def _proxyable(host: str) -> str:
    """Raises :class:`BadRequest` for addresses that are the API server's own machine or link."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise BadRequest("address not allowed")
    return host


def _number(port: str) -> int:
    if not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise BadRequest(f'invalid port "{port}"')
    return int(port)


def _port(pod: Object, path: ProxyPath) -> int:
    """The port asked for, by number or name; else the first that a container declares."""
    if path.port.isdigit():
        return _number(path.port)
    for container in (pod.get("spec") or {}).get("containers") or []:
        for declared in container.get("ports") or []:
            if not path.port or declared.get("name") == path.port:
                return int(declared["containerPort"])
    if path.port:
        raise BadRequest(f'pod {objects.name(pod)} has no port named "{path.port}"')
    return 443 if path.scheme == "https" else 80
