"""LimitRange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts
from sublet.kinds.rules.common import Errors, fill, made, named, rule, spec_of
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, required

_NAMES = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_STANDARD_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_POD, _CLAIM = "Pod", "PersistentVolumeClaim"
_ONE = quantity.Quantity(10**9)


class _Order(NamedTuple):
    """An amount that must not exceed another; ``blamed``: whose path and amount the error has."""

    low: str
    high: str
    path: str
    blamed: str
    texts: tuple[str, str]


_ORDER = (
    _Order("min", "max", "min", "min", ("min", "max")),
    _Order("min", "defaultRequest", "defaultRequest", "defaultRequest", ("min", "default request")),
    _Order("defaultRequest", "max", "defaultRequest", "defaultRequest", ("default request", "max")),
    _Order(
        "defaultRequest", "default", "defaultRequest", "defaultRequest", ("default request", "default limit")
    ),
    _Order("min", "default", "default", "min", ("min", "default")),
    _Order("default", "max", "default", "max", ("default", "max")),
)


def _default(obj: Object) -> None:
    fill(made(obj, "spec"), limits=None)
    for item in spec_of(obj).get("limits") or ():
        if item.get("type") == "Container":
            _complete(item)
        amounts.rounded(*(item.get(field) for field in _NAMES))


def _complete(item: Object) -> None:
    """A container's default limit is its maximum; its default request that limit, or else the minimum."""
    default = item.setdefault("default", {})
    request = item.setdefault("defaultRequest", {})
    for name, value in (item.get("max") or {}).items():
        default.setdefault(name, value)
    for name, value in default.items():
        request.setdefault(name, value)
    for name, value in (item.get("min") or {}).items():
        request.setdefault(name, value)
    for key in ("default", "defaultRequest"):
        if not item[key]:
            del item[key]


def _validate(obj: Object) -> Errors:
    seen: set[str] = set()
    for index, item in enumerate(spec_of(obj).get("limits") or ()):
        where, kind = f"spec.limits[{index}]", item.get("type") or ""
        yield from _type(f"{where}.type", kind)
        if kind in seen:
            yield duplicate(f"{where}.type", kind)
        seen.add(kind)
        yield from _names(where, kind, item)
        for name in dict.fromkeys(name for field in _NAMES for name in item.get(field) or ()):
            compared = {field: (item.get(field) or {}).get(name) for field in _NAMES}
            if kind == _POD:
                compared.update(default=None, defaultRequest=None)
            yield from _amounts(where, name, compared)


def _type(path: str, kind: str) -> Errors:
    wrong = list(named(path, kind, names.qualified_name))
    yield from wrong
    if not wrong and "/" not in kind and kind not in _STANDARD_TYPES:
        yield invalid(path, kind, "must be a standard limit type or fully qualified")


def _names(path: str, kind: str, item: Object) -> Errors:
    """What may be limited for a type, and what must be."""
    name_rule = amounts.resource_name if kind not in ("Pod", "Container") else amounts.container_resource_name
    for field in _NAMES:
        if field == "maxLimitRequestRatio" and kind == _CLAIM and not _bounded(item):
            detail = "either minimum or maximum storage value is required, but neither was provided"
            yield required(f"{path}.limits", detail)
        found = item.get(field) or {}
        if kind == _POD and field in ("default", "defaultRequest"):
            if found:
                yield field_forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
            continue
        for name in found:
            yield from name_rule(f"{path}.{field}[{name}]", name)


def _bounded(item: Object) -> bool:
    return any("storage" in (item.get(bound) or {}) for bound in ("min", "max"))


def _amounts(path: str, name: str, shown: Mapping[str, str | None]) -> Errors:
    """How the amounts of one resource relate; ``shown``: by the fields' names."""
    have = {field: quantity.parse(text) for field, text in shown.items() if text is not None}
    for order in _ORDER:
        low, high = have.get(order.low), have.get(order.high)
        if low is not None and high is not None and low > high:
            lower, higher = order.texts
            detail = f"{lower} value {shown[order.low]} is greater than {higher} value {shown[order.high]}"
            yield invalid(f"{path}.{order.path}[{name}]", shown[order.blamed], detail)
    ratio = have.get("maxLimitRequestRatio")
    where = f"{path}.maxLimitRequestRatio[{name}]"
    if ratio is not None:
        if ratio < _ONE:
            yield invalid(
                where, shown["maxLimitRequestRatio"], f"ratio {shown['maxLimitRequestRatio']} is less than 1"
            )
        if "min" in have and "max" in have and (least := have["min"].milli()):
            most = have["max"].milli() / least
            if ratio.milli() / 1000 > most:
                detail = f"ratio {shown['maxLimitRequestRatio']} is greater than max/min = {most:f}"
                yield invalid(where, shown["maxLimitRequestRatio"], detail)
    limit, request = have.get("default"), have.get("defaultRequest")
    if not amounts.may_overcommit(name) and limit is not None and request is not None and limit != request:
        detail = f"default value {shown['default']} must equal to defaultRequest value {shown['defaultRequest']} in {name}"
        yield invalid(f"{path}.defaultRequest[{name}]", shown["defaultRequest"], detail)


KIND = builtin("limitranges", named_by_server=True, default=_default, validate=rule(_validate))
