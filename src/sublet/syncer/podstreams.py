"""Logs, exec, attach, port-forward and proxying of tenant pods: carried by the host's API server."""

from __future__ import annotations

from sublet.client.client import Client
from sublet.client.exchange import Request, Response
from sublet.client.kubeconfig import ClusterAccess
from sublet.machinery.kind import Object
from sublet.syncer.mapping import Mapping


class HostPodStreams:
    """Implements ``client.podstreams.PodStreams``. ``host`` and ``access`` are the same cluster and user."""

    def __init__(self, access: ClusterAccess, host: Client, mapping: Mapping) -> None:
        self._access = access
        self._host = host
        self._mapping = mapping

    async def connect(self, pod: Object, subresource: str, request: Request) -> Response:
        raise NotImplementedError
