"""Puts ClusterIPs and IPAddresses right where they disagree: after a crash between two writes, or by somebody's hand.

Source: kube-apiserver's ipallocator repair loop. Addresses of Services that no IPAddress holds are held again; an
IPAddress that no Service has is removed, once it is old enough not to belong to a Service that is just being made.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from sublet.apiserver.registry import Registry
from sublet.apiserver.service_ips import MANAGED_BY, MANAGER, NETWORKING, ServiceIPs, held
from sublet.client.events import EventRecorder
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Kind, Object

PERIOD = 180.0
"""Seconds between two looks."""
GRACE = 60.0
"""Seconds that an IPAddress may be without its Service."""
SOURCE = "ipallocator-repair-controller"
_SERVICES = resource("services")
_ADDRESSES = resource("ipaddresses.networking.k8s.io")


class ServiceRepair:
    """Every look reads caches first; what seems wrong is read again from the store before it is changed."""

    def __init__(self, registry: Registry, ips: ServiceIPs, events: EventRecorder) -> None:
        self._registry = registry
        self._ips = ips
        self._events = events

    async def stop(self) -> None:
        """Writes the events that wait."""
        await self._events.close(0.5)

    async def look(self) -> int:
        """Repairs everything once; how many addresses were held again or given back."""
        services = self._registry.kinds.stored("", "services")
        addresses = self._registry.kinds.stored(NETWORKING, "ipaddresses")
        if services is None or addresses is None:
            return 0
        repaired = 0
        for service, ip in list(self._unheld(services)):
            repaired += await self._hold(services, addresses, service, ip)
        for address in list(self._unused(services, addresses)):
            repaired += await self._give_back(services, address)
        return repaired

    def _unheld(self, services: Kind) -> Iterator[tuple[Object, str]]:
        taken = self._ips.taken()
        for entry in self._registry.cache(services).entries():
            for ip in held(entry.object):
                if ip not in taken:
                    yield entry.object, ip

    async def _hold(self, services: Kind, addresses: Kind, seen: Object, ip: str) -> int:
        namespace, name = objects.namespace(seen), objects.name(seen)
        live = await self._registry.entry(services, namespace, name)
        if live is None or ip not in held(live.object):
            return 0
        if await self._registry.entry(addresses, "", ip) is not None:
            return 0
        family = f"IPv{ipaddress.ip_address(ip).version}"
        if not self._ips.covers(ipaddress.ip_address(ip)):
            text = f"Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
            self._tell(live.object, "ClusterIPOutOfRange", text)
            return 0
        text = f"Cluster IP [{family}]: {ip} is not allocated; repairing"
        self._tell(live.object, "ClusterIPNotAllocated", text)
        return int(await self._ips.hold(live.object, ip))

    def _unused(self, services: Kind, addresses: Kind) -> Iterator[Object]:
        users: dict[str, set[tuple[str, str]]] = {}
        for entry in self._registry.cache(services).entries():
            for ip in held(entry.object):
                users.setdefault(ip, set()).add((objects.namespace(entry.object), objects.name(entry.object)))
        before = self._registry.clock.now() - GRACE
        for entry in self._registry.cache(addresses).entries():
            address = entry.object
            if objects.labels(address).get(MANAGED_BY) != MANAGER:
                continue
            created = objects.parse_time(
                address["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z"
            )
            if created < before and _parent(address) not in users.get(objects.name(address), ()):
                yield address

    async def _give_back(self, services: Kind, address: Object) -> int:
        namespace, name = _parent(address)
        ip = objects.name(address)
        live = await self._registry.entry(services, namespace, name) if name else None
        if live is not None and ip in held(live.object):
            return 0
        if live is None:
            reason, what = "IPAddressNotAllocated", "appears to have leaked: cleaning up"
        else:
            reason, what = "IPAddressWrongReference", "has a wrong reference; cleaning up"
        text = f"IPAddress: {ip} for Service {namespace}/{name} {what}"
        self._events.event(address, _ADDRESSES, "Warning", reason, text)
        await self._ips.release(ip)
        return 1

    def _tell(self, service: Object, reason: str, message: str) -> None:
        self._events.event(service, _SERVICES, "Warning", reason, message)


def _parent(address: Object) -> tuple[str, str]:
    """(namespace, name) of the Service an IPAddress is for; empty names where it is for none."""
    parent = (address.get("spec") or {}).get("parentRef") or {}
    if parent.get("resource") != "services":
        return "", ""
    return str(parent.get("namespace") or ""), str(parent.get("name") or "")
