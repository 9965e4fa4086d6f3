"""Rules of a HorizontalPodAutoscaler: what it scales, by which metrics, how fast."""

from __future__ import annotations

from typing import Any, NamedTuple

from sublet.kinds.rules.common import Errors, named, needs, not_negative, spec_of
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
"""Type of a metric -> the field it is described in; the first one there is the one that is read."""
_SCALES_TO_ZERO = ("Object", "External")
_MAX_WINDOW, _MAX_PERIOD = 3600, 1800
_CORE_KIND = "ReplicationController"
"""The one kind of the core group that can be scaled."""


class _Options(NamedTuple):
    """What is asked of an autoscaler beside the rules that hold for all."""

    fewest: int = 1
    """The least that ``minReplicas`` may be."""
    target: bool = True
    """Whether the version of what is scaled is judged."""
    objects: bool = True
    """Whether the versions of objects in metrics are judged."""


def whole(obj: Object) -> Errors:
    yield from _spec(spec_of(obj), _Options())


def changed(new: Object, old: Object) -> Errors:
    """What an old autoscaler was allowed to hold, it may keep: no replicas, and versions that are none."""
    spec, before = spec_of(new), spec_of(old)
    target, was = (each.get("scaleTargetRef") or {} for each in (spec, before))
    same = all((target.get(key) or "") == (was.get(key) or "") for key in ("apiVersion", "kind"))
    objects = [
        (metric.get("object") or {}).get("describedObject") or {}
        for metric in before.get("metrics") or ()
        if metric.get("type") == "Object"
    ]
    options = _Options(
        fewest=0 if before.get("minReplicas") == 0 else 1,
        target=not same,
        objects=not any(_version(each, grouped=False) for each in objects),
    )
    yield from _spec(spec, options)


def status(new: Object, _old: Object) -> Errors:
    for field in ("currentReplicas", "desiredReplicas"):
        yield from not_negative(f"status.{field}", (new.get("status") or {}).get(field))


def _spec(spec: Object, options: _Options) -> Errors:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < options.fewest:
        yield invalid("spec.minReplicas", least, f"must be greater than or equal to {options.fewest}")
    if most < 1:
        yield invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        yield invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    yield from _reference("spec.scaleTargetRef", target)
    if options.target and (wrong := _version(target, grouped=target.get("kind") != _CORE_KIND)):
        yield invalid("spec.scaleTargetRef.apiVersion", target.get("apiVersion") or "", wrong)
    yield from _metrics("spec.metrics", spec.get("metrics") or (), least, objects=options.objects)
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            yield from _scaling(f"spec.behavior.{direction}", rules)


def _reference(path: str, reference: Object) -> Errors:
    for field in ("kind", "name"):
        yield from needs(f"{path}.{field}", reference.get(field), names.path_segment)


def _version(reference: Object, *, grouped: bool) -> str:
    """What is wrong with the apiVersion of a reference; ``grouped``: the core group is no answer."""
    text = reference.get("apiVersion") or ""
    if text.count("/") > 1:
        return f"unexpected GroupVersion string: {text}"
    group, slash, _ = text.partition("/")
    return "" if (group and slash) or not grouped else "apiVersion must specify API group"


def _metrics(path: str, metrics: Any, least: int | None, *, objects: bool) -> Errors:
    for index, metric in enumerate(metrics):
        yield from _metric(f"{path}[{index}]", metric, objects=objects)
    if least == 0 and not any(metric.get("type") in _SCALES_TO_ZERO for metric in metrics):
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield field_forbidden(path, detail)


def _metric(path: str, metric: Object, *, objects: bool) -> Errors:
    kind = metric.get("type") or ""
    unknown = kind not in SOURCES
    if not kind:
        yield required(f"{path}.type", "must specify a metric source type")
    if unknown:
        yield not_supported(f"{path}.type", kind, sorted(SOURCES))
    present = [(name, field) for name, field in SOURCES.items() if metric.get(field) is not None]
    if present:
        name, field = present[0]
        yield from _source(f"{path}.{field}", name, metric[field], objects=objects)
    if unknown:
        yield not_supported(f"{path}.type", kind, sorted(SOURCES))
    fields, expected = [field for _, field in present], SOURCES.get(kind, "")
    if not unknown and expected not in fields:
        yield required(f"{path}.{expected}", "must populate information for the given metric source")
    if len(fields) != 1:
        for field in fields:
            if field != expected:
                yield field_forbidden(f"{path}.{field}", "must populate the given metric source only")


def _source(path: str, kind: str, source: Object, *, objects: bool) -> Errors:
    target = source.get("target") or {}
    if kind == "Object":
        described = source.get("describedObject") or {}
        yield from _reference(f"{path}.describedObject", described)
        if objects and (wrong := _version(described, grouped=False)):
            yield invalid(f"{path}.describedObject.apiVersion", described.get("apiVersion") or "", wrong)
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            yield required(f"{path}.name", "must specify a resource name")
        if kind == "ContainerResource":
            if not source.get("container"):
                yield required(f"{path}.container", "must specify a container")
            else:
                yield from named(f"{path}.container", source["container"], names.dns1123_label)
    else:
        yield from _identifier(f"{path}.metric", source.get("metric") or {})
    yield from _target(f"{path}.target", target)
    yield from _needed(f"{path}.target", kind, target)


def _identifier(path: str, metric: Object) -> Errors:
    name = metric.get("name")
    if not name:
        yield required(f"{path}.name", "must specify a metric name")
    else:
        yield from named(f"{path}.name", name, names.path_segment)


def _target(path: str, target: Object) -> Errors:
    kind = target.get("type") or ""
    if not kind:
        yield required(f"{path}.type", "must specify a metric target type")
    elif kind not in ("Utilization", "Value", "AverageValue"):
        yield invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    for field in ("value", "averageValue"):
        amount = target.get(field)
        if amount is not None and quantity.parse(amount) <= quantity.Quantity(0):
            yield invalid(f"{path}.{field}", amount, "must be positive")
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        yield invalid(f"{path}.averageUtilization", utilization, "must be greater than 0")


def _needed(path: str, kind: str, target: Object) -> Errors:
    """Which numbers a type of metric is compared with."""
    value, average, utilization = (
        target.get(f) is not None for f in ("value", "averageValue", "averageUtilization")
    )
    if kind == "Object":
        if not value and not average:
            yield required(f"{path}.averageValue", "must set either a target value or averageValue")
    elif kind == "Pods":
        if not average or quantity.parse(target["averageValue"]) <= quantity.Quantity(0):
            yield required(f"{path}.averageValue", "must specify a positive target averageValue")
    elif kind == "External":
        if value and average:
            detail = "may not set both a target value for metric and a per-pod target"
            yield field_forbidden(f"{path}.value", detail)
        if not value and not average:
            detail = "must set either a target value for metric or a per-pod target"
            yield required(f"{path}.averageValue", detail)
    else:
        if not utilization and not average:
            detail = "must set either a target raw value or a target utilization"
            yield required(f"{path}.averageUtilization", detail)
        if utilization and average:
            detail = "may not set both a target raw value and a target utilization"
            yield field_forbidden(f"{path}.averageValue", detail)


def _scaling(path: str, rules: Object) -> Errors:
    window, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        yield invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window is not None and window > _MAX_WINDOW:
        detail = f"must be less than or equal to {_MAX_WINDOW}"
        yield invalid(f"{path}.stabilizationWindowSeconds", window, detail)
    if select is not None and select not in ("Disabled", "Max", "Min"):
        yield not_supported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min"))
    policies = rules.get("policies") or ()
    if not policies:
        yield required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(policies):
        yield from _policy(f"{path}.policies[{index}]", policy)
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantity.parse(tolerance) < quantity.Quantity(0):
        yield invalid(f"{path}.tolerance", tolerance, "must be greater than or equal to 0")


def _policy(path: str, policy: Object) -> Errors:
    kind, value, period = policy.get("type") or "", policy.get("value") or 0, policy.get("periodSeconds") or 0
    if kind not in ("Percent", "Pods"):
        yield not_supported(f"{path}.type", kind, ("Percent", "Pods"))
    if value <= 0:
        yield invalid(f"{path}.value", value, "must be greater than zero")
    if period <= 0:
        yield invalid(f"{path}.periodSeconds", period, "must be greater than zero")
    if period > _MAX_PERIOD:
        yield invalid(f"{path}.periodSeconds", period, f"must be less than or equal to {_MAX_PERIOD}")
