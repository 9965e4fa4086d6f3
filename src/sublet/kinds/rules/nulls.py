"""Times and states that Kubernetes writes into the status of an object though whoever reported it left them out.

Go's encoder can omit neither a time nor a struct that is no pointer: one that says nothing is ``null`` or ``{}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sublet.machinery.kind import Object

_TRANSITION = ("lastTransitionTime",)
_PROBED = ("lastProbeTime", "lastTransitionTime")
_UPDATED = ("lastUpdateTime", "lastTransitionTime")

_TIMES: Mapping[str, Sequence[str]] = {
    "APIService": _TRANSITION,
    "DaemonSet": _TRANSITION,
    "Deployment": _UPDATED,
    "FlowSchema": _TRANSITION,
    "HorizontalPodAutoscaler": _TRANSITION,
    "Job": _PROBED,
    "Namespace": _TRANSITION,
    "Node": ("lastHeartbeatTime", "lastTransitionTime"),
    "PersistentVolumeClaim": _PROBED,
    "Pod": _PROBED,
    "PriorityLevelConfiguration": _TRANSITION,
    "ReplicaSet": _TRANSITION,
    "ReplicationController": _TRANSITION,
    "StatefulSet": _TRANSITION,
}
"""Kind -> the times of each of its conditions."""

_CONTAINERS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def completed(kind: str, default: Callable[[Object], None] | None) -> Callable[[Object], None] | None:
    """A kind's defaults, and after them the nulls of its status."""
    times = _TIMES.get(kind)
    if kind == "VolumeAttachment":
        return _after(default, _errors)
    if times is None:
        return default

    def complete(obj: Object) -> None:
        if default is not None:
            default(obj)
        _stamp(obj.get("status"), times)
        if kind == "Pod":
            _containers(obj.get("status"))

    return complete


def _after(
    default: Callable[[Object], None] | None, further: Callable[[Object], None]
) -> Callable[[Object], None]:
    def complete(obj: Object) -> None:
        if default is not None:
            default(obj)
        further(obj)

    return complete


def _errors(attachment: Object) -> None:
    """What went wrong with a volume, and when."""
    for field in ("attachError", "detachError"):
        if (error := (attachment.get("status") or {}).get(field)) is not None:
            error.setdefault("time", None)


def _stamp(status: Object | None, times: Sequence[str]) -> None:
    for condition in (status or {}).get("conditions") or ():
        for field in times:
            condition.setdefault(field, None)


def _containers(status: Object | None) -> None:
    """What is reported of each container: its two states are there, and their times."""
    for field in _CONTAINERS:
        for container in (status or {}).get(field) or ():
            for state in ("state", "lastState"):
                found = container.setdefault(state, {}) or {}
                if found.get("running") is not None:
                    found["running"].setdefault("startedAt", None)
                if found.get("terminated") is not None:
                    found["terminated"].setdefault("startedAt", None)
                    found["terminated"].setdefault("finishedAt", None)
