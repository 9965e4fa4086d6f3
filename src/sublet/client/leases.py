"""Leader election on a Lease, as client-go does it: others wait until the holder has been silent too long.

A candidate judges silence by its own clock from when it *saw* the Lease change, so clocks need not agree.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Awaitable, Callable

from sublet.client.client import Client
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import NotFound, StatusError

log = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", True)


class LeadershipLost(Exception):
    """The Lease could not be renewed in time; what ran under it was cancelled."""


class LeaderElection:
    """``identity`` must be unique among the candidates. Times are seconds."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        lease_seconds: float = 15.0,
        renew_seconds: float = 10.0,
        retry_seconds: float = 2.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not lease_seconds > renew_seconds > retry_seconds > 0:
            raise ValueError("leader election needs lease_seconds > renew_seconds > retry_seconds > 0")
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._seen: Object | None = None
        self._seen_at = 0.0
        self.is_leader = False

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen."""
        return str(((self._seen or {}).get("spec") or {}).get("holderIdentity") or "")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Waits for leadership, then runs ``lead`` until it returns. The Lease is given back at the end.

        Raises :class:`LeadershipLost` when it cannot be renewed; ``lead`` is cancelled before.
        """
        while not await self._try():  # noqa: ASYNC110  # the Lease is on a server: there is nothing to be woken by
            await asyncio.sleep(self._retry_seconds * (1 + 0.2 * self._rng.random()))
        log.info("%s leads %s/%s", self._identity, self._namespace, self._name)
        self.is_leader = True
        work = asyncio.ensure_future(lead())
        renewal = asyncio.create_task(self._renew())
        try:
            await asyncio.wait([work, renewal], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return
            raise LeadershipLost(f"lease {self._namespace}/{self._name} could not be renewed")
        finally:
            for task in (work, renewal):
                task.cancel()
            await asyncio.gather(work, renewal, return_exceptions=True)
            self.is_leader = False
            await self._release()

    async def _renew(self) -> None:
        """Returns when the Lease could not be renewed for ``renew_seconds``."""
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < self._renew_seconds:
            await asyncio.sleep(self._retry_seconds)
            try:
                async with asyncio.timeout(self._renew_seconds):
                    kept = await self._try()
            except TimeoutError:
                continue
            if kept:
                renewed = self._clock.monotonic()
            elif self.holder not in ("", self._identity):
                return

    async def _try(self) -> bool:
        """Takes or renews the Lease where that is allowed."""
        now = objects.rfc3339_micro(self._clock.now())
        try:
            try:
                lease = await self._client.get(LEASES, self._name, self._namespace)
            except NotFound:
                created = await self._client.create(LEASES, self._fresh(now), self._namespace)
                self._observe(created)
                return True
            self._observe(lease)
            if self.holder not in ("", self._identity) and not self._expired():
                return False
            self._observe(await self._client.update(LEASES, self._taken(lease, now)))
            return True
        except StatusError as error:
            log.debug("lease %s/%s: %s", self._namespace, self._name, error)
            return False

    def _observe(self, lease: Object) -> None:
        if self._seen is None or lease.get("spec") != self._seen.get("spec"):
            self._seen_at = self._clock.monotonic()
        self._seen = lease

    def _expired(self) -> bool:
        spec = (self._seen or {}).get("spec") or {}
        seconds = float(spec.get("leaseDurationSeconds") or self._lease_seconds)
        return self._clock.monotonic() - self._seen_at > seconds

    def _fresh(self, now: str) -> Object:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._lease_seconds),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _taken(self, lease: Object, now: str) -> Object:
        taken = copy.deepcopy(lease)
        spec = taken.setdefault("spec", {})
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._lease_seconds),
            "renewTime": now,
        }
        return taken

    async def _release(self) -> None:
        """Lets the next candidate take over at once instead of after the silence."""
        if self._seen is None or self.holder != self._identity:
            return
        released = self._taken(self._seen, objects.rfc3339_micro(self._clock.now()))
        released["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            self._observe(await self._client.update(LEASES, released))
        except StatusError as error:
            log.debug("lease %s/%s not given back: %s", self._namespace, self._name, error)
