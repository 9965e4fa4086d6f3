"""The controllers and the scheduler of one control plane; where several share a store, one of them at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import structs

from sublet.apiserver import release
from sublet.apiserver.api import APIServer
from sublet.apiserver.health import Unhealthy
from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.eventseries import SeriesRecorder
from sublet.client.exchange import User
from sublet.client.informer import InformerFactory
from sublet.client.inprocess import InProcessTransport
from sublet.client.metered import ClientMetrics, MeteredTransport
from sublet.kinds import catalog as kinds
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import heading
from sublet.pki.controlplane import ControlPlanePKI

if TYPE_CHECKING:
    from sublet.controlplane.assemble import Assembly
    from sublet.reconcile.manager import Context, Manager, Registration
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
        self._requests = ClientMetrics(f"{assembly.advertise_address}:{api.settings.secure_port}")
        self._informers: InformerFactory | None = None
        self._manager: Manager | None = None
        self._scheduler: _Forever | None = None
        self._scheduling: Scheduler | None = None
        self._scheduler_events: SeriesRecorder | None = None
        self._starting: asyncio.Task[None] | None = None
        self.leads = False
        """Whether controllers and scheduler run here."""

    async def start(self) -> None:
        """Returns at once; controllers begin to work as their informers sync, or once this process leads.

        Only now their code is loaded, while the API server answers already.
        """
        running = self._stand() if self._assembly.leader_elect else self._begin_alone()
        self._starting = asyncio.create_task(running, name="controllers")

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
        if not self.leads and (self._starting is None or self._starting.done()):
            raise Unhealthy("not running")

    def lines(self) -> Iterator[str]:
        """Metrics of the controllers and the scheduler, as far as they run here."""
        yield from self._requests.lines()
        if self._assembly.leader_elect:
            name = "leader_election_master_status"
            what = (
                "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 "
                "indicates master. 'name' is the string used to identify the lease. Please make sure to group by name."
            )
            yield from heading(name, what, "gauge")
            yield f'{name}{{name="{_LEASE[1]}"}} {int(self.leads)}'
        if self._manager is not None:
            yield from self._manager.lines()
        if self._scheduling is not None:
            yield from self._scheduling.lines()

    async def stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
            self._starting = None
        await self._end()

    async def _stand(self) -> None:
        """Stands for election again and again: who lost the Lease may win it back."""
        from sublet.client.leases import LeaderElection, LeadershipLost

        identity = f"{socket.gethostname()}_{self._rng.getrandbits(64):016x}"
        while True:
            election = LeaderElection(
                self._system("kube-controller-manager", "leader-election"),
                *_LEASE,
                identity,
                clock=self._clock,
                rng=self._rng,
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

    async def _begin_alone(self) -> None:
        try:
            await self._begin()
        except Exception:
            logger.exception("controllers and scheduler could not be started and do not run")
            await self._end()

    async def _begin(self) -> None:
        self._informers = InformerFactory(
            self._system("kube-controller-manager", "shared-informers"), self._clock, self._rng
        )
        self.leads = True
        if self._assembly.controllers:
            await self._start_controllers(self._informers)
        if self._assembly.scheduler:
            self._start_scheduler(self._informers)

    async def _end(self) -> None:
        self.leads = False
        if self._scheduler is not None:
            await self._scheduler.stop()
        if self._scheduler_events is not None:
            await self._scheduler_events.close(0.5)
        if self._manager is not None:
            await self._manager.stop()
        if self._informers is not None:
            await self._informers.stop()
        self._scheduler = self._scheduling = self._manager = self._informers = None
        self._scheduler_events = None

    def _system(self, name: str, purpose: str = "") -> Client:
        return self._client(User(f"system:{name}", ("system:authenticated",)), name, purpose)

    def _client(self, user: User, component: str, purpose: str) -> Client:
        """``component`` becomes the manager of the fields it writes, as upstream's binaries are."""
        agent = release.user_agent(component, self._assembly.minor, purpose)
        return Client(MeteredTransport(InProcessTransport(self._api, user), self._requests), agent)

    async def _start_controllers(self, informers: InformerFactory) -> None:
        registrations = await asyncio.to_thread(_code)
        from sublet.reconcile.manager import Context, Manager
        from sublet.reconcile.upstreamnames import SOURCES

        served = kinds.load(self._assembly.minor)
        wanted = [
            registration
            for registration in registrations
            if registration.enabled_by_default
            and registration.name not in self._assembly.disabled_controllers
            and all((needed.group, needed.plural) in served for needed in registration.needs)
            and (not registration.feature or self._api.features.enabled(registration.feature))
        ]
        settings = self._controller_settings()

        def context_for(registration: Registration) -> Context:
            user = User(registration.user_name, _SYSTEM_ACCOUNTS)
            client = self._client(user, "kube-controller-manager", user.name)
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
        from sublet.pki.signing import SigningKey

        return {
            "root_ca": self._pki.cert("ca").read_bytes().decode(),
            "sign": SigningKey(self._pki.key("sa").read_bytes()).sign,
            "authority": self._pki.ca,
            "cluster_domain": self._assembly.cluster_domain,
            "cluster_cidr": self._assembly.pod_cidr,
            **self._assembly.controller_settings,
        }

    def _start_scheduler(self, informers: InformerFactory) -> None:
        from sublet.scheduler.configuration import SchedulerSettings
        from sublet.scheduler.scheduler import Scheduler

        client = self._system("kube-scheduler", "scheduler")
        self._scheduler_events = SeriesRecorder(client, socket.gethostname(), clock=self._clock)
        devices = ("resource.k8s.io", "resourceclaims") in kinds.load(self._assembly.minor)
        chosen = self._assembly.scheduler_settings or SchedulerSettings()
        enabled = self._api.features.enabled
        settings = structs.replace(
            chosen,
            devices=devices,
            extended_resources=enabled("DRAExtendedResource"),
            nominates=enabled("NominatedNodeNameForExpectation"),
        )
        scheduler = Scheduler(
            client, informers, self._scheduler_events, self._clock, self._rng, settings=settings
        )
        self._scheduling = scheduler
        self._scheduler = _Forever("kube-scheduler", scheduler.run)


def _code() -> list[Registration]:
    """Loads what works here: a fifth of a second, which the loop has better use for."""
    from sublet.controllers import catalog
    from sublet.scheduler import catalog as plugins
    from sublet.scheduler import scheduler  # noqa: F401

    plugins.load()
    return catalog.load()


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
