"""What version 1 of HorizontalPodAutoscaler has no fields for, as it keeps it in annotations: metrics in their old shape,
behaviour under its Go names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sublet.kinds import schemas
from sublet.kinds.rules.autoscalers import SOURCES
from sublet.machinery import strict
from sublet.machinery.codec import DecodeError, decode_json, encode_json
from sublet.machinery.kind import Object

_NEW = "io.k8s.api.autoscaling.v2"
_RULES = ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance")
_POLICY = ("type", "value", "periodSeconds")
_SELECTOR = {"External": "metricSelector"}
"""Type of metric -> the old name of its selector, where it is not ``selector``."""
_OLD: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "target": {
        "Object": {"value": "targetValue", "averageValue": "averageValue"},
        "Pods": {"averageValue": "targetAverageValue"},
        "Resource": {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"},
        "External": {"value": "targetValue", "averageValue": "targetAverageValue"},
    },
    "current": {
        "Object": {"value": "currentValue", "averageValue": "averageValue"},
        "Pods": {"averageValue": "currentAverageValue"},
        "Resource": {
            "averageUtilization": "currentAverageUtilization",
            "averageValue": "currentAverageValue",
        },
        "External": {"value": "currentValue", "averageValue": "currentAverageValue"},
    },
}
"""What is told of a metric -> its type -> the fields of now -> those of old."""
_ALWAYS = {
    "target": {"Object": "value", "Pods": "averageValue"},
    "current": {"Object": "value", "Pods": "averageValue", "Resource": "averageValue", "External": "value"},
}
"""Amounts that the old shape always has, be they zero."""


def _shape(kind: str) -> str:
    return "Resource" if kind == "ContainerResource" else kind


def old_metric(metric: Object, told: str) -> Object:
    """``told``: ``target`` of a metric that is asked for, ``current`` of one that is reported."""
    kind = str(metric.get("type") or "")
    made: Object = {"type": kind}
    source = metric.get(SOURCES.get(kind, ""))
    if source is None:
        return made
    shape, amounts, named = _shape(kind), source.get(told) or {}, source.get("metric") or {}
    found: Object = {}
    if shape == "Resource":
        found["name"] = source.get("name") or ""
    else:
        if kind == "Object":
            found["target"] = source.get("describedObject") or {}
        found["metricName"] = named.get("name") or ""
        if named.get("selector") is not None:
            found[_SELECTOR.get(kind, "selector")] = named["selector"]
    for now, then in _OLD[told][shape].items():
        if amounts.get(now) is not None:
            found[then] = amounts[now]
        elif _ALWAYS[told].get(shape) == now:
            found[then] = "0"
    if kind == "ContainerResource":
        found["container"] = source.get("container") or ""
    return {**made, SOURCES[kind]: found}


def _new_metric(old: Object, told: str) -> Object:
    kind = str(old.get("type") or "")
    made: Object = {"type": kind}
    found = old.get(SOURCES.get(kind, ""))
    if found is None:
        return made
    shape, source, amounts = _shape(kind), dict[str, Any](), dict[str, Any]()
    for now, then in _OLD[told][shape].items():
        if found.get(then) is not None:
            amounts[now] = found[then]
        elif _ALWAYS[told].get(shape) == now and (shape != "Object" or found.get("averageValue") is None):
            amounts[now] = "0"
    if kind == "Object" and "averageValue" in amounts and str(amounts.get("value")) == "0":
        del amounts["value"]  # it was only there because it always is
    if shape == "Resource":
        source["name"] = found.get("name") or ""
    else:
        if kind == "Object":
            source["describedObject"] = found.get("target") or {}
        selector = found.get(_SELECTOR.get(kind, "selector"))
        source["metric"] = {
            "name": found.get("metricName") or "",
            **({"selector": selector} if selector else {}),
        }
    if kind == "ContainerResource":
        source["container"] = found.get("container") or ""
    if told == "target":
        amounts["type"] = _target_type(shape, amounts)
    return {**made, SOURCES[kind]: {**source, told: amounts}}


def _target_type(shape: str, amounts: Object) -> str:
    if shape == "Resource":
        return "Utilization" if "averageUtilization" in amounts else "AverageValue"
    if shape == "Object":
        return "AverageValue" if "averageValue" in amounts else "Value"
    return "Value" if "value" in amounts else "AverageValue"


def old_behavior(behavior: Object) -> Object:
    return {_go(name): _old_rules(behavior.get(name)) for name in ("scaleUp", "scaleDown")}


def _old_rules(rules: Object | None) -> Object | None:
    if rules is None:
        return None
    made = {_go(field): rules.get(field) for field in _RULES}
    if policies := rules.get("policies"):
        made["Policies"] = [{_go(field): each.get(field) for field in _POLICY} for each in policies]
    return made


def _go(name: str) -> str:
    return name[:1].upper() + name[1:]


def _new_behavior(old: Object) -> Object:
    made: Object = {}
    for name in ("scaleUp", "scaleDown"):
        if (rules := _named(old, name)) is None:
            continue
        made[name] = {field: value for field in _RULES if (value := _named(rules, field)) is not None}
        if policies := made[name].get("policies"):
            made[name]["policies"] = [{field: _named(each, field) for field in _POLICY} for each in policies]
    return made


def _named(found: Object, field: str) -> Any:
    """As Go reads JSON: the case of names does not matter."""
    return next((value for key, value in found.items() if key.lower() == field.lower()), None)


def _read(text: str, kind: str, make: Callable[[Object], Object]) -> list[Object] | None:
    """The ``kind`` that an annotation carries a list of; None where it carries something else."""
    try:
        found = decode_json(text)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            return None
        made = [make(each) for each in found]
    except (DecodeError, AttributeError, TypeError):
        return None
    schema = schemas.definitions(schemas.DEFAULT_MINOR).node(f"{_NEW}.{kind}")
    return None if any(strict.check(each, schema).errors for each in made) else made


def metrics(text: str) -> list[Object] | None:
    return _read(text, "MetricSpec", lambda each: _new_metric(each, "target"))


def reported(text: str) -> list[Object] | None:
    return _read(text, "MetricStatus", lambda each: _new_metric(each, "current"))


def behavior(text: str) -> Object | None:
    found = _read(f"[{text}]", "HorizontalPodAutoscalerBehavior", _new_behavior)
    return found[0] if found else None


def conditions(text: str) -> list[Object] | None:
    return _read(text, "HorizontalPodAutoscalerCondition", dict)


def written(value: Any) -> str:
    return encode_json(value).decode()
