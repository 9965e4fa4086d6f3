"""HorizontalPodAutoscaler: stored as ``autoscaling/v2``, also served as ``autoscaling/v1``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sublet.kinds import resources
from sublet.kinds.builtin import builtin
from sublet.kinds.rules import autoscalers, autoscalers_v1, show
from sublet.kinds.rules.common import fill, rule, spec_of, update_rule
from sublet.machinery.kind import Object, Served

_V1 = resources.resource("horizontalpodautoscalers.autoscaling", "v1")
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_ANNOTATIONS = (_METRICS, _BEHAVIOR, _CONDITIONS, _CURRENT)
"""What version 1 has no fields for."""
_ASKED, _USED = "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage"
_MAX_SHOWN = 2
_FASTEST = {"type": "Percent", "value": 100, "periodSeconds": 15}


def _default(obj: Object) -> None:
    metadata = obj.get("metadata") or {}
    if any(key in (metadata.get("annotations") or {}) for key in _ANNOTATIONS):
        kept = {key: value for key, value in metadata["annotations"].items() if key not in _ANNOTATIONS}
        metadata["annotations"] = kept
        if not kept:
            del metadata["annotations"]
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


def _cpu(metrics: Sequence[Object], told: str) -> list[int | None]:
    """What the metrics say of processors in percent: version 1 has fields for that."""
    sources = [each.get("resource") or {} for each in metrics if each.get("type") == "Resource"]
    return [(each.get(told) or {}).get("averageUtilization") for each in sources if each.get("name") == "cpu"]


def _is_cpu(metric: Object) -> bool:
    return any(value is not None for value in _cpu([metric], "target"))


def _from_stored(obj: Object) -> Object:
    metadata = dict(obj.get("metadata") or {})
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _ANNOTATIONS}
    spec, status = dict(spec_of(obj)), dict(obj.get("status") or {})
    metrics, current = spec.pop("metrics", None) or [], status.pop("currentMetrics", None) or []
    if (asked := _cpu(metrics, "target")[:1]) and asked[0] is not None:
        spec[_ASKED] = asked[0]
    if rest := [autoscalers_v1.old_metric(metric, "target") for metric in metrics if not _is_cpu(metric)]:
        annotations[_METRICS] = autoscalers_v1.written(rest)
    if used := [value for value in _cpu(current, "current") if value is not None]:
        status[_USED] = used[-1]
    if current:
        old = [autoscalers_v1.old_metric(metric, "current") for metric in current]
        annotations[_CURRENT] = autoscalers_v1.written(old)
    if conditions := status.pop("conditions", None):
        annotations[_CONDITIONS] = autoscalers_v1.written(conditions)
    if (behavior := spec.pop("behavior", None)) is not None:
        annotations[_BEHAVIOR] = autoscalers_v1.written(autoscalers_v1.old_behavior(behavior))
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    made = {**obj, "apiVersion": _V1.api_version, "kind": _V1.kind, "metadata": metadata, "spec": spec}
    if "status" in obj:
        made["status"] = {"currentReplicas": 0, "desiredReplicas": 0, **status}
    return made


def _to_stored(obj: Object) -> Object:
    metadata = dict(obj.get("metadata") or {})
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    spec, status = dict(spec_of(obj)), dict(obj.get("status") or {})
    asked, used = (part.pop(field, None) for part, field in ((spec, _ASKED), (status, _USED)))
    metrics = autoscalers_v1.metrics(annotations.get(_METRICS, "[]")) or []
    if asked is not None:
        target = {"type": "Utilization", "averageUtilization": asked}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if (behavior := autoscalers_v1.behavior(annotations.get(_BEHAVIOR, ""))) is not None:
        spec["behavior"] = behavior
    current = autoscalers_v1.reported(annotations.get(_CURRENT, ""))
    if current is None and used is not None:
        reported = {"name": "cpu", "current": {"averageUtilization": used}}
        current = [{"type": "Resource", "resource": reported}]
    if current:
        status["currentMetrics"] = current
    if conditions := autoscalers_v1.conditions(annotations.get(_CONDITIONS, "[]")):
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
