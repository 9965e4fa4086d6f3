"""What hollow nodes say their pods use: what an annotation of the pod says, since nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity
from sublet.node.metricsreport import NodeUsage, PodUsage

USAGE = "sublet.dev/hollow-usage"
"""``cpu=250m,memory=64Mi``: of the first container; ``NAME/cpu=100m``: of another. Without it a pod uses nothing."""


def container_usage(pod: Object) -> dict[str, dict[str, str]]:
    """Container -> resource -> quantity; what the annotation says wrongly counts as nothing."""
    names = [str(c["name"]) for c in (pod.get("spec") or {}).get("containers") or ()]
    found = {name: {"cpu": "0", "memory": "0"} for name in names}
    for part in (objects.annotations(pod).get(USAGE) or "").split(","):
        key, equals, value = part.strip().partition("=")
        container, slash, resource = key.rpartition("/")
        usage = found.get(container if slash else next(iter(names), ""))
        if usage is None or not equals or not resource:
            continue
        try:
            usage[resource] = str(quantity.parse(value.strip()))
        except ValueError:
            continue
    return found


def node_usage(name: str, labels: Mapping[str, str], pods: Iterable[Object]) -> NodeUsage:
    """A node uses what its pods do."""
    total = {"cpu": Quantity(0), "memory": Quantity(0)}
    reported = []
    for pod in pods:
        if (pod.get("status") or {}).get("phase") != "Running":
            continue
        usage = container_usage(pod)
        for amounts in usage.values():
            for resource in total:
                total[resource] += quantity.parse(amounts[resource])
        reported.append(PodUsage(objects.namespace(pod), objects.name(pod), objects.labels(pod), usage))
    return NodeUsage(name, labels, {key: str(amount) for key, amount in total.items()}, reported)
