"""Gives pods a node.

The loop takes one pod at a time, decides without waiting for anything, counts the pod on its node, and leaves the
binding (volumes, then ``pods/binding``) to a task, so that many bindings are on their way at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sublet.client.client import Client
from sublet.client.eventseries import SeriesRecorder
from sublet.client.informer import InformerFactory
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, NotFound, StatusError
from sublet.scheduler import preemption
from sublet.scheduler.cache import Cache
from sublet.scheduler.configuration import SchedulerSettings
from sublet.scheduler.counts import Counts
from sublet.scheduler.framework import (
    DEVICE_CHANGED,
    POD_ADDED,
    POD_DELETED,
    VOLUME_CHANGED,
    Attempt,
    Cluster,
    Lookup,
)
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.queue import QueuedPod, SchedulingQueue

log = logging.getLogger(__name__)

NO_NODES = "no nodes available to schedule pods"
_NO_CLAIMS = "no new claims to deallocate"
_MIN_NODES = 100
"""As many feasible nodes are enough to choose from in a large cluster (upstream's minimum)."""
_BINDINGS = 64
"""How many bindings may be on their way at once."""


class Scheduler:
    """``informers`` may be shared with others; ``run`` waits until those it needs have synced."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        events: SeriesRecorder,
        clock: Clock,
        rng: random.Random,
        *,
        settings: SchedulerSettings | None = None,
    ) -> None:
        self._client = client
        self._informers = informers.view()
        self._events = events
        self._rng = rng
        self._clock = clock
        settings = settings or SchedulerSettings()
        self.profiles = settings.profiles
        self._share = settings.percentage_of_nodes
        self._nominates = settings.nominates
        self.cache = Cache()
        self.queue = SchedulingQueue(clock, settings.initial_backoff, settings.max_backoff)
        self._pods = self._informers.informer(resource("pods"))
        self._nodes = self._informers.informer(resource("nodes"))
        self._budgets = self._informers.informer(resource("poddisruptionbudgets.policy"))
        self._lookup = Lookup.of(self._informers, settings.devices, settings.extended_resources)
        self._cluster = Cluster(
            self.cache.nodes,
            self._lookup,
            client,
            clock,
            tell=lambda pod, reason, message: self._tell(pod, "Normal", reason, message),
        )
        self._bindings: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_BINDINGS)
        self._start = 0
        self._nominated: dict[str, PodInfo] = {}
        """By uid, the pods for which others had to leave a node."""
        self.scheduled = 0
        self.failures = 0
        self.counts = Counts()

    def lines(self) -> Iterator[str]:
        """Metrics under upstream's names."""
        yield from self.counts.lines(self.queue.counts(), self.queue.incoming, self.cache.sizes())

    @contextmanager
    def _timed(self, point: str, pod: PodInfo) -> Iterator[list[str]]:
        """Measures one step; what is put into the list is its status, ``Success`` otherwise."""
        begun, status = self._clock.monotonic(), list[str]()
        try:
            yield status
        except BaseException:
            status = ["Error"]
            raise
        finally:
            seconds = self._clock.monotonic() - begun
            self.counts.timed(point, pod.scheduler_name, status[0] if status else "Success", seconds)

    def _count(self, queued: QueuedPod, result: str) -> None:
        self.counts.attempted(queued.info.scheduler_name, result, self._clock.monotonic() - queued.started)

    async def run(self) -> None:
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)
        for informer in self._lookup.storage():
            informer.add_handler(self._volume_changed)
        if self._lookup.devices is not None:
            self._lookup.devices.claims.add_handler(self._claim_changed)
            for informer in self._lookup.devices.all():
                informer.add_handler(self._device_changed)
        await self._informers.start()
        await self._informers.synced()
        try:
            while True:
                queued = await self.queue.pop()
                try:
                    self._schedule(queued)
                except Exception:
                    log.exception("scheduling of %s failed", queued.info.key)
                    self._count(queued, "error")
                    self.queue.failed(queued)
                async with self._slots:
                    # Waits while too many bindings are on their way, and lets others have the loop.
                    await asyncio.sleep(0)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        for informer in self._lookup.storage():
            informer.remove_handler(self._volume_changed)
        if self._lookup.devices is not None:
            self._lookup.devices.claims.remove_handler(self._claim_changed)
            for informer in self._lookup.devices.all():
                informer.remove_handler(self._device_changed)
        self._nodes.remove_handler(self._node_changed)
        self._pods.remove_handler(self._pod_changed)
        self.queue.close()
        tasks = [*self._bindings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what happens in the cluster --

    def _node_changed(self, event: str, node: Object, _old: Object | None) -> None:
        if event == "delete":
            self.cache.remove_node(objects.name(node))
            return
        for happened in self.cache.set_node(node):
            self.queue.move(happened)

    def _pod_changed(self, event: str, pod: Object, old: Object | None) -> None:
        uid = objects.uid(pod)
        spec = pod.get("spec") or {}
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if event == "delete" or ended or spec.get("nodeName") or objects.is_deleting(pod):
            self._nominated.pop(uid, None)
        if event == "delete" or ended:
            self.queue.remove(uid)
            if self.cache.remove_pod(uid):
                self.queue.move(POD_DELETED)
            return
        if spec.get("nodeName"):
            self.queue.remove(uid)
            if self.cache.set_pod(PodInfo(pod)):
                self.queue.move(POD_ADDED)
            return
        if objects.is_deleting(pod):
            self.queue.remove(uid)
            return
        if self.cache.is_assumed(uid):
            return  # its binding is on its way
        info = PodInfo(pod)
        if info.scheduler_name in self.profiles:
            if info.nominated:
                self._nominated[uid] = info
            self.queue.update(info, relevant=old is None or _matters(pod, old))

    def _volume_changed(self, _event: str, _obj: Object, _old: Object | None) -> None:
        self.queue.move(VOLUME_CHANGED)

    def _device_changed(self, _event: str, _obj: Object, _old: Object | None) -> None:
        self.queue.move(DEVICE_CHANGED)

    def _claim_changed(self, event: str, claim: Object, _old: Object | None) -> None:
        """An allocation that the API shows, or whose claim is gone, need not be remembered."""
        if event == "delete" or (claim.get("status") or {}).get("allocation"):
            self._cluster.allocations.pop(objects.uid(claim), None)

    # -- one pod --

    def _schedule(self, queued: QueuedPod) -> None:
        pod = queued.info
        attempt = Attempt(pod, self.profiles[pod.scheduler_name])
        nodes = self.cache.nodes
        if not nodes:
            self._unschedulable(queued, attempt, NO_NODES)
            return
        feasible: list[NodeInfo] = []
        with self._timed("PreFilter", pod) as status:
            prepared = attempt.prepare(self._cluster)
            status += () if prepared else ("Unschedulable",)
        if prepared:
            with self._timed("Filter", pod) as status:
                feasible = self._feasible(attempt)
                status += () if feasible else ("Unschedulable",)
        if not feasible:
            with self._timed("PostFilter", pod) as status:
                if not self._preempt(queued, attempt):
                    status.append("Unschedulable")
            return
        with self._timed("Score", pod):
            chosen = attempt.best(feasible, self._cluster, self._rng)
        self.counts.chose(self._clock.monotonic() - queued.started)
        self.cache.assume(pod, chosen.name)
        with self._timed("Reserve", pod):
            attempt.reserve(chosen.name, self._cluster)
        task = asyncio.create_task(self._bind(queued, attempt, chosen.name))
        self._bindings.add(task)
        task.add_done_callback(self._bindings.discard)

    def _feasible(self, attempt: Attempt) -> list[NodeInfo]:
        pod = attempt.pod
        nominated = self.cache.nodes.get(pod.nominated)
        if nominated is not None and attempt.feasible([self._with_nominated(nominated, pod)], 1):
            return [nominated]
        total = len(self.cache.nodes)
        wanted = total
        if total > _MIN_NODES:
            share = self._share or max(5.0, 50.0 - total / 125)
            wanted = max(_MIN_NODES, int(total * share / 100))
        nodes: Iterator[NodeInfo] = self._rotated()
        if self._nominated:
            nodes = (self._with_nominated(node, pod) for node in nodes)
        found = attempt.feasible(nodes, wanted)
        self._start = (self._start + len(found) + len(attempt.refused)) % total
        return found

    def _with_nominated(self, node: NodeInfo, pod: PodInfo) -> NodeInfo:
        """The node as if the pods that are promised its room, and matter no less than this one, were there."""
        promised = [
            other
            for other in self._nominated.values()
            if other.nominated == node.name and other.uid != pod.uid and other.priority >= pod.priority
        ]
        if not promised:
            return node
        full = node.copy()
        for other in promised:
            full.add(other)
        return full

    def _rotated(self) -> Iterator[NodeInfo]:
        """All nodes, from where the last search ended: so that all are tried equally often."""
        nodes = [*self.cache.nodes.values()]
        start = self._start % len(nodes)
        yield from nodes[start:]
        yield from nodes[:start]

    async def _bind(self, queued: QueuedPod, attempt: Attempt, node: str) -> None:
        pod = queued.info
        try:
            await self._create_binding(attempt, node)
        except (StatusError, TimeoutError, KeyError) as error:
            self.cache.forget(pod.uid)
            attempt.unreserve(node, self._cluster)
            self.failures += 1
            self._count(queued, "error")
            current = self._pods.get_key(pod.key)
            if current is None or objects.uid(current) != pod.uid or isinstance(error, NotFound):
                return
            if (current.get("spec") or {}).get("nodeName"):
                return
            log.debug("%s could not be bound to %s: %s", pod.key, node, error)
            queued.info = PodInfo(current)
            self.queue.failed(queued)
            if not isinstance(error, Conflict):
                self._tell(pod, "Warning", "FailedScheduling", f"binding rejected: {error}")
            self.queue.move(POD_DELETED)
        else:
            self.scheduled += 1
            self._count(queued, "scheduled")
            self.counts.bound(queued.attempts, self._clock.monotonic() - queued.ready)
            self._tell(
                pod, "Normal", "Scheduled", f"Successfully assigned {pod.namespace}/{pod.name} to {node}"
            )

    async def _create_binding(self, attempt: Attempt, node: str) -> None:
        pod = attempt.pod
        binders = attempt.binders()
        if binders and self._nominates:
            # Others (a cluster autoscaler) learn what is meant before volumes and devices are ready.
            await self._write_status(pod, {"nominatedNodeName": node})
        with self._timed("PreBind", pod):
            for bind, state in binders:
                await bind(state, pod, node, self._cluster)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        async with self._slots:  # not while a volume is being made, which can take minutes
            with self._timed("Bind", pod):
                await self._client.create(
                    resource("pods"), binding, pod.namespace, name=pod.name, subresource="binding"
                )

    # -- no node --

    def _preempt(self, queued: QueuedPod, attempt: Attempt) -> bool:
        """Ends an attempt that has found no node; whether others go for it."""
        message = attempt.message(len(self.cache.nodes))
        if not attempt.profile.preemption:
            self._unschedulable(queued, attempt, message)
            return False
        said, help = attempt.relief()
        if help is not None:
            self._in_background(self._relieve(attempt.pod, help))
        self.counts.preemptions += 1
        if attempt.rejection:
            helpless = f"0/{len(self.cache.nodes)} nodes are available: {len(self.cache.nodes)} {preemption.NOT_HELPFUL}."
            outcome = preemption.Outcome(None, helpless)
        else:
            outcome = preemption.choose(attempt, self._cluster, self._budgets.list())
        if outcome.candidate is not None:
            self.counts.preempted(len(outcome.candidate.victims))
            attempt.pod.nominated = outcome.candidate.node
            self._nominated[attempt.pod.uid] = attempt.pod
            self._unschedulable(queued, attempt, message, nominate=outcome.candidate.node)
            self._in_background(self._evict(attempt.pod, outcome.candidate.victims))
            return True
        # Where the API has claims for devices, upstream's plug-in for them speaks before preemption.
        first = f"{said or _NO_CLAIMS}, " if self._lookup.devices is not None else ""
        self._unschedulable(queued, attempt, f"{message} {first}preemption: {outcome.message}")
        return False

    async def _relieve(self, pod: PodInfo, help: Callable[[Cluster], Awaitable[None]]) -> None:
        try:
            await help(self._cluster)
        except StatusError as error:
            log.debug("nothing could be done for %s: %s", pod.key, error)

    async def _evict(self, pod: PodInfo, victims: Sequence[PodInfo]) -> None:
        for victim in victims:
            try:
                await self._evict_one(pod, victim)
            except NotFound:
                continue
            except StatusError as error:
                log.warning("%s could not be preempted: %s", victim.key, error)

    async def _evict_one(self, pod: PodInfo, victim: PodInfo) -> None:
        pods = resource("pods")
        told = f"{pod.scheduler_name}: preempting to accommodate a higher priority pod"
        condition = objects.disruption_target("PreemptionByScheduler", told, self._clock.now())
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        if not objects.is_deleting(victim.pod):
            await self._client.patch(
                pods, victim.name, patch, victim.namespace, kind="strategic", subresource="status"
            )
            await self._client.delete(pods, victim.name, victim.namespace, uid=victim.uid)
            text = f"Preempted by pod {pod.uid} on node {victim.node_name}"
            self._events.event(
                pod.scheduler_name,
                (victim.pod, pods),
                "Normal",
                "Preempted",
                "Preempting",
                text,
                (pod.pod, pods),
            )

    def _unschedulable(
        self, queued: QueuedPod, attempt: Attempt, message: str, nominate: str | None = None
    ) -> None:
        self.failures += 1
        self._count(queued, "unschedulable")
        pod = queued.info
        self.queue.unschedulable(queued, attempt.wakes())
        self._tell(pod, "Warning", "FailedScheduling", message)
        status = _unscheduled(pod.pod, message, nominate, self._clock.now())
        if status is None:
            return
        self._in_background(self._write_status(pod, status))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._bindings.add(task)
        task.add_done_callback(self._bindings.discard)

    async def _write_status(self, pod: PodInfo, status: Object) -> None:
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        try:
            await self._client.patch(
                resource("pods"), pod.name, patch, pod.namespace, kind="strategic", subresource="status"
            )
        except StatusError as error:
            log.debug("status of %s not written: %s", pod.key, error)

    def _tell(self, pod: PodInfo, kind: str, reason: str, message: str) -> None:
        action = "Binding" if reason == "Scheduled" else "Scheduling"
        self._events.event(pod.scheduler_name, (pod.pod, resource("pods")), kind, reason, action, message)


def _matters(pod: Object, old: Object) -> bool:
    """Whether a change to a waiting pod may let it fit. Of its status only that the claims made for it have names now."""
    if pod.get("spec") != old.get("spec") or objects.labels(pod) != objects.labels(old):
        return True
    return bool(_claims(pod) != _claims(old))


def _claims(pod: Object) -> Any:
    return (pod.get("status") or {}).get("resourceClaimStatuses")


def _unscheduled(pod: Object, message: str, nominate: str | None, now: float) -> Object | None:
    """The status that says why the pod waits; None where it says so already."""
    status: Object = {}
    old = objects.condition(pod, "PodScheduled") or {}
    wanted = {"status": "False", "reason": "Unschedulable", "message": message}
    if any(old.get(key) != value for key, value in wanted.items()):
        same = old.get("status") == "False" and old.get("lastTransitionTime")
        condition = {"type": "PodScheduled", **wanted, "lastTransitionTime": same or objects.rfc3339(now)}
        generation = (pod.get("metadata") or {}).get("generation")
        if generation:
            condition["observedGeneration"] = generation
        status["conditions"] = [condition]
    nominated = (pod.get("status") or {}).get("nominatedNodeName") or None
    if nominate and nominate != nominated:
        status["nominatedNodeName"] = nominate
    return status or None
