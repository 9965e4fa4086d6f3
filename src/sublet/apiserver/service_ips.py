"""ClusterIPs: one IPAddress object per address that a Service holds (reference B.21)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from sublet.apiserver import stored
from sublet.apiserver.deletion import DeleteOptions
from sublet.apiserver.options import WriteOptions
from sublet.apiserver.registry import Registry
from sublet.apiserver.release import SERVER
from sublet.apiserver.writing import SYSTEM_USER, Write
from sublet.machinery import names, networks, objects
from sublet.machinery.kind import Kind, Object
from sublet.machinery.networks import Network
from sublet.machinery.status import AlreadyExists, NotFound, internal_error

NETWORKING = "networking.k8s.io"
MANAGER = "ipallocator.k8s.io"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
_TRIES = 64


class Refused(Exception):
    """An address that cannot be had; ``str()`` says why."""


class ServiceIPs:
    """Takes addresses from the server's own range of a family and from every ready ServiceCIDR.

    Two servers on one store never give out the same: the object decides.
    """

    def __init__(self, registry: Registry, cidr: str) -> None:
        self._registry = registry
        self._promised: set[str] = set()
        self.ranges = networks.service_ranges(cidr)

    @property
    def families(self) -> tuple[str, ...]:
        """Those of the server's ranges, the primary one first."""
        return tuple(f"IPv{each.version}" for each in self.ranges)

    @property
    def in_memory(self) -> bool:
        """Whether no object says which addresses are taken (a minor without IPAddress)."""
        return self._kind() is None

    async def take(self, service: Object, family: str, wanted: str = "", *, dry_run: bool = False) -> str:
        """Reserves ``wanted``, which is in a range (see :meth:`outside`), or any free address of a family.

        Raises :class:`Refused` where ``wanted`` is another's, and InternalError where none is free.
        """
        if wanted:
            if not await self._reserve(service, canonical(wanted), dry_run):
                raise Refused("provided IP is already allocated")
            return wanted
        taken = self.taken()
        for network in self.networks(family):
            for candidate in self._candidates(network, taken):
                if await self._reserve(service, candidate, dry_run):
                    return candidate
        raise internal_error("failed to allocate a serviceIP: range is full")

    def outside(self, wanted: str) -> str:
        """Why an address is none of the ranges'; empty where it is one."""
        found, _ = names.read_ip(wanted)
        if found is None:
            return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        if self.covers(found):
            return ""
        if not self.in_memory:
            return "the provided network does not match the current range"
        own = next((each for each in self.ranges if each.version == found.version), self.ranges[0])
        return f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {own}"

    def covers(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether an address can be had from one of the ranges: it is inside, and not at the edge."""
        return any(
            address in network
            and address != network[0]
            and not (network.version == 4 and address == network[-1])
            for network in self.networks()
        )

    def networks(self, family: str = "") -> list[Network]:
        """The ranges of a family (empty: all there are here): the server's own first, then those of ready ServiceCIDRs."""
        families = (family,) if family else self.families
        kind = self._registry.kinds.stored(NETWORKING, "servicecidrs")
        found = [each for each in self.ranges if f"IPv{each.version}" in families]
        for entry in self._registry.cache(kind).entries() if kind is not None else ():
            cidr = entry.object
            stated = [
                ipaddress.ip_network(each)
                for each in (cidr.get("spec") or {}).get("cidrs") or ()
                if networks.family(each) in families
            ]
            if objects.is_deleting(cidr):
                found = [each for each in found if each not in stated]
            elif _is_ready(cidr):
                found += [each for each in stated if each not in found]
        return found

    def _candidates(self, network: Network, taken: set[str]) -> list[str]:
        """Addresses that look free: some at random from the upper band, then every one in order."""
        size = network.num_addresses - (2 if network.version == 4 else 1)
        if size <= 0:
            return []

        def free(offset: int) -> str:
            address = str(network[offset])
            return "" if address in taken else address

        # The lower band is left to addresses that people choose by hand.
        band = min(max(16, size // 16), 256) if size > 16 else 0
        low = band + 1 if band < size else 1
        drawn = [self._registry.rng.randint(low, size) for _ in range(_TRIES)]
        found = [address for offset in drawn if (address := free(offset))]
        if not found:
            rest = min(size, 1 << 16)
            found = [address for offset in range(1, rest + 1) if (address := free(offset))]
        return list(dict.fromkeys(found))

    def taken(self) -> set[str]:
        """Every address in use, as far as the caches show."""
        kind = self._kind()
        if kind is not None:
            prefix = stored.key_prefix(kind.resource)
            return {stored.place(entry.key, prefix)[1] for entry in self._registry.cache(kind).entries()}
        services = self._registry.kinds.stored("", "services")
        entries = self._registry.cache(services).entries() if services is not None else ()
        return self._promised.union(*(held(entry.object) for entry in entries))

    def settled(self, addresses: Iterable[str]) -> None:
        """The Services that these were taken for are stored, or will not be."""
        self._promised.difference_update(addresses)

    async def _reserve(self, service: Object, address: str, dry_run: bool) -> bool:
        kind = self._kind()
        if kind is None:
            # A minor without IPAddress: what the Services say is all there is.
            if address in self.taken():
                return False
            self._promised.add(address)
            return True
        metadata = service["metadata"]
        obj: Object = {
            "apiVersion": kind.resource.api_version,
            "kind": kind.resource.kind,
            "metadata": {
                "name": address,
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": networks.family(address),
                    MANAGED_BY: MANAGER,
                },
            },
            "spec": {
                "parentRef": {
                    "group": "",
                    "resource": "services",
                    "namespace": metadata.get("namespace", ""),
                    "name": metadata["name"],
                }
            },
        }
        options = WriteOptions(dry_run=dry_run, manager=SERVER)
        try:
            await self._registry.create(kind, obj, "", Write(SYSTEM_USER, kind.resource, options))
        except AlreadyExists:
            return await self._is_ours(service, address)
        return True

    async def hold(self, service: Object, address: str) -> bool:
        """Takes the address that a stored Service has; whether it was to be had."""
        return await self._reserve(service, address, dry_run=False)

    async def _is_ours(self, service: Object, address: str) -> bool:
        """Whether an address is held for this very Service and by no live one (a crash came between)."""
        kind = self._kind()
        entry = await self._registry.entry(kind, "", address) if kind is not None else None
        if entry is None:
            return False
        parent = (entry.object.get("spec") or {}).get("parentRef") or {}
        metadata = service["metadata"]
        mine = (parent.get("namespace"), parent.get("name")) == (metadata.get("namespace"), metadata["name"])
        if not mine:
            return False
        services = self._registry.kinds.stored("", "services")
        if services is None:
            return False
        live = await self._registry.entry(services, metadata.get("namespace", ""), metadata["name"])
        return live is None or address not in held(live.object)

    async def release(self, address: str) -> None:
        """Gives an address back."""
        kind = self._kind()
        if kind is None:
            return
        try:
            await self._registry.delete(kind, "", address, DeleteOptions(), Write(SYSTEM_USER, kind.resource))
        except NotFound:
            return

    def _kind(self) -> Kind | None:
        return self._registry.kinds.stored(NETWORKING, "ipaddresses")


def _is_ready(cidr: Object) -> bool:
    """Whether a ServiceCIDR may be used: what nobody has judged may."""
    return objects.condition(cidr, "Ready") is None or objects.is_true(cidr, "Ready")


def canonical(address: str) -> str:
    """The one form of an address, by which its IPAddress is named; what is no address stays."""
    found, _ = names.read_ip(address)
    return address if found is None else str(found)


def held(service: Object | None) -> list[str]:
    """The addresses of a Service that are real ones, in canonical form."""
    spec: dict[str, Any] = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [canonical(ip) for ip in ips if ip and ip != "None"]
