"""Who this server is: the Lease ``apiserver-…`` in kube-system, renewed while it runs (upstream's APIServerIdentity)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import socket
import uuid
from typing import TYPE_CHECKING

from sublet.apiserver.endpoint import ANNOTATION
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, StatusError
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

LABEL = "apiserver.kubernetes.io/identity"
RENEW = 10.0
_LEASE_SECONDS = 3600
_GROUP, _NAMESPACE = "coordination.k8s.io", "kube-system"


class Identity:
    """Runs from :meth:`start` to :meth:`stop`; leases of servers that are long gone are removed.

    The lease says where pods reach the server, so that all of them can publish the endpoints of all.
    """

    def __init__(self, api: APIServer, host: str = "") -> None:
        self._api = api
        self._host = host or socket.gethostname()
        digest = hashlib.sha256(f"kube-apiserver-{self._host}".encode()).digest()
        self.name = "apiserver-" + base64.b32encode(digest).decode().lower().rstrip("=")[:26]
        self._holder = f"{self.name}_{uuid.UUID(int=api.rng.getrandbits(128), version=4)}"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes or renews the lease where it is due: a restart within moments writes nothing. Raises as writes do."""
        first = await self._fresh_for()
        if not first:
            await self.renew()
        self._task = asyncio.get_running_loop().create_task(
            self._run(first or RENEW), name="API server identity"
        )

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self, first: float) -> None:
        await asyncio.sleep(first)
        while True:
            try:
                await self.renew()
                await self.remove_expired()
                await self._api.endpoint.publish()
            except (StatusError, StoreError) as error:
                _log.warning("the lease %s or its endpoint could not be renewed: %s", self.name, error)
            await asyncio.sleep(RENEW)

    async def _fresh_for(self) -> float:
        """Seconds until the lease is due."""
        lease = await self._api.reader.get(_GROUP, "leases", _NAMESPACE, self.name)
        renewed = ((lease or {}).get("spec") or {}).get("renewTime")
        if not renewed or self._told(lease or {}) != self._api.endpoint.advertised:
            return 0.0
        return max(0.0, min(RENEW, objects.parse_time(renewed) + RENEW - self._api.clock.now()))

    async def renew(self) -> None:
        """Makes the lease, or says that its holder is still there."""
        now = objects.rfc3339_micro(self._api.clock.now())
        spec = {"holderIdentity": self._holder, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}

        def edit(lease: Object) -> bool:
            before = lease.get("spec") or {}
            kept = {key: value for key, value in before.items() if key == "acquireTime"}
            lease["spec"] = {**kept, **spec}
            if self._told(lease) != self._api.endpoint.advertised:
                lease["metadata"]["annotations"] = {**objects.annotations(lease), **self._annotations()}
            return True

        if await self._api.reader.update(_GROUP, "leases", _NAMESPACE, self.name, edit, "") is not None:
            return
        lease: Object = {
            "metadata": {
                "name": self.name,
                "namespace": _NAMESPACE,
                "labels": {LABEL: "kube-apiserver", "kubernetes.io/hostname": self._host.lower()},
            },
            "spec": spec,
        }
        if annotations := self._annotations():
            lease["metadata"]["annotations"] = annotations
        try:
            await self._api.client.create(resource(f"leases.{_GROUP}"), lease)
        except AlreadyExists:
            return

    def _annotations(self) -> dict[str, str]:
        address = self._api.endpoint.advertised
        return {ANNOTATION: address} if address else {}

    @staticmethod
    def _told(lease: Object) -> str:
        return objects.annotations(lease).get(ANNOTATION, "")

    async def remove_expired(self) -> None:
        now = self._api.clock.now()
        for lease in await self._api.reader.list(_GROUP, "leases", _NAMESPACE):
            spec = lease.get("spec") or {}
            if objects.labels(lease).get(LABEL) != "kube-apiserver" or not spec.get("renewTime"):
                continue
            if objects.parse_time(spec["renewTime"]) + float(spec.get("leaseDurationSeconds") or 0) < now:
                await self._api.client.delete(resource(f"leases.{_GROUP}"), objects.name(lease), _NAMESPACE)
