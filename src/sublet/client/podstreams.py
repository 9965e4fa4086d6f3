"""The contract for logs, exec, attach, port-forward and proxying into pods and nodes: who carries the bytes.

``controlplane/assemble`` supplies one to the API server: the host cluster's (shared nodes, ``syncer/podstreams``)
or the node agent's (own nodes, ``client/nodestreams``). The API server has authorized the request before.
"""

from __future__ import annotations

from typing import Protocol

from sublet.client.exchange import Request, Response
from sublet.client.proxied import ProxyPath
from sublet.machinery.kind import Object


class PodStreams(Protocol):
    async def connect(self, pod: Object, subresource: str, request: Request) -> Response:
        """Carries one ``log``, ``exec``, ``attach``, ``portforward`` or ``proxy`` request to the pod's node.

        ``request.query`` holds the client's own parameters (container, command, follow …), defaults filled in;
        for ``proxy`` ``request.path`` is the full API path. Answers with a stream (log, proxy), with 101 and an
        ``upgrade`` that passes bytes both ways, or with the refusal the node gave. Raises ``StatusError``.
        """
        ...

    async def connect_node(self, node: Object, path: ProxyPath, request: Request) -> Response:
        """Carries a ``nodes/proxy`` request to the node's kubelet, or to another port of the node.

        ``path.port`` is ``""`` for the kubelet's. Answers what the node did. Raises ``StatusError``.
        """
        ...
