"""Whether the node takes a pod that was bound to it: what the scheduler could not know then."""

from __future__ import annotations

from collections.abc import Iterable

from sublet.machinery import objects, scheduling, usage
from sublet.machinery.kind import Object
from sublet.node import poddata


class Admission:
    """Counts the pods that run; says why another one cannot."""

    def __init__(self, allocatable: dict[str, str], node_name: str) -> None:
        node = {"metadata": {"name": node_name}, "status": {"allocatable": allocatable}}
        self._usage = scheduling.NodeUsage(node)
        self._admitted: dict[str, Object] = {}

    def admit(self, pod: Object, *, checked: bool) -> tuple[str, str] | None:
        """None, or (reason, message) of the refusal. Unchecked pods run already: they only count."""
        uid = objects.uid(pod)
        if uid in self._admitted:
            return None
        if checked and (refusal := self._refusal(pod)):
            return refusal
        self._usage.add(pod)
        self._admitted[uid] = pod
        return None

    def release(self, uid: str) -> None:
        if pod := self._admitted.pop(uid, None):
            self._usage.remove(pod)

    def _refusal(self, pod: Object) -> tuple[str, str] | None:
        if self._usage.ports_taken(scheduling.host_ports(pod)):
            return "NodePorts", f"Predicate NodePorts failed: {scheduling.PORTS}"
        for reason in self._usage.insufficient(usage.pod_requests(pod)):
            if reason == scheduling.TOO_MANY_PODS:
                return "OutOfpods", "Node didn't have enough resource: pods"
            name = reason.removeprefix("Insufficient ")
            return f"OutOf{name}", f"Node didn't have enough resource: {name}"
        return None


def has_run(pod: Object, known: Iterable[str]) -> bool:
    """Whether the pod was taken before: the runtime knows its uid, or its status says so."""
    started = bool((pod.get("status") or {}).get("startTime"))
    return objects.uid(pod) in set(known) or started or poddata.is_terminal(pod)
