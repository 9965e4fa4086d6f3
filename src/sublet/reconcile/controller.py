"""One control loop: keys in, one reconcile function, as many workers as it may have at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from sublet.machinery import objects
from sublet.machinery.exposition import Histogram
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, ServiceUnavailable, StatusError
from sublet.reconcile.queue import BUCKETS, Queue
from sublet.reconcile.result import Result

log = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[Result | None]]


class Controller:
    """Calls ``reconcile`` with each key that was enqueued, never twice at once for one key.

    A key whose reconciliation raises comes back with back-off; nothing but cancellation ends :meth:`run`.
    """

    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 1) -> None:
        self.name = name
        self.queue = Queue()
        self.reconciled = 0
        """How many reconciliations have ended, well or not."""
        self.errors = 0
        self.worked = Histogram(BUCKETS)
        """Seconds that reconciliations took."""
        self.sources: list[Callable[[], Iterable[str]]] = []
        """What it counts besides, in Prometheus' text format."""
        self._since: dict[str, float] = {}
        """Key that is worked on -> when that began (monotonic)."""
        self._reconcile = reconcile
        self.workers = workers
        """How many keys may be worked on at once; counts when :meth:`run` begins."""

    def unfinished(self) -> list[float]:
        """For how many seconds each key that is worked on has been."""
        now = time.monotonic()
        return [now - since for since in self._since.values()]

    def enqueue(self, key: str) -> None:
        self.queue.add(key)

    def enqueue_after(self, key: str, seconds: float) -> None:
        self.queue.add_after(key, seconds)

    def enqueue_object(self, _event: str, obj: Object, _old: Object | None) -> None:
        """An informer handler that enqueues the object itself."""
        self.queue.add(objects.key(obj))

    def enqueue_controller(self, kind: str) -> Callable[[str, Object, Object | None], None]:
        """An informer handler that enqueues the controlling owner of ``kind``, now and before."""

        def handler(_event: str, obj: Object, old: Object | None) -> None:
            for state in (obj, old):
                owner = objects.controller_of(state) if state is not None else None
                if owner is not None and owner.get("kind") == kind:
                    where = objects.namespace(obj)
                    self.queue.add(f"{where}/{owner['name']}" if where else owner["name"])

        return handler

    async def run(self) -> None:
        workers = [
            asyncio.create_task(self._work(), name=f"{self.name} worker {number}")
            for number in range(self.workers)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            self.queue.close()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            started = self._since[key] = time.monotonic()
            try:
                await self._one(key)
            finally:
                del self._since[key]
                self.queue.done(key)
                self.worked.observe(time.monotonic() - started)
            # A reconciliation that never waited would keep the loop from everyone else.
            await asyncio.sleep(0)

    async def _one(self, key: str) -> None:
        try:
            result = await self._reconcile(key)
        except Conflict as error:
            log.debug("%s %s: %s", self.name, key, error)
            self.queue.add_rate_limited(key)
        except StatusError as error:
            self.errors += 1
            level = logging.DEBUG if isinstance(error, ServiceUnavailable) else logging.WARNING
            log.log(level, "%s %s: %s", self.name, key, error)
            self.queue.add_rate_limited(key)
        except Exception:
            self.errors += 1
            log.exception("%s %s", self.name, key)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if result is not None and result.requeue_after > 0:
                self.queue.add_after(key, result.requeue_after)
        finally:
            self.reconciled += 1
