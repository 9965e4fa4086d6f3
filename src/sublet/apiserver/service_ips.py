"""ClusterIPs: one IPAddress object per address that a Service holds (reference B.21)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from sublet.apiserver import stored
from sublet.apiserver.deletion import DeleteOptions
from sublet.apiserver.options import WriteOptions
from sublet.apiserver.registry import Registry
from sublet.apiserver.writing import Write
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import AlreadyExists, FieldError, NotFound, internal_error, invalid

NETWORKING = "networking.k8s.io"
MANAGER = "ipallocator.k8s.io"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
_USER = User("system:apiserver", ("system:masters", "system:authenticated"))
_TRIES = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(Exception):
    """An address that cannot be had; ``error`` says so about a field of the Service."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(str(error))
        self.error = error


class ServiceIPs:
    """Takes addresses from the server's own range and from every ready ServiceCIDR.

    Two servers on one store never give out the same: the object decides.
    """

    def __init__(self, registry: Registry, cidr: str) -> None:
        self._registry = registry
        self._promised: set[str] = set()
        self.network: Network = ipaddress.ip_network(cidr)

    @property
    def family(self) -> str:
        return f"IPv{self.network.version}"

    @property
    def in_memory(self) -> bool:
        """Whether no object says which addresses are taken (a minor without IPAddress)."""
        return self._kind() is None

    @property
    def first(self) -> str:
        """The address of ``default/kubernetes``."""
        return str(self.network[1])

    async def take(self, service: Object, wanted: str = "", *, dry_run: bool = False) -> str:
        """Reserves ``wanted``, or any free address.

        Raises :class:`Refused` where ``wanted`` cannot be had, and InternalError where none is free.
        """
        if wanted:
            self._check(wanted)
            if not await self._reserve(service, wanted, dry_run):
                why = f"failed to allocate IP {wanted}: provided IP is already allocated"
                raise Refused(invalid("spec.clusterIPs", [wanted], why))
            return wanted
        taken = self.taken()
        for network in self.networks():
            for candidate in self._candidates(network, taken):
                if await self._reserve(service, candidate, dry_run):
                    return candidate
        raise internal_error("failed to allocate a serviceIP: range is full")

    def _check(self, wanted: str) -> None:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            raise Refused(
                invalid(
                    "spec.clusterIPs[0]",
                    wanted,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                )
            ) from None
        if not self.covers(address):
            why = (
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {self.network}"
            )
            raise Refused(invalid("spec.clusterIPs", [wanted], why))

    def covers(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether an address can be had from one of the ranges: it is inside, and not at the edge."""
        return any(
            address in network
            and address != network[0]
            and not (network.version == 4 and address == network[-1])
            for network in self.networks()
        )

    def networks(self) -> list[Network]:
        """The ranges of this server's family: its own first, then those of ServiceCIDRs that are ready."""
        kind = self._registry.kinds.stored(NETWORKING, "servicecidrs")
        found = [self.network]
        for entry in self._registry.cache(kind).entries() if kind is not None else ():
            cidr = entry.object
            stated = [ipaddress.ip_network(each) for each in (cidr.get("spec") or {}).get("cidrs") or ()]
            if objects.is_deleting(cidr):
                found = [each for each in found if each not in stated]
            elif objects.is_true(cidr, "Ready"):
                found += [
                    each for each in stated if each.version == self.network.version and each not in found
                ]
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
                    "ipaddress.kubernetes.io/ip-family": self.family,
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
        options = WriteOptions(dry_run=dry_run, manager="kube-apiserver")
        try:
            await self._registry.create(kind, obj, "", Write(_USER, kind.resource, options))
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
        return live is None or address not in ((live.object.get("spec") or {}).get("clusterIPs") or ())

    async def release(self, address: str) -> None:
        """Gives an address back."""
        kind = self._kind()
        if kind is None:
            return
        try:
            await self._registry.delete(kind, "", address, DeleteOptions(), Write(_USER, kind.resource))
        except NotFound:
            return

    def _kind(self) -> Kind | None:
        return self._registry.kinds.stored(NETWORKING, "ipaddresses")


def held(service: Object | None) -> list[str]:
    """The addresses of a Service that are real ones."""
    spec: dict[str, Any] = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [ip for ip in ips if ip and ip != "None"]
