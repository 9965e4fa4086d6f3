"""Rules of device claims (dynamic resource allocation)."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules.common import Errors, fill, fill_empty, needs, one_of
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, required, too_many

_MAX_REQUESTS = 32
_MODES = ("All", "ExactCount")


def default_claim(spec: Object) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        exact = request.get("exactly")
        for asked in [exact] if exact is not None else request.get("firstAvailable") or ():
            fill_empty(asked, allocationMode="ExactCount")
            if asked["allocationMode"] == "ExactCount":
                fill_empty(asked, count=1)
            for toleration in asked.get("tolerations") or ():
                fill(toleration, operator="Equal")


def claim_spec(path: str, spec: Object) -> Errors:
    devices = spec.get("devices") or {}
    requests = devices.get("requests") or ()
    if len(requests) > _MAX_REQUESTS:
        yield too_many(f"{path}.devices.requests", len(requests), _MAX_REQUESTS)
    seen: set[str] = set()
    for index, request in enumerate(requests):
        where, name = f"{path}.devices.requests[{index}]", request.get("name") or ""
        yield from needs(f"{where}.name", name, names.dns1123_label)
        if name in seen:
            yield duplicate(where, name)
        seen.add(name)
        exact, several = request.get("exactly"), request.get("firstAvailable")
        if exact is not None and several:
            yield invalid(
                where,
                None,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            )
        elif exact is not None:
            yield from _asked(f"{where}.exactly", exact)
        elif several:
            for number, asked in enumerate(several):
                place = f"{where}.firstAvailable[{number}]"
                yield from needs(f"{place}.name", asked.get("name"), names.dns1123_label)
                yield from _asked(place, asked)
        else:
            yield required(where, "exactly one of `exactly` or `firstAvailable` is required")


def _asked(path: str, asked: Object) -> Errors:
    yield from needs(f"{path}.deviceClassName", asked.get("deviceClassName"), names.dns1123_subdomain)
    yield from one_of(f"{path}.allocationMode", asked.get("allocationMode"), _MODES)
    count = asked.get("count") or 0
    if asked.get("allocationMode") == "ExactCount" and count <= 0:
        yield invalid(f"{path}.count", count, "must be greater than zero")
    elif asked.get("allocationMode") == "All" and count:
        yield invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
    yield from selectors(f"{path}.selectors", asked.get("selectors") or ())


def selectors(path: str, found: Sequence[Object]) -> Errors:
    for index, selector in enumerate(found):
        cel = selector.get("cel")
        if cel is None:
            yield required(f"{path}[{index}].cel")
        elif not cel.get("expression"):
            yield required(f"{path}[{index}].cel.expression")
