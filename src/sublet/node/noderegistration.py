"""Keeping one Node and its Lease alive in the API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.node import crimessages as m
from sublet.node.cri import CRI
from sublet.node.nodestatus import Runtime, node_object, node_status
from sublet.node.settings import NodeSettings

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
_WRITE_ANYWAY = 300.0


class NodeRegistration:
    """``port``: where the agent's endpoint listens."""

    def __init__(self, client: Client, cri: CRI, settings: NodeSettings, clock: Clock, port: int) -> None:
        self._client = client
        self._cri = cri
        self._settings = settings
        self._clock = clock
        self._port = port
        self._written: dict[str, Any] = {}
        self._written_at = float("-inf")
        self.node: Object = {}
        """The Node as last written or read."""
        self.runtime = Runtime()

    async def register(self) -> None:
        """Creates the Node, or takes over the one of this name. Raises ``StatusError``."""
        nodes, wanted = resource("nodes"), node_object(self._settings)
        try:
            self.node = await self._client.create(nodes, wanted)
        except AlreadyExists:
            patch = {"metadata": {key: wanted["metadata"][key] for key in ("labels", "annotations")}}
            self.node = await self._client.patch(nodes, self._settings.node_name, patch)
        self._written_at = float("-inf")
        await self.write_status()

    async def write_status(self) -> None:
        """Looks at machine and runtime, and writes when something changed or five minutes have passed."""
        self.runtime, images = await self._look()
        status = node_status(self._settings, self.runtime, images, self._port, self.node, self._clock.now())
        same = _without_heartbeat(status) == _without_heartbeat(self._written)
        if same and self._clock.monotonic() - self._written_at < _WRITE_ANYWAY:
            return
        patch = {"status": status}
        self.node = await self._client.patch(
            resource("nodes"), self._settings.node_name, patch, kind="strategic", subresource="status"
        )
        self._written, self._written_at = status, self._clock.monotonic()

    async def _look(self) -> tuple[Runtime, list[m.Image]]:
        try:
            version = await self._cri.version(timeout=5.0)
            status = (await self._cri.status()).status
            images = await self._cri.images()
        except StatusError as error:
            return Runtime(error=error.message), []
        name = f"{version.runtime_name}://{version.runtime_version}"
        return Runtime(name, tuple(status.conditions) if status else ()), images

    async def renew_lease(self) -> None:
        leases, name = resource("leases.coordination.k8s.io"), self._settings.node_name
        now = objects.rfc3339_micro(self._clock.now())
        try:
            await self._client.patch(leases, name, {"spec": {"renewTime": now}}, LEASE_NAMESPACE)
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": objects.uid(self.node)}
            spec = {
                "holderIdentity": name,
                "leaseDurationSeconds": self._settings.lease_seconds,
                "renewTime": now,
            }
            metadata = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
            lease = {
                "apiVersion": leases.api_version, "kind": leases.kind, "metadata": metadata, "spec": spec
            }  # fmt: skip
            await self._client.create(leases, lease)

    async def run(self) -> None:
        """Registers, then keeps lease and status fresh until cancelled; an API that is away is tried again."""
        await self._until_done("registering the node", self.register)
        await asyncio.gather(
            self._repeat("renewing the node's lease", self.renew_lease, self._settings.lease_period),
            self._repeat("writing the node's status", self._status_or_register, self._settings.status_period),
        )

    async def _status_or_register(self) -> None:
        try:
            await self.write_status()
        except NotFound:
            log.warning("the Node is gone from the API; registering it again")
            await self.register()

    async def _until_done(self, what: str, work: Callable[[], Any]) -> None:
        delay = 0.2
        while True:
            try:
                await work()
                return
            except StatusError as error:
                log.warning("%s: %s", what, error.message)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 10.0)

    async def _repeat(self, what: str, work: Callable[[], Any], period: float) -> None:
        while True:
            await self._until_done(what, work)
            await asyncio.sleep(period)


def _without_heartbeat(status: dict[str, Any]) -> dict[str, Any]:
    conditions = [
        {key: value for key, value in c.items() if key != "lastHeartbeatTime"}
        for c in status.get("conditions") or []
    ]
    return {**status, "conditions": conditions}
