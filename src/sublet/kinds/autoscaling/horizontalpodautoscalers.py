"""HorizontalPodAutoscaler: stored as ``autoscaling/v2``, also served as ``autoscaling/v1``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sublet.kinds import resources
from sublet.kinds.builtin import builtin
from sublet.kinds.rules import autoscalers, show
from sublet.kinds.rules.common import fill, rule, spec_of, update_rule
from sublet.machinery.codec import DecodeError, decode_json, encode_json
from sublet.machinery.kind import Object, Served

_V1 = resources.resource("horizontalpodautoscalers.autoscaling", "v1")
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_ANNOTATIONS = (_METRICS, _BEHAVIOR, _CONDITIONS, _CURRENT)
"""What version 1 has no fields for."""
_MAX_SHOWN = 2
_FASTEST = {"type": "Percent", "value": 100, "periodSeconds": 15}


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if isinstance(status := obj.get("status"), dict):
        fill(status, desiredReplicas=0, currentMetrics=None)
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior.setdefault("scaleUp", {})
        behavior.setdefault("scaleDown", {})
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        fill(behavior["scaleUp"], stabilizationWindowSeconds=0)
        for direction, policies in (("scaleUp", [pods, dict(_FASTEST)]), ("scaleDown", [dict(_FASTEST)])):
            fill(behavior[direction], selectPolicy="Max", policies=policies)


# -- version 1 --


def _utilization(metric: Object) -> int | None:
    """The number that version 1 has a field for."""
    source = metric.get("resource") or {}
    if metric.get("type") != "Resource" or source.get("name") != "cpu":
        return None
    found: int | None = (source.get("target") or source.get("current") or {}).get("averageUtilization")
    return found


def _from_stored(obj: Object) -> Object:
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    spec, status = dict(spec_of(obj)), dict(obj.get("status") or {})
    _take_cpu(spec, "metrics", "targetCPUUtilizationPercentage", annotations, _METRICS)
    _take_cpu(status, "currentMetrics", "currentCPUUtilizationPercentage", annotations, _CURRENT)
    for part, field, annotation in ((spec, "behavior", _BEHAVIOR), (status, "conditions", _CONDITIONS)):
        value = part.pop(field, None)
        if value:
            annotations[annotation] = encode_json(value).decode()
    if annotations:
        metadata["annotations"] = annotations
    made = {**obj, "apiVersion": _V1.api_version, "kind": _V1.kind, "metadata": metadata, "spec": spec}
    if "status" in obj:
        made["status"] = {"currentReplicas": 0, "desiredReplicas": 0, **status}
    return made


def _take_cpu(part: Object, field: str, cpu_field: str, annotations: dict[str, str], annotation: str) -> None:
    rest = []
    for metric in part.pop(field, None) or ():
        value = _utilization(metric)
        if value is not None and cpu_field not in part:
            part[cpu_field] = value
        else:
            rest.append(metric)
    if rest:
        annotations[annotation] = encode_json(rest).decode()


def _to_stored(obj: Object) -> Object:
    metadata = dict(obj.get("metadata") or {})
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    spec, status = dict(spec_of(obj)), dict(obj.get("status") or {})
    cpu = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = _decoded(annotations, _METRICS)
    if cpu is not None:
        target = {"type": "Utilization", "averageUtilization": cpu}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}, *metrics]
    if metrics:
        spec["metrics"] = metrics
    if behavior := _decoded(annotations, _BEHAVIOR):
        spec["behavior"] = behavior
    current = status.pop("currentCPUUtilizationPercentage", None)
    currently = _decoded(annotations, _CURRENT)
    if current is not None:
        used = {"averageUtilization": current, "averageValue": "0"}
        currently = [{"type": "Resource", "resource": {"name": "cpu", "current": used}}, *currently]
    if currently:
        status["currentMetrics"] = currently
    if conditions := _decoded(annotations, _CONDITIONS):
        status["conditions"] = conditions
    if status.get("currentReplicas") == 0:
        del status["currentReplicas"]  # version 2 leaves it out
    kept = {key: value for key, value in annotations.items() if key not in _ANNOTATIONS}
    metadata.pop("annotations", None)
    if kept:
        metadata["annotations"] = kept
    made = {**obj, "apiVersion": "autoscaling/v2", "kind": _V1.kind, "metadata": metadata, "spec": spec}
    if "status" in obj:
        made["status"] = status
    return made


def _decoded(annotations: Mapping[str, str], key: str) -> Any:
    """What an annotation of ours carries; nothing where a user wrote something else into it."""
    try:
        return decode_json(annotations[key]) if key in annotations else []
    except DecodeError:
        return []


# -- cells --


def _targets(metrics: Sequence[Object], current: Sequence[Object]) -> str:
    shown = []
    for index, metric in enumerate(metrics[:_MAX_SHOWN]):
        source = metric.get(autoscalers.SOURCES.get(str(metric.get("type")), "")) or {}
        now = current[index] if index < len(current) else {}
        used = (now.get(autoscalers.SOURCES.get(str(now.get("type")), "")) or {}).get("current") or {}
        shown.append(_target_text(metric, source, source.get("target") or {}, used))
    if not shown:
        return show.NONE
    more = len(metrics) - len(shown)
    return ", ".join(shown) + (f" + {more} more..." if more else "")


def _target_text(metric: Object, source: Object, target: Object, used: Object) -> str:
    prefix = f"{source.get('name')}: " if metric.get("type") in ("Resource", "ContainerResource") else ""
    if target.get("averageValue") is not None:
        average = "" if prefix or metric.get("type") == "Pods" else " (avg)"
        return f"{prefix}{used.get('averageValue') or show.UNKNOWN}/{target['averageValue']}{average}"
    if prefix:
        value, wanted = used.get("averageUtilization"), target.get("averageUtilization")
        text = show.UNKNOWN if value is None else f"{value}%"
        return f"{prefix}{text}/{'<auto>' if wanted is None else f'{wanted}%'}"
    return f"{prefix}{used.get('value') or show.UNKNOWN}/{target.get('value')}"


def _cells(obj: Object, now: float) -> list[Any]:
    if obj.get("apiVersion") == _V1.api_version:
        obj = _to_stored(obj)
    spec, status = spec_of(obj), obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        show.name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(spec.get("metrics") or (), status.get("currentMetrics") or ()),
        "<unset>" if least is None else str(least),
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
        show.age(obj, now),
    ]


KIND = builtin(
    "horizontalpodautoscalers.autoscaling",
    status={"desiredReplicas": 0, "currentMetrics": None},
    also_served=(Served(_V1, _from_stored, _to_stored),),
    default=_default,
    validate=rule(autoscalers.whole),
    validate_update=update_rule(autoscalers.changed),
    update_alone=True,
    validate_status=update_rule(autoscalers.status),
    cells=_cells,
)
