"""node-lifecycle-controller: says which nodes are lost, and taints nodes by their conditions.

A node is lost when neither its Lease nor its status changed for 50 s. Lost nodes get NoExecute taints at a limited
rate; what that means for pods is the taint-eviction-controller's business. Source: reference/kubernetes-api.md C.
Settings: kube-controller-manager's flags ``node_monitor_grace_period``, ``node_monitor_period`` (seconds) and what
:func:`rates` reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import Counter
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, NotFound, StatusError
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration, Runnable
from sublet.reconcile.workloads import set_condition
from sublet.reconcile.zones import Pace, Rates, Zones, zone_label, zone_of

log = logging.getLogger(__name__)

GRACE = 50.0
_CHECK = 5.0
_LEASES = "kube-node-lease"
_ASK_AGAIN = 10.0
_NODES = resource("nodes")
_PODS = resource("pods")
_LEASE_RESOURCE = resource("leases.coordination.k8s.io")
_PREFIX = "node.kubernetes.io/"
_BY_CONDITION = {
    ("Ready", "False"): "not-ready",
    ("Ready", "Unknown"): "unreachable",
    ("MemoryPressure", "True"): "memory-pressure",
    ("DiskPressure", "True"): "disk-pressure",
    ("PIDPressure", "True"): "pid-pressure",
    ("NetworkUnavailable", "True"): "network-unavailable",
}
_OURS = frozenset({*_BY_CONDITION.values(), "unschedulable"})
_EVICTING = frozenset({"not-ready", "unreachable"})
_OBSERVED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def condition_taints(node: Object) -> list[str]:
    """The NoSchedule taints (without prefix) that conditions and cordoning ask for."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    found = {
        name
        for condition in conditions
        if (name := _BY_CONDITION.get((condition.get("type", ""), condition.get("status", ""))))
    }
    if (node.get("spec") or {}).get("unschedulable"):
        found.add("unschedulable")
    return sorted(found)


def evicting_taint(node: Object) -> str:
    """``not-ready``, ``unreachable``, or empty: the NoExecute taint the node deserves."""
    ready = objects.condition(node, "Ready") or {}
    return _BY_CONDITION.get(("Ready", ready.get("status", "")), "")


def _evicts(node: Object, evict: str) -> bool:
    """Whether it has that taint already."""
    has = (node.get("spec") or {}).get("taints") or ()
    return any(t.get("key") == _PREFIX + evict and t.get("effect") == "NoExecute" for t in has)


def taints(node: Object, evict: str | None, now: float) -> list[Object] | None:
    """The node's taints as they should be; None where they are.

    ``evict`` is the NoExecute taint to have now, empty for none, None to leave those as they are.
    """
    old: list[Object] = (node.get("spec") or {}).get("taints") or []
    wanted = {(_PREFIX + name, "NoSchedule") for name in condition_taints(node)}
    kept: list[Object] = []
    for taint in old:
        key, effect = taint.get("key", ""), taint.get("effect", "")
        name = key.removeprefix(_PREFIX)
        if effect == "NoSchedule" and key.startswith(_PREFIX) and name in _OURS:
            if (key, effect) not in wanted:
                continue
            wanted.discard((key, effect))
        elif effect == "NoExecute" and key.startswith(_PREFIX) and name in _EVICTING and evict is not None:
            if name != evict:
                continue
            evict = None
        kept.append(taint)
    added = [{"key": key, "effect": effect} for key, effect in sorted(wanted)]
    if evict:
        added.append({"key": _PREFIX + evict, "effect": "NoExecute"})
    time = objects.rfc3339(now)
    new = [*kept, *({**taint, "timeAdded": time} for taint in added)]
    return None if new == old else new


def lost_conditions(node: Object, now: float) -> list[Object]:
    """The conditions of a node that was not heard of: what the node agent reports becomes Unknown."""
    text = objects.rfc3339(now)
    conditions: list[Object] = (node.get("status") or {}).get("conditions") or []
    for kind in _OBSERVED:
        old = objects.condition(node, kind)
        never = old is None
        new: Object = {
            "type": kind,
            "status": "Unknown",
            "lastTransitionTime": text,
            "reason": "NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
            "message": "Kubelet never posted node status."
            if never
            else "Kubelet stopped posting node status.",
        }
        if old is not None:
            new["lastHeartbeatTime"] = old.get("lastHeartbeatTime")
            if old.get("status") == "Unknown":
                continue
        conditions = set_condition(conditions, new)
    return conditions


@dataclass
class _Heard:
    """When a node last showed a sign of life, by our clock, and which."""

    at: float
    sign: tuple[str, str]


def rates(settings: Mapping[str, Any]) -> Rates:
    """``node_eviction_rate``, ``secondary_node_eviction_rate`` (nodes per second), ``large_cluster_size_threshold``
    (nodes), ``unhealthy_zone_threshold`` (share of nodes), where they are stated."""
    usual = Rates()
    return Rates(
        float(settings.get("node_eviction_rate", usual.normal)),
        float(settings.get("secondary_node_eviction_rate", usual.secondary)),
        int(settings.get("large_cluster_size_threshold", usual.large)),
        float(settings.get("unhealthy_zone_threshold", usual.unhealthy)),
    )


class Health:
    """Remembers signs of life; a node's first sign counts from when it was first seen."""

    def __init__(self, clock: Clock, grace: float = GRACE) -> None:
        self._clock = clock
        self._grace = grace
        self._heard: dict[str, _Heard] = {}

    def is_lost(self, node: Object, lease: Object | None) -> bool:
        renewed = ((lease or {}).get("spec") or {}).get("renewTime") or ""
        ready = objects.condition(node, "Ready") or {}
        beat = "" if ready.get("status") == "Unknown" else str(ready.get("lastHeartbeatTime"))
        sign = (renewed, beat)
        now = self._clock.monotonic()
        heard = self._heard.get(objects.uid(node))
        if heard is None or (heard.sign != sign and beat != ""):
            self._heard[objects.uid(node)] = _Heard(now, sign)
            return False
        if heard.sign[0] != renewed:
            self._heard[objects.uid(node)] = _Heard(now, sign)
            return False
        return now - heard.at > self._grace

    def forget(self, uid: str) -> None:
        self._heard.pop(uid, None)


class NodeLifecycle:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._nodes = context.informers.informer(_NODES)
        self._leases = context.informers.informer(_LEASE_RESOURCE, _LEASES)
        self._pods = context.informers.informer(_PODS)
        self._pods.add_index(workloads.NODE_INDEX, workloads.node_keys)
        self._health = Health(context.clock, float(context.settings.get("node_monitor_grace_period", GRACE)))
        self._period = float(context.settings.get("node_monitor_period", _CHECK))
        self._zones = Zones(rates(context.settings))
        self._pace = Pace()
        self._evictions = Counter(
            "node_collector_evictions_total",
            "[STABLE] Number of Node evictions that happened since current instance of NodeController started.",
        )
        self.controller = Controller("node-lifecycle-controller", self.reconcile)
        self.controller.sources += [self._zones.lines, self._evictions.lines]
        self._nodes.add_handler(self._on_node)

    def _on_node(self, event: str, node: Object, old: Object | None) -> None:
        self._count(event, node, old)
        name = objects.name(node)
        if event == "delete":
            self._health.forget(objects.uid(node))
            text = f"Node {name} event: Removing Node {name} from Controller"
            self._context.events.event(node, _NODES, "Normal", "RemovingNode", text)
            return
        if event == "add":
            text = f"Node {name} event: Registered Node {name} in Controller"
            self._context.events.event(node, _NODES, "Normal", "RegisteredNode", text)
        self.controller.enqueue(objects.name(node))

    def _count(self, event: str, node: Object, old: Object | None) -> None:
        before = self._zones.all_lost
        if event == "delete":
            self._zones.changed(old or node, None)
        else:
            self._zones.changed(old, node)
        if self._zones.all_lost != before:
            for each in self._nodes.list():
                self.controller.enqueue(objects.name(each))

    async def run(self) -> None:
        """The monitor: every few seconds, what changed of its own accord."""
        while True:
            await asyncio.sleep(self._period)
            for node in self._nodes.list():
                try:
                    await self._look_after(node)
                except (Conflict, NotFound):
                    continue
                except StatusError as error:
                    log.warning("node %s: %s", objects.name(node), error)

    async def _look_after(self, node: Object) -> None:
        lease = self._leases.get(_LEASES, objects.name(node))
        if not self._health.is_lost(node, lease):
            return
        conditions = lost_conditions(node, self._context.clock.now())
        if conditions != ((node.get("status") or {}).get("conditions") or []):
            status = {**(node.get("status") or {}), "conditions": conditions}
            await self._client.update_status(_NODES, {**node, "status": status})

    async def reconcile(self, name: str) -> None:
        node = self._nodes.get("", name)
        if node is None or objects.is_deleting(node):
            return
        await self._label(node)
        evict: str | None = evicting_taint(node)
        now = self._context.clock.now()
        if evict and self._zones.all_lost:
            evict = ""  # where all are lost it is we who cannot see
        elif evict and not self._may_evict(node, evict):
            evict = None
            self.controller.enqueue_after(name, _ASK_AGAIN)
        wanted = taints(node, evict, now)
        if wanted is not None:
            patch = {
                "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
                "spec": {"taints": wanted or None},
            }
            await self._client.patch(_NODES, name, patch)
            if evict and not _evicts(node, evict):
                self._evictions.add(zone_label(zone_of(node)))
        if evicting_taint(node):
            await self._mark_pods(node)

    def _may_evict(self, node: Object, evict: str) -> bool:
        """Few nodes at a time, so that a network cut does not empty the cluster."""
        if _evicts(node, evict):
            return True
        return self._pace.passes(node, self._zones.rate(node), self._context.clock.monotonic())

    async def _label(self, node: Object) -> None:
        labels = objects.labels(node)
        missing = {
            f"beta.kubernetes.io/{part}": labels[f"kubernetes.io/{part}"]
            for part in ("os", "arch")
            if f"kubernetes.io/{part}" in labels
            and labels.get(f"beta.kubernetes.io/{part}") != labels[f"kubernetes.io/{part}"]
        }
        if missing:
            await self._client.patch(_NODES, objects.name(node), {"metadata": {"labels": missing}})

    async def _mark_pods(self, node: Object) -> None:
        """Pods on a node that is not ready are not ready either: services leave them out."""
        told = False
        for pod in self._pods.by_index(workloads.NODE_INDEX, objects.name(node)):
            if not objects.is_true(pod, "Ready"):
                continue
            if not told:
                text = f"Node {objects.name(node)} status is now: NodeNotReady"
                self._context.events.event(node, _NODES, "Normal", "NodeNotReady", text)
                told = True
            conditions = [
                {**c, "status": "False", "lastTransitionTime": objects.rfc3339(self._context.clock.now())}
                if c.get("type") == "Ready"
                else c
                for c in (pod.get("status") or {}).get("conditions") or ()
            ]
            status = {**(pod.get("status") or {}), "conditions": conditions}
            try:
                await self._client.update_status(_PODS, {**pod, "status": status})
            except (Conflict, NotFound):
                continue
            self._context.events.event(pod, _PODS, "Warning", "NodeNotReady", "Node is not ready")


def setup(context: Context) -> Sequence[Runnable]:
    lifecycle = NodeLifecycle(context)
    return [lifecycle.controller, lifecycle]


CONTROLLER = Registration("node-lifecycle-controller", setup, service_account="node-controller")
