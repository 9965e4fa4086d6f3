"""Pods that wait to be scheduled: ready ones by priority, failed ones until their back-off or a helpful event.

Source: kube-scheduler's PriorityQueue. Three places: *active* (a heap, highest priority first, then oldest),
*backoff* (1 s doubling to 10 s) and *unschedulable* (until an event that one of the rejecting plug-ins waits for, or
five minutes). Gated pods are remembered and wait for their gates to go.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sublet.machinery.clock import Clock
from sublet.scheduler.podinfo import PodInfo

INITIAL_BACKOFF = 1.0
MAX_BACKOFF = 10.0
UNSCHEDULABLE_SECONDS = 300.0
# Why a pod comes to a place of the queue, beside the events that plug-ins wait for.
_NEW, _CHANGED = "UnscheduledPodAdd", "UnscheduledPodUpdate"
_FAILED, _WAITED, _FORGOTTEN, _ACTIVATED = (
    "ScheduleAttemptFailure", "BackoffComplete", "UnschedulableTimeout", "ForceActivate",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A pod and what its scheduling attempts have left behind."""

    info: PodInfo
    added: float
    """Monotonic seconds of when it first came; older pods of one priority go first."""
    ready: float = 0.0
    """Monotonic seconds of when it could first be tried; 0 until then."""
    started: float = 0.0
    """Monotonic seconds of when its last attempt began."""
    attempts: int = 0
    rejected_by: frozenset[str] = frozenset()
    """Events (:attr:`Plugin.wakes`) that may make it schedulable; empty: any."""
    place: str = "active"
    failed_at: float = 0.0
    entry: int = field(default=0)
    """Which heap entry is the valid one; others of this pod are skipped."""


class SchedulingQueue:
    """Used by one event loop."""

    def __init__(
        self, clock: Clock, initial_backoff: float = INITIAL_BACKOFF, max_backoff: float = MAX_BACKOFF
    ) -> None:
        self._clock = clock
        self._initial, self._longest = initial_backoff, max_backoff
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, float, int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        self._numbers = itertools.count(1)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self.incoming: Counter[tuple[str, str]] = Counter()
        """(what happened, the place that a pod came to for it) -> how often."""

    def __len__(self) -> int:
        return len(self._pods)

    def counts(self) -> dict[str, int]:
        """How many pods are in each place: active, backoff, unschedulable, gated."""
        found = dict.fromkeys(("active", "backoff", "unschedulable", "gated"), 0)
        for queued in self._pods.values():
            found[queued.place] += 1
        return found

    def update(self, info: PodInfo, *, relevant: bool = True) -> None:
        """A pod without a node is new or has changed; ``relevant``: in a way that may let it fit."""
        queued = self._pods.get(info.uid)
        if queued is None:
            queued = self._pods[info.uid] = QueuedPod(info, self._clock.monotonic())
            self._place(queued, "gated" if info.gated else "active", _NEW)
            return
        was_gated, queued.info = queued.place == "gated", info
        if info.gated:
            if not was_gated:
                self._place(queued, "gated", _CHANGED)
        elif was_gated:
            self._place(queued, "active", _CHANGED)
        elif queued.place == "unschedulable" and relevant:
            self._retry(queued, _CHANGED)

    def remove(self, uid: str) -> None:
        """The pod is gone or has a node."""
        queued = self._pods.pop(uid, None)
        if queued is not None:
            queued.entry = 0

    def get(self, uid: str) -> QueuedPod | None:
        return self._pods.get(uid)

    def unschedulable(self, queued: QueuedPod, wakes: frozenset[str]) -> None:
        """An attempt found no node; events of ``wakes`` (empty: any) bring the pod back."""
        self._return(queued, "unschedulable", wakes)

    def failed(self, queued: QueuedPod) -> None:
        """An attempt met an error (a refused binding): again after the back-off."""
        self._return(queued, "backoff", frozenset())

    def _return(self, queued: QueuedPod, place: str, wakes: frozenset[str]) -> None:
        if self._pods.get(queued.info.uid, queued) is not queued:
            return
        self._pods[queued.info.uid] = queued
        queued.rejected_by = wakes
        queued.failed_at = self._clock.monotonic()
        self._place(queued, "gated" if queued.info.gated else place, _FAILED)

    def move(self, event: str) -> None:
        """Something happened in the cluster: pods that wait for it get another try."""
        for queued in [*self._pods.values()]:
            if queued.place == "unschedulable" and (not queued.rejected_by or event in queued.rejected_by):
                self._retry(queued, event)

    def activate(self, uids: Iterable[str]) -> None:
        """Gives these pods another try, whatever they wait for."""
        for uid in uids:
            queued = self._pods.get(uid)
            if queued is not None and queued.place == "unschedulable":
                self._retry(queued, _ACTIVATED)

    async def pop(self) -> QueuedPod:
        """The next pod to schedule. It stays known (see :meth:`get`) but is in no place until it comes back."""
        while True:
            queued = self._take()
            if queued is not None:
                queued.attempts += 1
                queued.started = self._clock.monotonic()
                del self._pods[queued.info.uid]
                return queued
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, float("inf")

    def _take(self) -> QueuedPod | None:
        while self._active:
            *_, number, queued = heapq.heappop(self._active)
            if queued.entry == number and queued.place == "active":
                return queued
        return None

    def _retry(self, queued: QueuedPod, event: str) -> None:
        until = queued.failed_at + self.backoff(queued)
        self._place(queued, "active" if until <= self._clock.monotonic() else "backoff", event)

    def backoff(self, queued: QueuedPod) -> float:
        """Seconds between the last failure and the next try."""
        return float(min(self._initial * 2 ** min(max(queued.attempts - 1, 0), 10), self._longest))

    def _place(self, queued: QueuedPod, place: str, event: str) -> None:
        self.incoming[event, place] += 1
        queued.place = place
        queued.entry = number = next(self._numbers)
        if place == "active":
            queued.ready = queued.ready or self._clock.monotonic()
            heapq.heappush(self._active, (-queued.info.priority, queued.added, number, queued))
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        elif place == "backoff":
            until = queued.failed_at + self.backoff(queued)
            heapq.heappush(self._backoff, (until, number, queued))
            self._wake_at(until)
        elif place == "unschedulable":
            until = queued.failed_at + UNSCHEDULABLE_SECONDS
            heapq.heappush(self._backoff, (until, number, queued))
            self._wake_at(until)

    def _wake_at(self, until: float) -> None:
        if until >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = until
        delay = max(0.0, until - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._clock.monotonic()
        while self._backoff and self._backoff[0][0] <= now + 0.001:
            _, number, queued = heapq.heappop(self._backoff)
            if queued.entry == number:
                self._place(queued, "active", _WAITED if queued.place == "backoff" else _FORGOTTEN)
        if self._backoff:
            self._wake_at(self._backoff[0][0])
