"""Where pods reach the API servers of a control plane: Endpoints and EndpointSlice of ``default/kubernetes``.

Several servers may share a store. Each tells its address in its own Lease and publishes those of all that live, as
upstream's lease-based reconciler.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any

from sublet.apiserver import bootstrap
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, NotFound

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

ANNOTATION = "sublet.dev/advertise-address"
"""On a server's identity Lease: the address at which it is reached."""
_SILENT_SECONDS = 30.0
"""A server whose Lease was not renewed for so long is gone."""


class OwnEndpoint:
    """The endpoint of one API server, and those of the others that it sees."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self._seen: dict[str, tuple[str, float]] = {}
        """Name of another server's Lease -> (when it says it was renewed, when by our clock we saw that)."""
        self._withdrawn = False

    @property
    def advertised(self) -> str:
        """The address at which pods reach this server; ``""`` where there is none."""
        address = self._api.settings.advertise_address
        return "" if not address or ipaddress.ip_address(address).is_loopback else address

    async def publish(self) -> None:
        """Puts both objects right. A server that only its own machine reaches shows the machine's address as not
        ready: whoever asks for the endpoint finds it, and nobody is sent there."""
        await self._publish(await self._live())

    async def withdraw(self) -> None:
        """Takes this server's address away, since it is going; the last one's stays."""
        self._withdrawn = True
        if live := await self._live():
            await self._publish(live)

    async def _publish(self, live: list[str]) -> None:
        ready = bool(live)
        addresses = live or ([found] if (found := self._api.settings.machine_address) else [])
        if addresses:
            await asyncio.gather(
                _put(self._api, "endpoints", self._endpoints(addresses, ready), ("subsets",)),
                _put(
                    self._api,
                    "endpointslices.discovery.k8s.io",
                    self._slice(addresses, ready),
                    ("endpoints", "ports"),
                ),
            )

    async def _live(self) -> list[str]:
        """The addresses of all servers that live, in order."""
        found = {self.advertised} if self.advertised and not self._withdrawn else set()
        now = self._api.clock.monotonic()
        for lease in await self._api.reader.list("coordination.k8s.io", "leases", "kube-system"):
            address = objects.annotations(lease).get(ANNOTATION, "")
            if address and objects.name(lease) != self._api.identity.name and self._lives(lease, now):
                found.add(address)
        return sorted(found)

    def _lives(self, lease: Object, now: float) -> bool:
        """Clocks of machines need not agree: what counts is when a renewal was seen, but for the first time."""
        name, renewed = objects.name(lease), str((lease.get("spec") or {}).get("renewTime") or "")
        before = self._seen.get(name)
        if before is None:
            age = self._api.clock.now() - objects.parse_time(renewed) if renewed else _SILENT_SECONDS
            before = self._seen[name] = (renewed, now - max(0.0, age))
        elif before[0] != renewed:
            before = self._seen[name] = (renewed, now)
        return now - before[1] < _SILENT_SECONDS

    def _ports(self) -> list[Object]:
        return [{"name": "https", "port": self._api.settings.secure_port, "protocol": "TCP"}]

    def _endpoints(self, addresses: list[str], ready: bool) -> Object:
        shown = [{"ip": address} for address in addresses]
        return {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses" if ready else "notReadyAddresses": shown, "ports": self._ports()}],
        }

    def _slice(self, addresses: list[str], ready: bool) -> Object:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
            "ports": self._ports(),
        }


async def _put(api: APIServer, name: str, wanted: Object, parts: tuple[str, ...]) -> None:
    if await bootstrap.ensure(api, name, wanted):
        return
    where = resource(name)
    current = await api.reader.get(where.group, where.plural, "default", "kubernetes")
    if current is None or all(_covers(current.get(part), wanted[part]) for part in parts):
        return
    if "addressType" in wanted and current.get("addressType") != wanted["addressType"]:
        await api.client.delete(where, "kubernetes", "default")
        await api.client.create(where, wanted, "default")
        return
    try:
        await api.client.update(where, {**current, **{part: wanted[part] for part in parts}})
    except (Conflict, NotFound):
        # Somebody else was quicker; the next round looks again.
        return


def _covers(current: Any, wanted: Any) -> bool:
    """Whether everything wanted is there; defaults that were added do not count."""
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(_covers(current.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(current, list)
            and len(current) == len(wanted)
            and all(_covers(c, w) for c, w in zip(current, wanted, strict=True))
        )
    return bool(current == wanted)
