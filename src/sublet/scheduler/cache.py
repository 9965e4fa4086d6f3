"""The scheduler's view of nodes and the pods on them; pods it has placed count before the API says so."""

from __future__ import annotations

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.scheduler.framework import NODE_ADDED, NODE_LABELS, NODE_RESOURCES, NODE_TAINTS
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo


class Cache:
    """Changed in place, so an attempt needs no snapshot: it never awaits while it reads."""

    def __init__(self) -> None:
        self._all: dict[str, NodeInfo] = {}
        self.nodes: dict[str, NodeInfo] = {}
        """Only those whose node object is known."""
        self._where: dict[str, str] = {}
        self._assumed: set[str] = set()

    def set_node(self, node: Object) -> list[str]:
        """Returns the events this stands for (framework's constants)."""
        name = objects.name(node)
        info = self._all.setdefault(name, NodeInfo(name))
        known = name in self.nodes
        before = (info.allocatable, info.labels, info.taints, info.unschedulable)
        info.set_node(node)
        self.nodes[name] = info
        if not known:
            return [NODE_ADDED]
        events = []
        if info.allocatable != before[0]:
            events.append(NODE_RESOURCES)
        if info.labels != before[1]:
            events.append(NODE_LABELS)
        if info.taints != before[2] or info.unschedulable != before[3]:
            events.append(NODE_TAINTS)
        return events

    def sizes(self) -> dict[str, int]:
        """How many nodes, pods on nodes, and pods whose node the API does not show yet."""
        return {"nodes": len(self.nodes), "pods": len(self._where), "assumed_pods": len(self._assumed)}

    def remove_node(self, name: str) -> None:
        info = self.nodes.pop(name, None)
        if info is not None:
            info.node = {}
            if not info.pods:
                del self._all[name]

    def assume(self, pod: PodInfo, node: str) -> None:
        """Counts the pod on the node until the API shows it there or :meth:`forget`."""
        self._put(pod, node)
        self._assumed.add(pod.uid)

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def forget(self, uid: str) -> None:
        """The binding did not happen."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def set_pod(self, pod: PodInfo) -> bool:
        """A pod that the API shows on a node; returns whether it is new there."""
        new = self._where.get(pod.uid) != pod.node_name
        self._assumed.discard(pod.uid)
        self._put(pod, pod.node_name)
        return new

    def remove_pod(self, uid: str) -> bool:
        """Returns whether it was on a node."""
        self._assumed.discard(uid)
        name = self._where.pop(uid, None)
        if name is None:
            return False
        info = self._all[name]
        info.remove(uid)
        if not info.pods and name not in self.nodes:
            del self._all[name]
        return True

    def _put(self, pod: PodInfo, node: str) -> None:
        if self._where.get(pod.uid, node) != node:
            self.remove_pod(pod.uid)
        self._where[pod.uid] = node
        self._all.setdefault(node, NodeInfo(node)).add(pod)
