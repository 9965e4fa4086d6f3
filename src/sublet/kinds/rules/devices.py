"""Rules of what is asked of devices (dynamic resource allocation): claims, their templates, and classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.kinds.rules.common import Errors, fill, fill_empty, made, named, needs
from sublet.kinds.rules.volumes import driver_name
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)

MAX_REQUESTS = 32
MAX_CONFIGURATIONS = 32
MAX_RAW = 10 * 1024
TAINT_EFFECTS = ("NoExecute", "NoSchedule", "None")
_MAX_CONSTRAINTS = 32
_MAX_ALTERNATIVES = 8
_MAX_SELECTORS = 32
_MAX_EXPRESSION = 10 * 1024
_MAX_POOL_NAME = 253
_MAX_ID = 32
_MODES = ("All", "ExactCount")
_NO_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

Requests = Mapping[str, frozenset[str]]
"""The names of a claim's requests, each with those of its alternatives."""


def default_claim(spec: Object) -> None:
    for request in made(spec, "devices").get("requests") or ():
        exact = request.get("exactly")
        for asked in [exact] if exact is not None else request.get("firstAvailable") or ():
            fill_empty(asked, allocationMode="ExactCount")
            if asked["allocationMode"] == "ExactCount":
                fill_empty(asked, count=1)
            for toleration in asked.get("tolerations") or ():
                fill(toleration, operator="Equal")


def each(path: str, found: Sequence[Any] | None, most: int, check: Callable[[str, Any], Errors]) -> Errors:
    """A list: more than it may hold is not even looked at."""
    found = found or ()
    if 0 <= most < len(found):
        yield too_many(path, len(found), most)
        return
    for index, item in enumerate(found):
        yield from check(f"{path}[{index}]", item)


def distinct(
    path: str,
    found: Sequence[Any] | None,
    most: int,
    check: Callable[[str, Any], Errors],
    key: Callable[[Any], str] = str,
) -> Errors:
    """:func:`each` of a list whose items differ."""
    yield from each(path, found, most, check)
    if 0 <= most < len(found or ()):
        return
    seen: set[str] = set()
    for index, item in enumerate(found or ()):
        name = key(item)
        if name in seen:
            yield duplicate(f"{path}[{index}]", name)
        seen.add(name)


def name_of(item: Object) -> str:
    return str(item.get("name") or "")


def label(path: str, value: str | None) -> Errors:
    """A name that is not told from a bad one where it is missing."""
    yield from named(path, value or "", names.dns1123_label)


def claim_spec(path: str, spec: Object) -> Errors:
    devices = spec.get("devices") or {}
    known, path = request_names(spec), f"{path}.devices"
    yield from distinct(f"{path}.requests", devices.get("requests"), MAX_REQUESTS, _request, name_of)

    def constraint(where: str, found: Object) -> Errors:
        yield from _constraint(where, found, known)

    def configuration(where: str, found: Object) -> Errors:
        yield from request_references(f"{where}.requests", found.get("requests"), known)
        yield from opaque(where, found, stored=False)

    yield from each(f"{path}.constraints", devices.get("constraints"), _MAX_CONSTRAINTS, constraint)
    yield from each(f"{path}.config", devices.get("config"), MAX_CONFIGURATIONS, configuration)


def request_names(spec: Object) -> Requests:
    requests = (spec.get("devices") or {}).get("requests") or ()
    return {name_of(r): frozenset(map(name_of, r.get("firstAvailable") or ())) for r in requests}


def request_references(path: str, found: Sequence[str] | None, known: Requests) -> Errors:
    yield from distinct(path, found, MAX_REQUESTS, lambda where, name: request_reference(where, name, known))


def request_reference(path: str, name: str, known: Requests) -> Errors:
    """``REQUEST`` or ``REQUEST/ALTERNATIVE`` of a claim."""
    parts = name.split("/")
    if len(parts) > 2:
        yield invalid(path, name, _NO_REQUEST)
        return
    for part in parts:
        yield from label(path, part)
    if parts[0] not in known or (len(parts) == 2 and parts[1] not in known[parts[0]]):
        yield invalid(path, name, _NO_REQUEST)


def _request(path: str, request: Object) -> Errors:
    yield from label(f"{path}.name", request.get("name"))
    exact, several = request.get("exactly"), request.get("firstAvailable")
    detail = "exactly one of `exactly` or `firstAvailable` is required"
    if exact is not None and several:
        yield invalid(path, None, f"{detail}, but multiple fields are set")
    elif several:
        yield from distinct(f"{path}.firstAvailable", several, _MAX_ALTERNATIVES, _alternative, name_of)
    elif exact is not None:
        yield from _asked(f"{path}.exactly", exact)
    else:
        yield required(path, detail)


def _alternative(path: str, asked: Object) -> Errors:
    yield from label(f"{path}.name", asked.get("name"))
    yield from _asked(path, asked)


def _asked(path: str, asked: Object) -> Errors:
    yield from needs(f"{path}.deviceClassName", asked.get("deviceClassName"), names.dns1123_subdomain)
    yield from selectors(f"{path}.selectors", asked.get("selectors"))
    count, mode = asked.get("count") or 0, asked.get("allocationMode") or ""
    if mode == "ExactCount" and count <= 0:
        yield invalid(f"{path}.count", count, "must be greater than zero")
    elif mode == "All" and count:
        yield invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
    elif mode not in _MODES:
        yield not_supported(f"{path}.allocationMode", mode, _MODES)
    for index, found in enumerate(asked.get("tolerations") or ()):
        yield from toleration(f"{path}.tolerations[{index}]", found)


def selectors(path: str, found: Sequence[Object] | None) -> Errors:
    yield from each(path, found, _MAX_SELECTORS, _selector)


def _selector(path: str, selector: Object) -> Errors:
    from sublet.machinery.cel import devices

    cel = selector.get("cel")
    if cel is None:
        yield required(f"{path}.cel")
        return
    where, expression = f"{path}.cel.expression", cel.get("expression") or ""
    if len(expression.encode()) > _MAX_EXPRESSION:
        yield too_long(where, _MAX_EXPRESSION)
    elif (complaint := devices.complaint(expression)) is not None:
        yield invalid(where, expression, complaint)
    elif devices.is_too_dear(expression):
        yield field_forbidden(where, "too complex, exceeds cost limit")


def _constraint(path: str, constraint: Object, known: Requests) -> Errors:
    yield from request_references(f"{path}.requests", constraint.get("requests"), known)
    for field in ("matchAttribute", "distinctAttribute"):
        if (name := constraint.get(field)) is not None:
            yield from _whole_name(f"{path}.{field}", name)
            return
    detail = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    yield required(path, detail)


def _whole_name(path: str, name: str) -> Errors:
    yield from qualified_name(path, name)
    if "/" not in name:
        yield invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash")


def qualified_name(path: str, name: str) -> Errors:
    """``[DOMAIN/]ID`` of an attribute or a capacity."""
    parts = name.split("/")
    if len(parts) > 2:
        return
    if len(parts) == 2:
        if parts[0]:
            yield from driver_name(path, parts[0])
        else:
            yield invalid(path, "", "the domain must not be empty")
        if not parts[1]:
            yield invalid(path, "", "the name must not be empty")
            return
    if len(parts[-1].encode()) > _MAX_ID:
        yield too_long(path, _MAX_ID)
    yield from named(path, parts[-1], names.c_identifier)


def pool_name(path: str, name: str | None) -> Errors:
    if not name:
        yield required(path)
        return
    if len(name.encode()) > _MAX_POOL_NAME:
        yield too_long(path, _MAX_POOL_NAME)
    for part in name.split("/"):
        yield from named(path, part, names.dns1123_subdomain)


def opaque(path: str, configuration: Object, *, stored: bool) -> Errors:
    """What is for the driver alone to read; ``stored`` ones may be longer than is allowed now."""
    if (found := configuration.get("opaque")) is None:
        yield required(f"{path}.opaque")
        return
    yield from driver_name(f"{path}.opaque.driver", found.get("driver"))
    yield from raw(f"{path}.opaque.parameters", found.get("parameters"), stored=stored)


def raw(path: str, value: Any, *, stored: bool = False) -> Errors:
    """A JSON object of any shape."""
    if value is None:
        yield required(path)
    elif not stored and len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) > MAX_RAW:
        yield too_long(path, MAX_RAW)
    elif not isinstance(value, dict):
        yield invalid(path, "<value omitted>", "must be a valid JSON object")


def toleration(path: str, found: Object) -> Errors:
    operator, value = found.get("operator") or "", found.get("value") or ""
    if key := found.get("key"):
        yield from named(f"{path}.key", key, names.qualified_name)
    if operator == "Exists":
        if value:
            yield invalid(f"{path}.value", value, "must be empty for operator `Exists`")
    elif operator == "Equal":
        yield from named(f"{path}.value", value, names.label_value)
    elif not operator:
        yield required(f"{path}.operator")
    else:
        yield not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
    if (effect := found.get("effect")) and effect not in TAINT_EFFECTS:
        yield not_supported(f"{path}.effect", effect, TAINT_EFFECTS)
