"""What the scheduler needs of a pod, computed once per version of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.scheduling import HostPort, host_ports
from sublet.machinery.usage import pod_requests

DEFAULT_SCHEDULER = "default-scheduler"
_DEFAULT_CPU = 10**8
_DEFAULT_MEMORY = 200 * 1024 * 1024 * 10**9
"""What scoring assumes of pods that request nothing (upstream's figures), in billionths."""


class PodInfo:
    """Shares the pod it is made from; a changed pod gets a new one."""

    __slots__ = ("affinity", "controller_uid", "created", "gated", "has_pod_affinity", "key", "labels", "name", "namespace",
                 "node_name", "nominated", "pod", "ports", "priority", "requests", "scheduler_name",
                 "scored_cpu", "scored_memory", "spec", "tolerations", "uid")  # fmt: skip

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.spec: dict[str, Any] = pod.get("spec") or {}
        self.uid = objects.uid(pod)
        self.name = objects.name(pod)
        self.namespace = objects.namespace(pod)
        self.key = objects.key(pod)
        self.labels = objects.labels(pod)
        self.created = str((pod.get("metadata") or {}).get("creationTimestamp") or "")
        self.controller_uid = str((objects.controller_of(pod) or {}).get("uid") or "")
        self.priority = int(self.spec.get("priority") or 0)
        self.scheduler_name = str(self.spec.get("schedulerName") or DEFAULT_SCHEDULER)
        self.gated = bool(self.spec.get("schedulingGates"))
        self.node_name = str(self.spec.get("nodeName") or "")
        self.nominated = str((pod.get("status") or {}).get("nominatedNodeName") or "")
        self.tolerations: list[dict[str, Any]] = self.spec.get("tolerations") or []
        self.affinity: dict[str, Any] = self.spec.get("affinity") or {}
        self.has_pod_affinity = bool(self.affinity.get("podAffinity") or self.affinity.get("podAntiAffinity"))
        self.requests = _requests(pod)
        """Billionths, as all amounts here."""
        self.scored_cpu = self.requests.get("cpu", _DEFAULT_CPU)
        self.scored_memory = self.requests.get("memory", _DEFAULT_MEMORY)
        self.ports = tuple(host_ports(pod))


def _requests(pod: Object) -> dict[str, int]:
    try:
        found = pod_requests(pod, from_status=True)
    except ValueError:
        return {}  # validation keeps such pods out; one from elsewhere must not stop the scheduler
    return {name: amount.nano for name, amount in found.items() if amount.nano > 0}


def conflicts(wanted: Iterable[HostPort], used: Iterable[HostPort]) -> bool:
    """Whether a wanted port is taken: the same protocol and number on the same or on all addresses."""
    return any(
        one[0] == other[0] and one[2] == other[2] and (one[1] == other[1] or "0.0.0.0" in (one[1], other[1]))
        for one in wanted
        for other in used
    )
