"""Services whose addresses another cluster gives: for tenants on shared nodes, where the host's proxies serve them."""

from __future__ import annotations

from typing import Protocol

from sublet.apiserver import service_endpoints
from sublet.apiserver.registry import Registry
from sublet.apiserver.writing import Transaction
from sublet.machinery import objects
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import already_exists


class Allocation(Protocol):
    """What was taken for one Service."""

    @property
    def service(self) -> Object:
        """The Service with its addresses and ports."""
        ...

    async def undo(self) -> None:
        """The Service was not stored: gives everything back."""
        ...


class ServiceAllocator(Protocol):
    """Asked before a new Service is stored, and before one gets addresses that had none (ExternalName)."""

    async def allocate(self, service: Object, dry_run: bool) -> Allocation:
        """Raises a ``StatusError`` that the client gets."""
        ...


class _Taken:
    def __init__(self, allocation: Allocation, dry_run: bool) -> None:
        self._allocation = allocation
        self._dry_run = dry_run

    async def commit(self) -> None:
        """What was taken is the Service's now."""

    async def undo(self) -> None:
        if not self._dry_run:
            await self._allocation.undo()


class HostedServiceDuty:
    """The :class:`~sublet.apiserver.registry.Duty` of Services in place of ``ServiceDuty``."""

    def __init__(self, registry: Registry, allocator: ServiceAllocator) -> None:
        self._registry = registry
        self._allocator = allocator

    async def settle(self, kind: Kind, new: Object, old: Object | None) -> None:
        """Families are the other cluster's to choose."""

    async def begin(self, new: Object | None, old: Object | None, dry_run: bool) -> Transaction | None:
        if new is None:
            return None
        if old is None:
            await self._refuse_existing(new)
        elif not _gets_addresses(new, old):
            return None
        allocation = await self._allocator.allocate(new, dry_run)
        new["spec"] = allocation.service["spec"]
        return _Taken(allocation, dry_run)

    async def wrote(self, new: Object | None, old: Object | None) -> None:
        """Whoever gave the addresses watches the Services itself and takes them back."""
        if new is None and old is not None:
            await service_endpoints.follow(self._registry, old)

    async def _refuse_existing(self, new: Object) -> None:
        """Before anything is taken for it."""
        kind = self._registry.kinds.stored("", "services")
        namespace, name = objects.namespace(new), objects.name(new)
        if kind is not None and await self._registry.entry(kind, namespace, name) is not None:
            raise already_exists("", "services", name)


def _gets_addresses(new: Object, old: Object) -> bool:
    before, after = (obj["spec"].get("type") for obj in (old, new))
    return bool(before == "ExternalName" and after != "ExternalName")
