"""Keeps a tenant's objects and their host copies equal."""

from __future__ import annotations

import random

from sublet.client.client import Client
from sublet.machinery.clock import Clock
from sublet.syncer.settings import SyncerSettings


class Syncer:
    """``tenant`` acts with full rights in the tenant's API, ``host`` with the tenant's Role in its host namespace."""

    def __init__(
        self,
        tenant: Client,
        host: Client,
        settings: SyncerSettings,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.tenant = tenant
        self.host = host
        self.settings = settings

    async def start(self) -> None:
        """Returns at once; syncing begins as soon as both clusters have answered."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Ends all work; both clusters stay as they are."""
        raise NotImplementedError
