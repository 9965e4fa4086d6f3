"""Selectors in access reviews: FieldSelectorAttributes and LabelSelectorAttributes, checked and as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from sublet.kinds.rules.common import named
from sublet.machinery import names, selectors
from sublet.machinery.status import BadRequest, FieldError, field_forbidden, invalid, required

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


class Told(Struct, frozen=True):
    """A selector as a request would state it, and whether something of it could not be."""

    text: str = ""
    left_out: bool = False

    def error(self, name: str) -> str:
        """What a review says of what was left out, as upstream words it."""
        if not self.left_out:
            return ""
        return f"spec.resourceAttributes.{name} {'partially ' if self.text else ''}ignored due to parse error"


def field_selector(selector: Mapping[str, Any] | None) -> Told:
    """Of FieldSelectorAttributes; what a request cannot state limits nothing."""
    return _told(selector, selectors.parse_fields, _field_requirement)


def label_selector(selector: Mapping[str, Any] | None) -> Told:
    """Of LabelSelectorAttributes."""
    return _told(selector, selectors.parse, _label_requirement)


def _told(
    selector: Mapping[str, Any] | None,
    parse: Callable[[str], object],
    one: Callable[[Mapping[str, Any]], str],
) -> Told:
    if not selector:
        return Told()
    if raw := str(selector.get("rawSelector") or ""):
        return Told(raw) if _parses(parse, raw) else Told(left_out=True)
    parts = [one(requirement) for requirement in selector.get("requirements") or ()]
    kept = [part for part in parts if part and _parses(parse, part)]
    return Told(",".join(kept), len(kept) < len(parts))


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except BadRequest:
        return False
    return True


def _field_requirement(requirement: Mapping[str, Any]) -> str:
    values = requirement.get("values") or []
    sign = {"In": "=", "NotIn": "!="}.get(requirement.get("operator", ""))
    if not sign or len(values) != 1:
        return ""
    return f"{requirement.get('key', '')}{sign}{str(values[0]).translate(_ESCAPES)}"


def _label_requirement(requirement: Mapping[str, Any]) -> str:
    key, values = str(requirement.get("key", "")), ",".join(map(str, requirement.get("values") or ()))
    match requirement.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "Exists":
            return key
        case "DoesNotExist":
            return f"!{key}"
    return ""
