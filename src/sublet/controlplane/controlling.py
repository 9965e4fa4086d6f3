"""The controllers and the scheduler of one control plane; where several share a store, one of them at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import structs

from sublet.apiserver.api import APIServer
from sublet.apiserver.health import Unhealthy
from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.exchange import User
from sublet.client.informer import InformerFactory
from sublet.kinds import catalog as kinds
from sublet.machinery.clock import Clock
from sublet.pki.certificates import ControlPlanePKI
from sublet.pki.signing import SigningKey
from sublet.reconcile.manager import Context, Manager, Registration
from sublet.reconcile.upstreamnames import SOURCES

if TYPE_CHECKING:
    from sublet.controlplane.assemble import Assembly
    from sublet.scheduler.scheduler import Scheduler

logger = logging.getLogger(__name__)

_SYSTEM_ACCOUNTS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
_LEASE = ("kube-system", "kube-controller-manager")


class Controlling:
    """Works between :meth:`start` and :meth:`stop`; with ``leader_elect`` only while it holds the Lease."""

    def __init__(
        self, assembly: Assembly, api: APIServer, pki: ControlPlanePKI, clock: Clock, rng: random.Random
    ) -> None:
        self._assembly = assembly
        self._api = api
        self._pki = pki
        self._clock = clock
        self._rng = rng
        self._informers: InformerFactory | None = None
        self._manager: Manager | None = None
        self._scheduler: _Forever | None = None
        self._scheduling: Scheduler | None = None
        self._election: asyncio.Task[None] | None = None
        self.leads = False
        """Whether controllers and scheduler run here."""

    async def start(self) -> None:
        """Returns at once; controllers begin to work as their informers sync, or once this process leads."""
        if self._assembly.leader_elect:
            self._election = asyncio.create_task(self._stand(), name="leader election")
        else:
            await self._begin()

    def parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What runs here, by upstream's names -> what raises when it is not well. Who waits for its turn is well."""
        found: dict[str, Callable[[], Awaitable[None]]] = {}
        if self._assembly.controllers:
            found["controller-manager"] = self._controllers_run
        if self._assembly.scheduler:
            found["scheduler"] = self._scheduler_runs
        return found

    async def _controllers_run(self) -> None:
        self._stands()
        if self._manager is not None and self._manager.failed:
            name, why = next(iter(self._manager.failed.items()))
            raise Unhealthy(f"{name} failed: {why}")

    async def _scheduler_runs(self) -> None:
        self._stands()
        if self._scheduler is not None and self._scheduler.failure:
            raise Unhealthy(f"kube-scheduler failed: {self._scheduler.failure}")

    def _stands(self) -> None:
        if not self.leads and (self._election is None or self._election.done()):
            raise Unhealthy("not running")

    def lines(self) -> Iterator[str]:
        """Metrics of the controllers and the scheduler, as far as they run here."""
        if self._manager is not None:
            yield from self._manager.lines()
        if self._scheduling is not None:
            yield from self._scheduling.lines()

    async def stop(self) -> None:
        if self._election is not None:
            self._election.cancel()
            await asyncio.gather(self._election, return_exceptions=True)
            self._election = None
        await self._end()

    async def _stand(self) -> None:
        """Stands for election again and again: who lost the Lease may win it back."""
        from sublet.client.leases import LeaderElection, LeadershipLost

        identity = f"{socket.gethostname()}_{self._rng.getrandbits(64):016x}"
        while True:
            election = LeaderElection(
                self._system("kube-controller-manager"), *_LEASE, identity, clock=self._clock, rng=self._rng
            )
            try:
                await election.run(self._lead)
            except LeadershipLost as error:
                logger.warning("%s; controllers and scheduler wait", error)
            except Exception:
                logger.exception("leader election failed and begins again")
                await asyncio.sleep(1.0)

    async def _lead(self) -> None:
        try:
            await self._begin()
            await asyncio.Event().wait()
        finally:
            await self._end()

    async def _begin(self) -> None:
        self._informers = InformerFactory(self._system("kube-controller-manager"), self._clock, self._rng)
        self.leads = True
        if self._assembly.controllers:
            await self._start_controllers(self._informers)
        if self._assembly.scheduler:
            self._start_scheduler(self._informers)

    async def _end(self) -> None:
        self.leads = False
        if self._scheduler is not None:
            await self._scheduler.stop()
        if self._manager is not None:
            await self._manager.stop()
        if self._informers is not None:
            await self._informers.stop()
        self._scheduler = self._scheduling = self._manager = self._informers = None

    def _system(self, name: str) -> Client:
        return self._api.client_as(User(f"system:{name}", ("system:authenticated",)), name)

    async def _start_controllers(self, informers: InformerFactory) -> None:
        from sublet.controllers import catalog

        served = kinds.load(self._assembly.minor)
        wanted = [
            registration
            for registration in catalog.load()
            if registration.enabled_by_default
            and registration.name not in self._assembly.disabled_controllers
            and all((needed.group, needed.plural) in served for needed in registration.needs)
        ]
        settings = self._controller_settings()

        def context_for(registration: Registration) -> Context:
            client = self._api.client_as(User(registration.user_name, _SYSTEM_ACCOUNTS), registration.name)
            return Context(
                client=client,
                informers=informers,
                events=EventRecorder(client, SOURCES.get(registration.name, registration.name)),
                clock=self._clock,
                rng=self._rng,
                settings=settings,
            )

        self._manager = Manager(wanted, context_for, self._assembly.controller_workers)
        await self._manager.start()

    def _controller_settings(self) -> dict[str, Any]:
        return {
            "root_ca": self._pki.ca.cert_pem.decode(),
            "sign": SigningKey(self._pki.key("sa").read_bytes()).sign,
            "authority": self._pki.ca,
            "cluster_domain": self._assembly.cluster_domain,
            "cluster_cidr": self._assembly.pod_cidr,
            **self._assembly.controller_settings,
        }

    def _start_scheduler(self, informers: InformerFactory) -> None:
        from sublet.scheduler.configuration import SchedulerSettings
        from sublet.scheduler.scheduler import Scheduler

        client = self._system("kube-scheduler")
        events = EventRecorder(client, "default-scheduler")
        devices = ("resource.k8s.io", "resourceclaims") in kinds.load(self._assembly.minor)
        chosen = self._assembly.scheduler_settings or SchedulerSettings()
        settings = structs.replace(chosen, devices=devices)
        scheduler = Scheduler(client, informers, events, self._clock, self._rng, settings=settings)
        self._scheduling = scheduler
        self._scheduler = _Forever("kube-scheduler", scheduler.run)


class _Forever:
    """A worker that starts again when it fails: one never takes the process with it."""

    def __init__(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self.failure = ""
        """Why it failed, while it waits to start again."""
        self._task = asyncio.create_task(self._run(name, run), name=name)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        delay = 1.0
        while True:
            try:
                await run()
                return
            except Exception as error:
                logger.exception("%s failed and starts again in %.0f s", name, delay)
                self.failure = str(error) or type(error).__name__
            await asyncio.sleep(delay)
            self.failure = ""
            delay = min(delay * 2, 60.0)
