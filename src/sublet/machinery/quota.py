"""What objects count against a ResourceQuota: the same for admission and for the controller that recounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sublet.machinery import quantity, usage
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity, from_value

Amounts = dict[str, Quantity]
_FINISHED = ("Succeeded", "Failed")
_COUNTED = frozenset((
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
))  # fmt: skip
"""Core resources that quotas also count under their bare names."""
_CLAIMS = ("resource.k8s.io", "resourceclaims")
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_ALL_DEVICES = 32
"""What a request for all devices counts: as many as a claim may have."""
_STANDARD = frozenset(("cpu", "memory", "ephemeral-storage"))


def tracked(group: str, plural: str, hard: Iterable[str]) -> list[str]:
    """Those of a quota's resource names that objects of this kind can count against."""
    return [name for name in hard if _concerns(group, plural, name)]


def _concerns(group: str, plural: str, name: str) -> bool:
    if name == (f"count/{plural}.{group}" if group else f"count/{plural}"):
        return True
    if (group, plural) == _CLAIMS:
        return name.endswith(_DEVICES)
    if group:
        return False
    if name in _COUNTED:
        return name == plural
    match plural:
        case "pods":
            return name in _STANDARD or (
                name.startswith(("requests.", "limits.", "hugepages-")) and name != "requests.storage"
            )
        case "services":
            return name in ("services.nodeports", "services.loadbalancers")
        case "persistentvolumeclaims":
            return name == "requests.storage" or ".storageclass.storage.k8s.io/" in name
    return False


def of_object(group: str, plural: str, obj: Object) -> Amounts:
    """What one object uses, by resource name; empty for a pod that is over."""
    if (group, plural) == ("", "pods") and not _pod_counts(obj):
        return {f"count/{plural}": from_value(1)}
    found: Amounts = {f"count/{plural}.{group}" if group else f"count/{plural}": from_value(1)}
    if (group, plural) == _CLAIMS:
        return found | _of_devices(obj)
    if group:
        return found
    if plural in _COUNTED:
        found[plural] = from_value(1)
    if plural == "pods":
        found |= _of_pod(obj)
    elif plural == "services":
        found |= _of_service(obj)
    elif plural == "persistentvolumeclaims":
        found |= _of_claim(obj)
    return found


def _pod_counts(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in _FINISHED


def _of_pod(pod: Object) -> Amounts:
    found: Amounts = {}
    for name, amount in usage.pod_requests(pod).items():
        found[f"requests.{name}"] = amount
        if name in _STANDARD or name.startswith("hugepages-"):
            found[name] = amount
    for name, amount in usage.pod_limits(pod).items():
        found[f"limits.{name}"] = amount
    return found


def _of_service(service: Object) -> Amounts:
    spec = service.get("spec") or {}
    kind = spec.get("type") or "ClusterIP"
    found: Amounts = {}
    ports = len(spec.get("ports") or ())
    if kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)):
        found["services.nodeports"] = from_value(ports)
    if kind == "LoadBalancer":
        found["services.loadbalancers"] = from_value(1)
    return found


def _of_claim(claim: Object) -> Amounts:
    spec = claim.get("spec") or {}
    found: Amounts = {}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    amount = quantity.parse(storage) if storage else None
    if amount is not None:
        found["requests.storage"] = amount
    if name := spec.get("storageClassName"):
        found[f"{name}.storageclass.storage.k8s.io/persistentvolumeclaims"] = from_value(1)
        if amount is not None:
            found[f"{name}.storageclass.storage.k8s.io/requests.storage"] = amount
    return found


def _of_devices(claim: Object) -> Amounts:
    """Devices by class; of alternatives each class counts its most."""
    counts: dict[str, int] = {}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        most: dict[str, int] = {}
        for each in request.get("firstAvailable") or [request.get("exactly") or request]:
            wanted = _ALL_DEVICES if each.get("allocationMode") == "All" else int(each.get("count") or 1)
            if name := str(each.get("deviceClassName") or ""):
                most[name] = max(most.get(name, 0), wanted)
        for name, wanted in most.items():
            counts[name] = counts.get(name, 0) + wanted
    return {f"{name}{_DEVICES}": from_value(count) for name, count in counts.items()}


def in_scope(quota: Object, plural: str, obj: Object) -> bool:
    """Whether a quota's scopes let it count this object; scopes speak of pods (and of claims' classes)."""
    return all(matches_scope(scope, plural, obj) for scope in scopes(quota))


def scopes(quota: Object) -> list[Mapping[str, Any]]:
    """What a quota's ``scopes`` and ``scopeSelector`` ask for, as requirements."""
    spec = quota.get("spec") or {}
    found: list[Mapping[str, Any]] = [
        {"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()
    ]
    return [*found, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def matches_scope(scope: Mapping[str, Any], plural: str, obj: Object) -> bool:
    """Whether an object is within one scope."""
    name = scope.get("scopeName")
    spec = obj.get("spec") or {}
    if name == "VolumeAttributesClass":
        return plural == "persistentvolumeclaims" and _any_chosen(scope, _attribute_classes(obj))
    if plural != "pods":
        return False
    match name:
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return usage.qos_class(obj) == "BestEffort"
        case "NotBestEffort":
            return usage.qos_class(obj) != "BestEffort"
        case "PriorityClass":
            return _chosen(scope, spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _reaches_out(spec)
    return False


def _attribute_classes(claim: Object) -> list[str]:
    """Those a claim asks for, has, and is getting."""
    status = claim.get("status") or {}
    names = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return [str(name) for name in names if name] or [""]


def _any_chosen(scope: Mapping[str, Any], values: Sequence[str]) -> bool:
    every = scope.get("operator") in ("NotIn", "DoesNotExist")
    return (all if every else any)(_chosen(scope, value) for value in values)


def _chosen(scope: Mapping[str, Any], value: str) -> bool:
    values: Sequence[str] = scope.get("values") or ()
    match scope.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
    return False


def _reaches_out(spec: Mapping[str, Any]) -> bool:
    """Whether some pod (anti-)affinity looks into other namespaces."""
    affinity = spec.get("affinity") or {}
    for key in ("podAffinity", "podAntiAffinity"):
        part = affinity.get(key) or {}
        terms = list(part.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        terms += [
            t.get("podAffinityTerm") or {}
            for t in part.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
