"""Hollow nodes: they report the pods that are bound to them as running and run none.

Many of them share one process, one watch of pods and one queue. What they report is in ``hollow_status``; what they
say of themselves in ``hollow_registration``. For tests, CI and machines without containerd.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import networks, objects, scheduling, usage
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity
from sublet.machinery.status import NotFound, StatusError
from sublet.node import hollow_events, hollow_status
from sublet.node.hollow_registration import HollowSettings, Registration, node_object
from sublet.node.hollow_status import Place
from sublet.node.hollow_usage import node_usage
from sublet.node.metricsreport import NodeUsage, Reporter
from sublet.node.statuswriter import replaced
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result

log = logging.getLogger(__name__)

_WORKERS = 32
_REGISTER_DELAY = 1.0
_ENDED = ("Succeeded", "Failed")


class HollowNode:
    """One node's admitted pods; the node agent's duties are :class:`HollowNodes`'."""

    def __init__(self, settings: HollowSettings, name: str) -> None:
        self.name = name
        self._node = node_object(settings, name)
        self.labels = self._node["metadata"]["labels"]
        allocatable = {"status": {"allocatable": dict(settings.capacity)}}
        self._usage = scheduling.NodeUsage({**self._node, **allocatable})
        self._admitted: dict[str, Object] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._admitted

    def admit(self, pod: Object, *, checked: bool = True) -> tuple[str, str] | None:
        """Counts the pod, or says (reason, message) why it is refused; unchecked ones run already."""
        if checked and (refusal := self._refusal(pod)):
            return refusal
        self._usage.add(pod)
        self._admitted[objects.uid(pod)] = pod
        return None

    def drop(self, uid: str) -> None:
        pod = self._admitted.pop(uid, None)
        if pod is not None:
            self._usage.remove(pod)

    def _refusal(self, pod: Object) -> tuple[str, str] | None:
        if self._usage.ports_taken(scheduling.host_ports(pod)):
            return "NodePorts", f"Predicate NodePorts failed: {scheduling.PORTS}"
        for reason in self._usage.insufficient(self._known(usage.pod_requests(pod))):
            if reason == scheduling.TOO_MANY_PODS:
                return "OutOfpods", "Node didn't have enough resource: pods"
            name = reason.removeprefix("Insufficient ")
            return f"OutOf{name}", f"Node didn't have enough resource: {name}"
        return None

    def _known(self, requests: Mapping[str, Quantity]) -> dict[str, Quantity]:
        """Without extended resources that others put into the Node's status: a kubelet does not judge those."""
        return {
            name: amount
            for name, amount in requests.items()
            if name in self._usage.allocatable or "/" not in name
        }


class Addresses:
    """Pod addresses, each given to one pod at a time."""

    def __init__(self, network: str) -> None:
        self._network = ipaddress.ip_network(network)
        self._held: dict[str, str] = {}
        self._used: set[str] = set()
        self._next = self._count()

    def _count(self) -> Iterator[int]:
        while True:
            yield from range(1, self._network.num_addresses - 1)

    def of(self, uid: str, known: str = "") -> str:
        """The pod's address: the one it has or had, else a free one. Raises ``OverflowError`` when all are used."""
        held = self._held.get(uid)
        if held is None:
            held = known or self._free()
            self._held[uid] = held
            self._used.add(held)
        return held

    def release(self, uid: str) -> None:
        held = self._held.pop(uid, None)
        if held is not None:
            self._used.discard(held)

    def _free(self) -> str:
        for _ in range(self._network.num_addresses):
            address = str(self._network[next(self._next)])
            if address not in self._used:
                return address
        raise OverflowError(f"no pod address is left in {self._network}")


class HollowNodes:
    """All hollow nodes of one process. ``run`` works until cancelled; the Node objects stay behind."""

    def __init__(
        self, client: Client, settings: HollowSettings, *, clock: Clock | None = None,
        rng: random.Random | None = None, events: EventRecorder | None = None,
    ) -> None:  # fmt: skip
        self._client = client
        self._settings = settings
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._events = events or EventRecorder(client, "kubelet", clock=self._clock)
        self._budget = hollow_events.Budget(self._clock)
        self.nodes = {name: HollowNode(settings, name) for name in settings.names}
        self._registrations = [Registration(client, settings, n, self._clock) for n in settings.names]
        self._by_name = {each.name: each for each in self._registrations}
        self._addresses = {
            networks.family(each): Addresses(each) for each in (settings.pod_network, settings.pod_network6)
        }
        # One watch for all: a selector per node would cost a watch each.
        selector = f"spec.nodeName={settings.names[0]}" if len(settings.names) == 1 else "spec.nodeName!="
        self._pods = Informer(client, resource("pods"), field_selector=selector, clock=self._clock, rng=rng)
        self._controller = Controller("hollow-node", self._reconcile, workers=_WORKERS)
        self._where: dict[str, tuple[str, str]] = {}
        self._told: dict[str, hollow_events.Seen] = {}
        """uid -> what events have told of its containers."""
        self._stopping: dict[str, float] = {}
        """uid of a pod that is being deleted -> when its containers have stopped, monotonic."""
        self.registered = asyncio.Event()
        """Set once all nodes are registered and ready."""

    async def run(self) -> None:
        self._pods.add_handler(self._pod_changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._register())
                group.create_task(self._pods.run())
                group.create_task(self._controller.run())
                group.create_task(self._heartbeats())
                group.create_task(self._report_usage())
        finally:
            self._pods.remove_handler(self._pod_changed)
            await self._events.close(0.5)

    # -- nodes --

    async def _register(self) -> None:
        for registration in self._registrations:
            delay = _REGISTER_DELAY
            while True:
                try:
                    await registration.register()
                    await registration.beat()
                    break
                except StatusError as error:
                    log.warning("node %s cannot register: %s", registration.name, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30.0)
        self.registered.set()

    async def _heartbeats(self) -> None:
        """Renews the Leases one after another, spread over the interval, with one timer."""
        await self.registered.wait()
        while True:
            pause = self._settings.renew_seconds / len(self._registrations)
            batch = min(max(1, int(1.0 / pause)), len(self._registrations))
            for start in range(0, len(self._registrations), batch):
                await asyncio.sleep(pause * batch)
                for registration in self._registrations[start : start + batch]:
                    try:
                        await registration.beat()
                    except StatusError as error:
                        log.warning("node %s cannot report: %s", registration.name, error)

    async def _report_usage(self) -> None:
        await self.registered.wait()
        await Reporter(self._client, self._usage, self._clock, self._settings.metrics_seconds).run()

    async def _usage(self) -> list[NodeUsage]:
        by_node: dict[str, list[Object]] = {name: [] for name in self.nodes}
        for pod in self._pods.list():
            found = by_node.get((pod.get("spec") or {}).get("nodeName", ""))
            if found is not None:
                found.append(pod)
        return [node_usage(name, self.nodes[name].labels, pods) for name, pods in by_node.items()]

    # -- pods --

    def _pod_changed(self, event: str, pod: Object, _old: Object | None) -> None:
        uid, key = objects.uid(pod), objects.key(pod)
        name = (pod.get("spec") or {}).get("nodeName", "")
        if name not in self.nodes:
            return
        self._where[key] = (uid, name)
        if event == "delete":
            self._forget(uid, name)
            self._where.pop(key, None)
        else:
            self._controller.enqueue(key)

    def _forget(self, uid: str, name: str) -> None:
        self.nodes[name].drop(uid)
        for addresses in self._addresses.values():
            addresses.release(uid)
        self._stopping.pop(uid, None)
        self._told.pop(uid, None)

    async def _reconcile(self, key: str) -> Result | None:
        pod = self._pods.get_key(key)
        node = self.nodes.get(((pod or {}).get("spec") or {}).get("nodeName", ""))
        if pod is None or node is None:
            return None
        uid = objects.uid(pod)
        if objects.is_deleting(pod):
            if left := self._stops_in(pod):
                return Result(left)
            await self._remove(pod, node)
            return None
        if (pod.get("status") or {}).get("phase") in _ENDED:
            node.drop(uid)
            return None
        if uid not in node:
            running = (pod.get("status") or {}).get("phase") == "Running"
            refusal = node.admit(pod, checked=not running)
            if refusal is not None:
                await self._reject(pod, node, *refusal)
                return None
        status, seconds = hollow_status.running(pod, await self._place(pod, node), self._clock.now())
        await self._write(pod, status)
        return Result(seconds)

    async def _place(self, pod: Object, node: HollowNode) -> Place:
        registration = self._by_name[node.name]
        families = await registration.learn()
        ips: Sequence[str] = registration.addresses
        if not (pod.get("spec") or {}).get("hostNetwork"):
            ips = self._pod_ips(pod, families)
        return Place(registration.addresses, ips, self._settings.denied_images, self._settings.finish_seconds)

    def _pod_ips(self, pod: Object, families: Sequence[str]) -> list[str]:
        """Those it has, else one of each of its node's families."""
        stated = (pod.get("status") or {}).get("podIPs") or ()
        known = {networks.family(each["ip"]): str(each["ip"]) for each in stated}
        chosen = tuple(known) or families or (networks.family(self._settings.pod_network),)
        return [self._addresses[each].of(objects.uid(pod), known.get(each, "")) for each in chosen]

    def _stops_in(self, pod: Object) -> float:
        """Seconds its containers still take to stop: clients see a pod that is deleted gracefully go, not gone."""
        if (pod.get("status") or {}).get("phase") in _ENDED:
            return 0.0
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        now = self._clock.monotonic()
        limit = now + min(grace, self._settings.stop_seconds)
        if objects.uid(pod) not in self._stopping:
            self._record(pod, hollow_events.stopping(pod))
        due = min(self._stopping.get(objects.uid(pod), limit), limit)
        self._stopping[objects.uid(pod)] = due
        return max(0.0, due - now)

    async def _remove(self, pod: Object, node: HollowNode) -> None:
        """Stops the containers, says so, and lets the API server remove the pod."""
        ended = (pod.get("status") or {}).get("phase") in _ENDED
        metadata = pod["metadata"]
        if ended and metadata.get("deletionGracePeriodSeconds") == 0:
            return  # finalizers keep it; that is others' business
        if not ended and (pod.get("status") or {}).get("containerStatuses"):
            await self._write(pod, hollow_status.ended(pod, await self._place(pod, node), self._clock.now()))
        try:
            await self._client.delete(
                resource("pods"), metadata["name"], metadata["namespace"], grace=0, uid=metadata["uid"]
            )
        except NotFound:
            return

    async def _reject(self, pod: Object, node: HollowNode, reason: str, message: str) -> None:
        place = Place(self._by_name[node.name].addresses, ())
        await self._write(pod, hollow_status.rejected(pod, place, self._clock.now(), reason, message))
        self._record(pod, [("Warning", reason, message, "")])

    def _record(self, pod: Object, happened: Iterable[hollow_events.Happened]) -> None:
        host = pod["spec"]["nodeName"]
        for kind, reason, message, field in happened:
            if self._budget.take():
                self._events.event(pod, resource("pods"), kind, reason, message, field=field, host=host)

    async def _write(self, pod: Object, status: Object) -> None:
        old = pod.get("status") or {}
        if _same(old, status):
            return
        changes = {key: replaced(key, value) for key, value in status.items()}
        patch = {"metadata": {"uid": objects.uid(pod)}, "status": changes}
        metadata = pod["metadata"]
        try:
            await self._client.patch(
                resource("pods"), metadata["name"], patch, metadata["namespace"], kind="strategic",
                subresource="status",
            )  # fmt: skip
        except NotFound:
            return
        # What was written last counts, not what the watch has shown of it so far.
        before = self._told.get(objects.uid(pod))
        self._record(
            pod, hollow_events.changed(pod, hollow_events.seen(old) if before is None else before, status)
        )
        self._told[objects.uid(pod)] = hollow_events.seen(status)


def _same(old: Object, new: Object) -> bool:
    """Whether writing ``new`` would change nothing: others' fields and conditions do not count."""
    for key, value in new.items():
        if key == "conditions":
            known = {c["type"]: c for c in old.get("conditions") or ()}
            for condition in value:
                found = known.get(condition["type"]) or {}
                if any(found.get(k) != v for k, v in condition.items()):
                    return False
        elif old.get(key) != value:
            return False
    return True


def names(count: int, prefix: str = "hollow") -> Sequence[str]:
    """``hollow-0``, ``hollow-1`` …"""
    return [f"{prefix}-{number}" for number in range(count)]


async def run_hollow(
    client: Client, count: int = 1, *, prefix: str = "hollow", settings: HollowSettings | None = None,
    clock: Clock | None = None, rng: random.Random | None = None,
) -> None:  # fmt: skip
    """Runs ``count`` hollow nodes until cancelled; ``settings`` (its names win) says what they look like."""
    settings = settings or HollowSettings(names=names(count, prefix))
    await HollowNodes(client, settings, clock=clock, rng=rng).run()
