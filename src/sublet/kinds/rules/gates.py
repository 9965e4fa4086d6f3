"""Fields whose features Kubernetes 1.36 leaves off unless it is told otherwise.

What a client sets there is dropped, not refused; an object that has such a field already (it was stored when the
feature was on) keeps it, and may use it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sublet.machinery.kind import Object

Fields = Iterator[tuple[str, Object, str]]
"""(feature, the map that holds the field, its name)."""

_PROJECTIONS = {
    "clusterTrustBundle": "ClusterTrustBundleProjection",
    "podCertificate": "PodCertificateRequest",
}
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_ATTRIBUTE_LISTS = ("bools", "ints", "strings", "versions")
_TEMPLATE = ("spec", "template", "spec")


def _at(obj: Any, *path: str) -> Any:
    for key in path:
        obj = (obj or {}).get(key)
    return obj


def _pod_spec(spec: Object) -> Fields:
    if "schedulingGroup" in spec:
        yield "GenericWorkload", spec, "schedulingGroup"
    for volume in spec.get("volumes") or ():
        for source in _at(volume, "projected", "sources") or ():
            for field, feature in _PROJECTIONS.items():
                if field in source:
                    yield feature, source, field
    for key in _CONTAINERS:
        for container in spec.get(key) or ():
            lifecycle = container.get("lifecycle") or {}
            if "stopSignal" in lifecycle:
                alone = len(lifecycle) == 1
                yield (
                    "ContainerStopSignals",
                    container if alone else lifecycle,
                    "lifecycle" if alone else "stopSignal",
                )


def _pod_at(*path: str) -> Callable[[Object], Fields]:
    return lambda obj: _pod_spec(_at(obj, *path) or {})


def _csi_driver(obj: Object) -> Fields:
    if "preventPodSchedulingIfMissing" in (spec := obj.get("spec") or {}):
        yield "VolumeLimitScaling", spec, "preventPodSchedulingIfMissing"


def _lease(obj: Object) -> Fields:
    for field in ("strategy", "preferredHolder"):
        if field in (spec := obj.get("spec") or {}):
            yield "CoordinatedLeaderElection", spec, field


def _resource_slice(obj: Object) -> Fields:
    for device in _at(obj, "spec", "devices") or ():
        if "nodeAllocatableResourceMappings" in device:
            yield "DRANodeAllocatableResources", device, "nodeAllocatableResourceMappings"
        for attribute in (device.get("attributes") or {}).values():
            for field in _ATTRIBUTE_LISTS:
                if field in attribute:
                    yield "DRAListTypeAttributes", attribute, field


_KINDS: Mapping[str, Callable[[Object], Fields]] = {
    "CSIDriver": _csi_driver,
    "CronJob": _pod_at("spec", "jobTemplate", *_TEMPLATE),
    "Lease": _lease,
    "Pod": _pod_at("spec"),
    "PodTemplate": _pod_at("template", "spec"),
    "ResourceSlice": _resource_slice,
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"),
        _pod_at(*_TEMPLATE),
    ),
}


def drop(fields: Callable[[Object], Fields], new: Object, old: Object | None) -> None:
    """Takes from ``new``, in place, what no feature is on for and ``old`` did not use."""
    found = list(fields(new))
    if not found:
        return
    used = {feature for feature, _, _ in fields(old)} if old is not None else frozenset()
    for feature, holder, field in found:
        if feature not in used:
            del holder[field]


def on_create(kind: str, further: Callable[[Object], None] | None) -> Callable[[Object], None] | None:
    """A kind's ``prepare_create`` that drops them first."""
    fields = _KINDS.get(kind)
    if fields is None:
        return further

    def prepare(obj: Object) -> None:
        drop(fields, obj, None)
        if further is not None:
            further(obj)

    return prepare


def on_update(
    kind: str, further: Callable[[Object, Object], None] | None
) -> Callable[[Object, Object], None] | None:
    """A kind's ``prepare_update`` that drops them first."""
    fields = _KINDS.get(kind)
    if fields is None:
        return further

    def prepare(new: Object, old: Object) -> None:
        drop(fields, new, old)
        if further is not None:
            further(new, old)

    return prepare
