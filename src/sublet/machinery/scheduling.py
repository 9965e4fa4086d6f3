"""Whether a pod fits a node, and in Kubernetes' words why not.

The scheduler's plug-ins, the node agent's admission and the DaemonSet controller ask here. Source: kube-scheduler's
filter plug-ins; component-helpers' nodeaffinity and corev1 packages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sublet.machinery import objects, usage
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity

NOT_THE_NODE = "node(s) didn't match the requested node name"
UNSCHEDULABLE = "node(s) were unschedulable"
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
PORTS = "node(s) didn't have free ports for the requested pod ports"
TOO_MANY_PODS = "Too many pods"

_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_integer = re.compile(r"[+-]?[0-9]+").fullmatch

HostPort = tuple[str, str, int]
"""(protocol, address, port); the address ``0.0.0.0`` stands for all."""


class NodeUsage:
    """What pods take of one node. Add and remove the pods that are bound to it and have not ended."""

    __slots__ = ("allocatable", "pod_limit", "pods", "ports", "used")

    def __init__(self, node: Object, pods: Iterable[Object] = ()) -> None:
        self.allocatable: dict[str, int] = {}
        """Billionths, as all amounts here."""
        self.pod_limit = 0
        self.used: dict[str, int] = {}
        self.pods = 0
        self.ports: dict[HostPort, int] = {}
        self.node_changed(node)
        for pod in pods:
            self.add(pod)

    def node_changed(self, node: Object) -> None:
        status = node.get("status") or {}
        found = usage.amounts(status.get("allocatable") or status.get("capacity"))
        self.pod_limit = found.pop("pods", Quantity(0)).value()
        self.allocatable = {name: amount.nano for name, amount in found.items()}

    def add(self, pod: Object) -> None:
        self._count(pod, 1)

    def remove(self, pod: Object) -> None:
        self._count(pod, -1)

    def _count(self, pod: Object, sign: int) -> None:
        self.pods += sign
        for name, amount in usage.pod_requests(pod, from_status=True).items():
            self.used[name] = self.used.get(name, 0) + sign * amount.nano
        for port in host_ports(pod):
            self.ports[port] = self.ports.get(port, 0) + sign
            if not self.ports[port]:
                del self.ports[port]

    def insufficient(self, requests: Mapping[str, Quantity]) -> list[str]:
        """``Too many pods``, ``Insufficient cpu``, …: one for each resource of which too little is free."""
        reasons = [TOO_MANY_PODS] if self.pods + 1 > self.pod_limit else []
        for name, amount in requests.items():
            if amount.nano > 0 and amount.nano > self.allocatable.get(name, 0) - self.used.get(name, 0):
                reasons.append(f"Insufficient {name}")
        return reasons

    def ports_taken(self, wanted: Iterable[HostPort]) -> bool:
        return any(_clash(port, taken) for port in wanted for taken in self.ports)


def _clash(one: HostPort, other: HostPort) -> bool:
    if one[0] != other[0] or one[2] != other[2]:
        return False
    return one[1] == other[1] or "0.0.0.0" in (one[1], other[1])


def host_ports(pod: Object) -> list[HostPort]:
    """The ports of the node that the pod's containers and sidecars take."""
    spec = pod.get("spec") or {}
    containers = [
        *(spec.get("containers") or ()),
        *(c for c in spec.get("initContainers") or () if usage.is_restartable(c)),
    ]
    return [
        (port.get("protocol") or "TCP", port.get("hostIP") or "0.0.0.0", port["hostPort"])
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


def misfits(pod: Object, node: Object, used: NodeUsage) -> list[str]:
    """Why the pod cannot run on the node; empty when it fits.

    Only the reasons of the first rule that fails are given, in the order in which kube-scheduler asks.
    """
    wanted = (pod.get("spec") or {}).get("nodeName")
    if is_unschedulable(pod, node):
        return [UNSCHEDULABLE]
    if wanted and wanted != objects.name(node):
        return [NOT_THE_NODE]
    if taint := untolerated_taint(pod, node):
        return [taint_reason(taint)]
    if not matches_affinity(pod, node):
        return [AFFINITY]
    if used.ports_taken(host_ports(pod)):
        return [PORTS]
    return used.insufficient(usage.pod_requests(pod))


def is_unschedulable(pod: Object, node: Object) -> bool:
    """Whether the node is cordoned and the pod does not tolerate it."""
    if not (node.get("spec") or {}).get("unschedulable"):
        return False
    return not tolerated(_UNSCHEDULABLE_TAINT, (pod.get("spec") or {}).get("tolerations") or ())


# -- taints --


def no_execute(tainted: Mapping[str, Any]) -> list[Object]:
    """Of the ``taints`` of a node's spec or of a device those that pods have to go for."""
    return [each for each in tainted.get("taints") or () if each.get("effect") == "NoExecute"]


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    if not toleration.get("key"):
        return False
    return bool(operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or ""))


def tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def untolerated_taint(
    pod: Object, node: Object, effects: Sequence[str] = ("NoSchedule", "NoExecute")
) -> Mapping[str, Any] | None:
    """The first taint with one of these effects that the pod does not tolerate."""
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") in effects and not tolerated(taint, tolerations):
            return dict(taint)
    return None


def taint_reason(taint: Mapping[str, Any]) -> str:
    return f"node(s) had untolerated taint {{{taint.get('key', '')}: {taint.get('value') or ''}}}"


# -- node selectors --


def matches_affinity(pod: Object, node: Object) -> bool:
    """spec.nodeSelector and the required node affinity."""
    spec = pod.get("spec") or {}
    labels = objects.labels(node)
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_node_selector(required, node)


def preference(pod: Object, node: Object) -> int:
    """The summed weights of the preferred node affinity terms that the node meets."""
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    return sum(
        int(term.get("weight") or 0)
        for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if _matches_term(term.get("preference") or {}, node)
    )


def matches_node_selector(selector: Mapping[str, Any], node: Object) -> bool:
    """A NodeSelector: one of its terms must hold; also the node affinity of PersistentVolumes."""
    return any(_matches_term(term, node) for term in selector.get("nodeSelectorTerms") or ())


def _matches_term(term: Mapping[str, Any], node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    labels = objects.labels(node)
    names = {"metadata.name": objects.name(node)}
    return all(matches_expression(e, labels) for e in expressions) and all(
        matches_expression(f, names) for f in fields
    )


def matches_expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A NodeSelectorRequirement; an operator that does not exist never holds."""
    value = labels.get(expression.get("key", ""))
    values: Sequence[str] = expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            if value is None or len(values) != 1 or not _integer(value) or not _integer(values[0]):
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return False
