"""Keeps a tenant's objects and their host copies equal: one engine per synced kind, one worker per source on the host."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.informer import InformerFactory
from sublet.kinds.resources import resource
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Resource
from sublet.syncer import catalog
from sublet.syncer.apiservice import APIService
from sublet.syncer.declare import ControlPlaneService, Runnable, Scope
from sublet.syncer.engine import Engine
from sublet.syncer.settings import SyncerSettings, SyncSettings

log = logging.getLogger(__name__)

COMPONENT = "sublet-syncer"
_AGAIN_SECONDS = 5.0


class Syncer:
    """``tenant`` acts with full rights in the tenant's API, ``host`` with the tenant's Role in its host namespace.

    While either cannot be reached the syncer waits and goes on where it was; nothing in the tenant depends on it.
    """

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
        self.clock: Clock = clock or SystemClock()
        self.rng: random.Random = rng or random.SystemRandom()
        self.engines: list[Engine] = []
        self._scope: Scope | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns at once; syncing begins as soon as both clusters have answered."""
        sync = self.settings.sync or catalog.settings({})
        enabled = {key: each for key, each in catalog.to_host().items() if sync.to_host[key].enabled}
        scope = self._scope = self._make_scope(sync, frozenset(each.resource for each in enabled.values()))
        self.engines = [Engine(each, scope, sync.to_host[key]) for key, each in enabled.items()]
        workers: list[tuple[str, Runnable]] = [(engine.controller.name, engine) for engine in self.engines]
        for key, source in catalog.from_host().items():
            made = source.setup(scope, sync.from_host[key])
            workers += [(f"sync from host: {key}", worker) for worker in made]
        workers.append(("the API's own Service", APIService(scope)))
        await scope.tenant_informers.start()
        await scope.host_informers.start()
        self._tasks = [asyncio.create_task(_forever(name, worker), name=name) for name, worker in workers]

    def _make_scope(self, sync: SyncSettings, synced: frozenset[Resource]) -> Scope:
        settings = replace(self.settings, sync=sync)
        host_informers = InformerFactory(self.host, self.clock, self.rng)
        own = host_informers.informer(
            resource("services"),
            settings.host_namespace,
            field_selector=f"metadata.name={settings.service}",
        )
        return Scope(
            settings=settings,
            mapping=settings.mapping,
            tenant=self.tenant,
            host=self.host,
            tenant_informers=InformerFactory(self.tenant, self.clock, self.rng),
            host_informers=host_informers,
            events=EventRecorder(self.tenant, COMPONENT, clock=self.clock),
            service=ControlPlaneService(own, settings.host_namespace, settings.service),
            clock=self.clock,
            rng=self.rng,
            synced=synced,
        )

    async def synced(self) -> None:
        """Returns once everything that is synced has been seen whole on both sides."""
        if self._scope is None:
            raise RuntimeError("the syncer has not been started")
        for informers in (self._scope.tenant_informers, self._scope.host_informers):
            for informer in informers.asked():
                await informer.synced()

    async def stop(self) -> None:
        """Ends all work; both clusters stay as they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._scope is not None:
            await self._scope.events.close()
            await self._scope.tenant_informers.stop()
            await self._scope.host_informers.stop()
            self._scope = None


async def _forever(name: str, worker: Runnable) -> None:
    """One worker that fails must not end the others, nor stay away."""
    while True:
        try:
            await worker.run()
            return
        except Exception:
            log.exception("%s failed and starts again in %.0f s", name, _AGAIN_SECONDS)
        await asyncio.sleep(_AGAIN_SECONDS)
