"""A node with the pods that are or will be on it, kept up to date pod by pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.scheduling import HostPort
from sublet.machinery.usage import amounts
from sublet.scheduler.podinfo import PodInfo

T = TypeVar("T")


class NodeInfo:
    """Amounts are billionths of their unit."""

    __slots__ = ("allocatable", "controllers", "images", "labels", "max_pods", "name", "node", "pods", "ports", "requested", "scored",
                 "taints", "unschedulable", "with_affinity")  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: Object = {}
        """Empty while pods are known on it but the node itself is not."""
        self.labels: Mapping[str, str] = {}
        self.taints: list[dict[str, Any]] = []
        self.unschedulable = False
        self.allocatable: dict[str, int] = {}
        self.max_pods = 0
        self.images: dict[str, int] = {}
        """Every name of every image the node has -> its size in bytes."""
        self.requested: dict[str, int] = {}
        self.scored = [0, 0]
        """Requested cpu and memory with defaults for pods that request none: what scoring goes by."""
        self.pods: dict[str, PodInfo] = {}
        self.ports: dict[HostPort, int] = {}
        self.controllers: dict[str, int] = {}
        """Uid of a controller -> how many of the pods are its own; "" for pods that have none."""
        self.with_affinity: dict[str, PodInfo] = {}
        """Pods that state affinity or anti-affinity to other pods."""

    def set_node(self, node: Object) -> None:
        self.node = node
        self.labels = objects.labels(node)
        spec, status = node.get("spec") or {}, node.get("status") or {}
        self.taints = spec.get("taints") or []
        self.unschedulable = bool(spec.get("unschedulable"))
        stated = status.get("allocatable") or status.get("capacity") or {}
        self.allocatable = {name: amount.nano for name, amount in amounts(stated).items()}
        self.max_pods = self.allocatable.get("pods", 0) // 10**9
        self.images = {
            str(name): int(image.get("sizeBytes") or 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }

    def add(self, pod: PodInfo) -> None:
        if pod.uid in self.pods:
            self.remove(pod.uid)
        self.pods[pod.uid] = pod
        self._count(pod, 1)
        if pod.has_pod_affinity:
            self.with_affinity[pod.uid] = pod

    def remove(self, uid: str) -> PodInfo | None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            self._count(pod, -1)
            self.with_affinity.pop(uid, None)
        return pod

    def _count(self, pod: PodInfo, sign: int) -> None:
        requested = self.requested
        for name, value in pod.requests.items():
            requested[name] = requested.get(name, 0) + sign * value
        self.scored[0] += sign * pod.scored_cpu
        self.scored[1] += sign * pod.scored_memory
        for port in pod.ports:
            _shift(self.ports, port, sign)
        _shift(self.controllers, pod.controller_uid, sign)

    def copy(self) -> NodeInfo:
        """One to try changes on."""
        copy = NodeInfo(self.name)
        for part in ("node", "labels", "taints", "unschedulable", "allocatable", "max_pods", "images"):
            setattr(copy, part, getattr(self, part))
        copy.requested = dict(self.requested)
        copy.scored = [*self.scored]
        copy.pods = dict(self.pods)
        copy.ports = dict(self.ports)
        copy.controllers = dict(self.controllers)
        copy.with_affinity = dict(self.with_affinity)
        return copy


def _shift(counts: dict[T, int], key: T, by: int) -> None:
    left = counts.get(key, 0) + by
    if left > 0:
        counts[key] = left
    else:
        counts.pop(key, None)
