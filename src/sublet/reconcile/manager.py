"""Runs a set of controllers that are stated as values, each with a context of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.informer import InformerFactory
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import Histogram, heading
from sublet.machinery.kind import Resource
from sublet.reconcile.controller import Controller
from sublet.reconcile.upstreamnames import QUEUES

log = logging.getLogger(__name__)

_FIRST_RESTART = 1.0
_LONGEST_RESTART = 60.0


class Runnable(Protocol):
    async def run(self) -> None:
        """Works until cancelled."""
        ...


@dataclass(frozen=True)
class Context:
    """What a controller is given."""

    client: Client
    """Acts as the controller's ServiceAccount."""
    informers: InformerFactory
    """Shared with the other controllers."""
    events: EventRecorder
    clock: Clock
    rng: random.Random
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Registration:
    """What a file of ``controllers/`` states as ``CONTROLLER``."""

    name: str
    """kube-controller-manager's name, such as ``deployment-controller``."""
    setup: Callable[[Context], Runnable | Sequence[Runnable]]
    """Makes the controller: asks for informers, adds handlers. What it returns runs once the informers have synced."""
    enabled_by_default: bool = True
    service_account: str = ""
    """In kube-system; empty: the bootstrap roles' name, which is the controller's own."""
    user: str = ""
    """Acts as this user instead of a ServiceAccount; for those upstream runs as ``system:kube-controller-manager``."""
    component: str = ""
    """Events say they are from it; empty: ``name``."""
    needs: tuple[Resource, ...] = ()
    """Resources that not every Kubernetes minor has; where one is not there, there is nothing to control."""
    feature: str = ""
    """The feature gate without which it does not run; empty: none."""

    @property
    def user_name(self) -> str:
        """``system:serviceaccount:kube-system:deployment-controller``."""
        return self.user or f"system:serviceaccount:kube-system:{self.service_account or self.name}"


_Several = Sequence[Controller]
_QUEUE_METRICS: Sequence[tuple[str, str, str, Callable[[_Several], float]]] = (
    ("workqueue_adds_total", "[ALPHA] Total number of adds handled by workqueue", "counter",
     lambda some: sum(each.queue.added for each in some)),
    ("workqueue_depth", "[ALPHA] Current depth of workqueue", "gauge", lambda some: sum(len(each.queue) for each in some)),
    ("workqueue_retries_total", "[ALPHA] Total number of retries handled by workqueue", "counter",
     lambda some: sum(each.queue.retries for each in some)),
    ("workqueue_unfinished_work_seconds",
     "[ALPHA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. "
     "Large values indicate stuck threads.", "gauge",
     lambda some: sum(seconds for each in some for seconds in each.unfinished())),
    ("workqueue_longest_running_processor_seconds",
     "[ALPHA] How many seconds has the longest running processor for workqueue been running.", "gauge",
     lambda some: max((seconds for each in some for seconds in each.unfinished()), default=0)),
)  # fmt: skip
_QUEUE_HISTOGRAMS: Sequence[tuple[str, str, Callable[[Controller], Histogram]]] = (
    (
        "workqueue_queue_duration_seconds",
        "[ALPHA] How long in seconds an item stays in workqueue before being requested.",
        lambda c: c.queue.waited,
    ),
    (
        "workqueue_work_duration_seconds",
        "[ALPHA] How long in seconds processing an item from workqueue takes.",
        lambda c: c.worked,
    ),
)


class Manager:
    """Starts each controller as soon as the informers *it* asked for have synced."""

    def __init__(
        self,
        registrations: Iterable[Registration],
        context_for: Callable[[Registration], Context],
        workers: Mapping[str, int] | None = None,
    ) -> None:
        """``workers`` says of controllers by name how many keys they may work on at once."""
        self._registrations = list(registrations)
        self._context_for = context_for
        self._workers = dict(workers or {})
        self._tasks: list[asyncio.Task[None]] = []
        self._contexts: list[Context] = []
        self._running: set[str] = set()
        self._failed: dict[str, str] = {}
        self._controllers: list[Controller] = []

    @property
    def running(self) -> frozenset[str]:
        """The names of the controllers whose informers have synced."""
        return frozenset(self._running)

    @property
    def failed(self) -> Mapping[str, str]:
        """Controllers that could not be set up, or have failed and wait to start again, and why."""
        return self._failed

    async def start(self) -> None:
        """Sets all controllers up and returns; they begin to work as their informers sync."""
        for registration in self._registrations:
            context = self._context_for(registration)
            context = dataclasses.replace(context, informers=context.informers.view())
            self._contexts.append(context)
            try:
                made = registration.setup(context)
            except Exception as error:
                # The others have nothing to do with it.
                log.exception("%s could not be set up and does not run", registration.name)
                self._failed[registration.name] = str(error)
                continue
            runnables: Sequence[Runnable] = made if isinstance(made, Sequence) else (made,)
            await context.informers.start()
            self._controllers += self._counted(registration.name, runnables)
            for runnable in runnables:
                self._tasks.append(
                    asyncio.create_task(
                        self._supervise(registration.name, runnable, context), name=registration.name
                    )
                )

    def _counted(self, name: str, runnables: Iterable[Runnable]) -> list[Controller]:
        """The controllers among these and within them, each with its number of workers."""
        found: list[Controller] = []
        for runnable in runnables:
            inner: Sequence[Controller] = getattr(runnable, "controllers", ())
            found += (runnable,) if isinstance(runnable, Controller) else inner
        for controller in found:
            controller.workers = self._workers.get(name, controller.workers)
        return found

    async def stop(self) -> None:
        """Ends the controllers and writes the events that wait. The informers are their owner's to stop."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()
        self._failed.clear()
        self._controllers.clear()
        await asyncio.gather(*(context.events.close(0.5) for context in self._contexts))
        self._contexts.clear()

    def lines(self) -> Iterator[str]:
        """Metrics of the controllers' queues, under upstream's names; controllers of one name count together."""
        by_name: dict[str, list[Controller]] = {}
        for controller in self._controllers:
            name = QUEUES.get(controller.name, controller.name)
            by_name.setdefault(name, []).append(controller)
        for name, what, kind, read in _QUEUE_METRICS:
            yield from heading(name, what, kind)
            for owner, controllers in by_name.items():
                yield f'{name}{{name="{owner}"}} {read(controllers)}'
        for name, what, histogram in _QUEUE_HISTOGRAMS:
            yield from heading(name, what, "histogram")
            for owner, controllers in by_name.items():
                together = Histogram.sum(map(histogram, controllers))
                yield from together.lines(name, f'name="{owner}"')
        for controller in self._controllers:
            for source in controller.sources:
                yield from source()

    async def _supervise(self, name: str, runnable: Runnable, context: Context) -> None:
        await context.informers.synced()
        self._running.add(name)
        delay = _FIRST_RESTART
        while True:
            started = context.clock.monotonic()
            try:
                await runnable.run()
                return
            except Exception as error:
                log.exception("%s failed and starts again in %.0f s", name, delay)
                self._failed[name] = str(error)
            await asyncio.sleep(delay)
            self._failed.pop(name, None)
            lived = context.clock.monotonic() - started
            delay = _FIRST_RESTART if lived > _LONGEST_RESTART else min(delay * 2, _LONGEST_RESTART)
