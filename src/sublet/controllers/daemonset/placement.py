"""On which nodes a DaemonSet runs and what the pod of a node looks like. Pure.

Source: reference/kubernetes-api.md C (daemonset).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects, scheduling
from sublet.machinery.kind import Object
from sublet.reconcile.workloads import pod_from_template, pod_prefix

REVISION = "controller-revision-hash"
GENERATION = "pod-template-generation"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_SETS = resource("daemonsets.apps")
_NO_EXECUTE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_NO_SCHEDULE = (
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
)
_NETWORK = "node.kubernetes.io/network-unavailable"


@dataclass(frozen=True)
class Verdict:
    """``run``: a pod should be started there; ``keep``: one that runs there may go on."""

    run: bool
    keep: bool


def pod_for(daemon_set: Object, node: str, revision_hash: str) -> Object:
    """The pod of one node: bound to it by affinity, tolerating what a daemon has to."""
    spec = daemon_set["spec"]
    template = spec["template"]
    made = pod_from_template(
        template,
        owner=objects.owner_reference(daemon_set, _SETS),
        generate_name=pod_prefix(objects.name(daemon_set)),
    )
    made["metadata"]["namespace"] = objects.namespace(daemon_set)
    own = {
        REVISION: revision_hash,
        GENERATION: objects.annotations(daemon_set).get(_TEMPLATE_GENERATION, "1"),
    }
    made["metadata"]["labels"] = {**(made["metadata"].get("labels") or {}), **own}
    made["spec"] = {
        **made["spec"],
        "affinity": _affinity(made["spec"].get("affinity") or {}, node),
        "tolerations": [*(made["spec"].get("tolerations") or ()), *_tolerations(made["spec"])],
    }
    return made


def _affinity(affinity: Object, node: str) -> Object:
    """The node by name in place of the template's required node affinity, which was asked before."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"nodeSelectorTerms": [term]}
    by_node = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": required,
    }
    return {**affinity, "nodeAffinity": by_node}


def _tolerations(spec: Object) -> list[Object]:
    found: list[Object] = [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in _NO_EXECUTE]
    found += [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in _NO_SCHEDULE]
    if spec.get("hostNetwork"):
        found.append({"key": _NETWORK, "operator": "Exists", "effect": "NoSchedule"})
    have = spec.get("tolerations") or ()
    return [each for each in found if each not in have]


def verdict(daemon_set: Object, node: Object) -> Verdict:
    """By node name, selector, affinity and taints; how full the node is is the scheduler's business."""
    spec: dict[str, Any] = daemon_set["spec"]["template"].get("spec") or {}
    if spec.get("nodeName") and spec["nodeName"] != objects.name(node):
        return Verdict(False, False)
    pod = {"spec": {**spec, "tolerations": [*(spec.get("tolerations") or ()), *_tolerations(spec)]}}
    if not scheduling.matches_affinity(pod, node):
        return Verdict(False, False)
    if scheduling.untolerated_taint(pod, node, ("NoExecute",)) is not None:
        return Verdict(False, False)
    if scheduling.untolerated_taint(pod, node, ("NoSchedule",)) is not None:
        return Verdict(False, True)
    return Verdict(True, True)


def node_of(pod: Object) -> str:
    """The node a daemon pod runs on or is meant for."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("operator") == "In":
                return str((field.get("values") or [""])[0])
    return ""
