"""What a pod asks for: the sum of its containers' requests or limits, and its quality of service class.

Source: component-helpers' resource package; the kubelet's qos package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sublet.machinery import quantity
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity

Amounts = dict[str, Quantity]

_QOS_RESOURCES = ("cpu", "memory")


def amounts(resources: Mapping[str, Any] | None) -> Amounts:
    """A ResourceList with its quantities parsed. Raises ``ValueError``."""
    return {name: quantity.parse(value) for name, value in (resources or {}).items()}


def total(parts: Iterable[Mapping[str, Quantity]]) -> Amounts:
    found: Amounts = {}
    for part in parts:
        _add(found, part)
    return found


def canonical(found: Mapping[str, Quantity]) -> dict[str, str]:
    """As a ResourceList again."""
    return {name: amount.canonical() for name, amount in found.items()}


def pod_requests(pod: Object, *, from_status: bool = False) -> Amounts:
    """What must be free on a node for the pod: containers, init containers, pod-level requests, overhead.

    ``from_status`` counts what a pod being resized holds already when that is more than its spec says.
    """
    found = _pod_amounts(pod, "requests", from_status)
    _add(found, amounts(_spec(pod).get("overhead")))
    return found


def pod_limits(pod: Object) -> Amounts:
    """The sum of limits; overhead counts where there is a limit at all."""
    found = _pod_amounts(pod, "limits", False)
    for name, amount in amounts(_spec(pod).get("overhead")).items():
        if found.get(name):
            found[name] = found[name] + amount
    return found


def is_extended(name: str) -> bool:
    """Whether a resource is none of Kubernetes' own: a device, a licence (``example.com/gpu``)."""
    domain, slash, _ = name.partition("/")
    return bool(slash) and "kubernetes.io" not in domain and not name.startswith("requests.")


def has_pod_resources(spec: Mapping[str, Any]) -> bool:
    """Whether a pod itself, not only its containers, says what it takes of what can be said so."""
    stated = spec.get("resources") or {}
    return any(
        name in _QOS_RESOURCES or name.startswith("hugepages-")
        for part in ("requests", "limits")
        for name in stated.get(part) or ()
    )


def is_restartable(container: Mapping[str, Any]) -> bool:
    """Whether an init container keeps running beside the others (a sidecar)."""
    return container.get("restartPolicy") == "Always"


def qos_class(pod: Object) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort``, from the spec (reads no status)."""
    spec = _spec(pod)
    if spec.get("resources"):
        holders: list[Mapping[str, Any]] = [spec]
    else:
        holders = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    requests: Amounts = {}
    limits: Amounts = {}
    guaranteed = True
    for holder in holders:
        resources = holder.get("resources") or {}
        _add(requests, _qos_amounts(resources.get("requests")))
        own_limits = _qos_amounts(resources.get("limits"))
        _add(limits, own_limits)
        guaranteed = guaranteed and len(own_limits) == len(_QOS_RESOURCES)
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


def _qos_amounts(resources: Mapping[str, Any] | None) -> Amounts:
    found = (
        (name, quantity.parse(value)) for name, value in (resources or {}).items() if name in _QOS_RESOURCES
    )
    return {name: amount for name, amount in found if amount.nano > 0}


def _spec(pod: Object) -> Mapping[str, Any]:
    return pod.get("spec") or {}


def _pod_amounts(pod: Object, what: str, from_status: bool) -> Amounts:
    spec = _spec(pod)
    held = _held(pod) if from_status else {}
    found: Amounts = {}
    for container in spec.get("containers") or ():
        _add(found, _container_amounts(container, what, held))
    sidecars: Amounts = {}
    init: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _container_amounts(container, what, held)
        if is_restartable(container):
            _add(found, own)
            _add(sidecars, own)
            _raise_to(init, sidecars)
        else:
            # An ordinary init container runs beside the sidecars that were started before it.
            _add(own, sidecars)
            _raise_to(init, own)
    _raise_to(found, init)
    for name, amount in amounts((spec.get("resources") or {}).get(what)).items():
        if name in _QOS_RESOURCES or name.startswith("hugepages-"):
            found[name] = amount
    return found


def _container_amounts(
    container: Mapping[str, Any], what: str, held: Mapping[str, list[Mapping[str, Any]]]
) -> Amounts:
    own = amounts((container.get("resources") or {}).get(what))
    for resources in held.get(container.get("name", ""), ()):
        _raise_to(own, amounts(resources))
    return own


def _held(pod: Object) -> dict[str, list[Mapping[str, Any]]]:
    """Container name -> what its status says was allocated and is in force."""
    status = pod.get("status") or {}
    return {
        container.get("name", ""): [
            container.get("allocatedResources") or {},
            (container.get("resources") or {}).get("requests") or {},
        ]
        for part in ("containerStatuses", "initContainerStatuses")
        for container in status.get(part) or ()
    }


def _add(found: Amounts, other: Mapping[str, Quantity]) -> None:
    for name, amount in other.items():
        found[name] = found[name] + amount if name in found else amount


def _raise_to(found: Amounts, other: Mapping[str, Quantity]) -> None:
    for name, amount in other.items():
        if name not in found or found[name] < amount:
            found[name] = amount
