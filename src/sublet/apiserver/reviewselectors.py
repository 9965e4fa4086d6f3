"""Selectors in access reviews: FieldSelectorAttributes and LabelSelectorAttributes, checked and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.kinds.rules.common import named
from sublet.machinery import names
from sublet.machinery.status import FieldError, field_forbidden, invalid, required

_VALUES = "must be specified when `operator` is 'In' or 'NotIn'"
_NO_VALUES = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
_ESCAPES = str.maketrans({"\\": r"\\", ",": r"\,", "=": r"\="})


def errors(attributes: Mapping[str, Any], path: str) -> list[FieldError]:
    """What is wrong with the selectors of ``resourceAttributes``. An unknown operator is not: it limits nothing."""
    found: list[FieldError] = []
    for key in ("fieldSelector", "labelSelector"):
        selector = attributes.get(key)
        if selector is None:
            continue
        where = f"{path}.{key}"
        raw, requirements = selector.get("rawSelector"), selector.get("requirements") or []
        if raw and requirements:
            detail = "may not specified at the same time as requirements"
            found.append(invalid(f"{where}.rawSelector", raw, detail))
        if not raw and not requirements:
            detail = f"when {where} is specified, requirements or rawSelector is required"
            found.append(required(f"{where}.requirements", detail))
        for index, requirement in enumerate(requirements):
            found += _requirement_errors(requirement, f"{where}.requirements[{index}]", key)
    return found


def _requirement_errors(requirement: Mapping[str, Any], where: str, kind: str) -> list[FieldError]:
    found: list[FieldError] = []
    if kind == "fieldSelector" and not requirement.get("key"):
        found.append(required(f"{where}.key", "must be specified"))
    values = requirement.get("values") or []
    match requirement.get("operator"):
        case "In" | "NotIn" if not values:
            found.append(required(f"{where}.values", _VALUES))
        case "Exists" | "DoesNotExist" if values:
            found.append(field_forbidden(f"{where}.values", _NO_VALUES))
    if kind == "labelSelector":
        found += named(f"{where}.key", requirement.get("key") or "", names.qualified_name)
        for index, value in enumerate(values):
            found += named(f"{where}.values[{index}]", value, names.label_value)
    return found


def field_text(selector: Mapping[str, Any] | None) -> str:
    """A field selector as a request would state it; what a request cannot state limits nothing."""
    if not selector:
        return ""
    if raw := selector.get("rawSelector"):
        return str(raw)
    parts = []
    for requirement in selector.get("requirements") or ():
        key, values = str(requirement.get("key", "")), requirement.get("values") or []
        sign = {"In": "=", "NotIn": "!="}.get(requirement.get("operator", ""))
        if sign and len(values) == 1:
            parts.append(f"{key}{sign}{str(values[0]).translate(_ESCAPES)}")
    return ",".join(parts)


def label_text(selector: Mapping[str, Any] | None) -> str:
    """A label selector as a request would state it."""
    if not selector:
        return ""
    if raw := selector.get("rawSelector"):
        return str(raw)
    parts = []
    for requirement in selector.get("requirements") or ():
        key, values = str(requirement.get("key", "")), ",".join(map(str, requirement.get("values") or ()))
        match requirement.get("operator"):
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)
