"""ClusterIPs and node ports of tenant Services: the host gives them, before the tenant's Service exists."""

from __future__ import annotations

from sublet.client.client import Client
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.syncer.settings import SyncerSettings


class HostServices:
    """The ``service_allocator`` of the tenant's API server."""

    def __init__(self, host: Client, settings: SyncerSettings, clock: Clock | None = None) -> None:
        self._host = host
        self._settings = settings

    async def allocate(self, service: Object, dry_run: bool = False) -> Object:
        """The Service with what the host gave it; the host's copy exists afterwards (unless ``dry_run``)."""
        raise NotImplementedError

    async def release(self, service: Object) -> None:
        """Takes the host's copy back: the tenant's Service was not stored."""
        raise NotImplementedError
