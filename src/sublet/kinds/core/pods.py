"""Pod."""

from __future__ import annotations

from collections.abc import Callable

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import (
    placement,
    pod_annotations,
    pod_defaults,
    pod_reports,
    pod_spec,
    pod_status,
    pod_updates,
    warn,
)
from sublet.kinds.rules.amounts import rounded
from sublet.kinds.rules.common import Errors, fill, mirror, rule, spec_of, update_rule
from sublet.kinds.rules.conditions import untold_times
from sublet.machinery import usage
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339
from sublet.machinery.status import field_forbidden

_FINISHED = ("Succeeded", "Failed")
_CONTAINER_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def _default(pod: Object) -> None:
    if isinstance(pod.get("spec"), dict):
        pod_defaults.pod_spec(pod["spec"], whole_pod=True)
    pod_defaults.forget_old_notes(pod.get("metadata") or {})
    if isinstance(pod.get("status"), dict):
        _default_status(pod["status"])
        untold_times(pod, "lastProbeTime", "lastTransitionTime")


def _default_status(status: Object) -> None:
    mirror(status, "podIP", "podIPs", "ip")
    holders = [found for field in _CONTAINER_STATUSES for found in status.get(field) or ()]
    for found in holders:
        _container_status(found)
    for holder in (status, *holders):
        asked = holder.get("resources") or {}
        rounded(holder.get("allocatedResources"), asked.get("requests"), asked.get("limits"))


def _container_status(found: Object) -> None:
    """What every container's status has, whatever was told."""
    fill(found, ready=False, restartCount=0, image="", imageID="", state={}, lastState={})
    for state in (found["state"], found["lastState"]):
        if (running := state.get("running")) is not None:
            fill(running, startedAt=None)
        if (terminated := state.get("terminated")) is not None:
            fill(terminated, exitCode=0, startedAt=None, finishedAt=None)


def _prepare_create(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    status: Object = {"phase": "Pending", "qosClass": usage.qos_class(pod)}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": None,
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    pod["status"] = status
    _merge_label_keys(pod, spec)


def _stamp(new: Object, old: Object | None, now: float) -> None:
    """Tells since when a new pod that is gated is so."""
    if old is None:
        for condition in new["status"].get("conditions") or ():
            condition["lastTransitionTime"] = rfc3339(now)


def _canonicalize(pod: Object) -> None:
    pod_annotations.confine(spec_of(pod), (pod.get("metadata") or {}).get("annotations") or {})


def _merge_label_keys(pod: Object, spec: Object) -> None:
    """``matchLabelKeys`` name labels whose values, taken from this pod, narrow the selector beside them."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    for term in placement.pod_terms(spec):
        _narrow(term, "matchLabelKeys", "In", labels)
        _narrow(term, "mismatchLabelKeys", "NotIn", labels)
    for spread in spec.get("topologySpreadConstraints") or ():
        _narrow(spread, "matchLabelKeys", "In", labels)


def _narrow(term: Object, field: str, operator: str, labels: Object) -> None:
    for key in term.get(field) or ():
        if key in labels and term.get("labelSelector") is not None:
            expressions = term["labelSelector"].setdefault("matchExpressions", [])
            expressions.append({"key": key, "operator": operator, "values": [labels[key]]})


def _prepare_status(new: Object, old: Object) -> None:
    status = new.setdefault("status", {})
    if not status.get("qosClass"):
        status["qosClass"] = (old.get("status") or {}).get("qosClass") or usage.qos_class(old)
    pod_reports.keep_generations(status, old.get("status") or {})


def _validate(pod: Object) -> Errors:
    yield from pod_spec.whole_pod(pod)
    spec = spec_of(pod)
    if spec.get("ephemeralContainers"):
        yield field_forbidden("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("nodeName") and spec.get("schedulingGates"):
        yield field_forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
    yield from pod_annotations.matching((pod.get("metadata") or {}).get("annotations") or {}, "spec", spec)


def _grace(pod: Object, requested: int | None) -> int:
    """Pods nobody runs go at once; the others get what was asked, else what their spec says."""
    spec, status = spec_of(pod), pod.get("status") or {}
    seconds = requested if requested is not None else spec.get("terminationGracePeriodSeconds")
    if not spec.get("nodeName") or status.get("phase") in _FINISHED:
        return 0
    if seconds is None:
        return 30
    return 1 if seconds < 0 else int(seconds)


def _status(field: str) -> Callable[[Object], str]:
    return lambda pod: str((pod.get("status") or {}).get(field) or "")


def _spec(field: str) -> Callable[[Object], str]:
    return lambda pod: str(spec_of(pod).get(field) or "")


def _pod_ips(pod: Object) -> str:
    return ",".join(ip.get("ip", "") for ip in (pod.get("status") or {}).get("podIPs") or ())


KIND = builtin(
    "pods",
    default=_default,
    prepare_create=_prepare_create,
    prepare_status=_prepare_status,
    stamp=_stamp,
    canonicalize=_canonicalize,
    reset={"status": ("spec", "metadata.deletionTimestamp", "metadata.ownerReferences")},
    only={
        "ephemeralcontainers": ("spec.ephemeralContainers",),
        "resize": tuple(
            f"spec.{containers}.*.{field}"
            for containers in ("containers", "initContainers")
            for field in ("resources", "resizePolicy")
        ),
    },
    validate=rule(_validate),
    validate_update=update_rule(pod_updates.update),
    update_alone=True,
    validate_status=update_rule(pod_reports.changed),
    warnings=warn.pod,
    warnings_status=warn.pod_status,
    grace=_grace,
    cells=pod_status.cells,
    row_conditions=pod_status.row_conditions,
    selectable={
        "spec.nodeName": _spec("nodeName"),
        "spec.host": _spec("nodeName"),
        "spec.restartPolicy": _spec("restartPolicy"),
        "spec.schedulerName": _spec("schedulerName"),
        "spec.serviceAccountName": _spec("serviceAccountName"),
        "spec.hostNetwork": lambda pod: "true" if spec_of(pod).get("hostNetwork") else "false",
        "status.phase": _status("phase"),
        "status.podIP": _status("podIP"),
        "status.podIPs": _pod_ips,
        "status.nominatedNodeName": _status("nominatedNodeName"),
    },
)
