"""EndpointSlice."""

from __future__ import annotations

import ipaddress
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill,
    fill_empty,
    immutable,
    named,
    one_of,
    rule,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, required, too_many

_MAX_ENDPOINTS, _MAX_ADDRESSES, _MAX_PORTS, _MAX_ZONES = 1000, 100, 20_000, 8
_TYPES = ("FQDN", "IPv4", "IPv6")
_SHOWN_PORTS, _SHOWN_ENDPOINTS = 3, 3


def _default(obj: Object) -> None:
    for port in obj.get("ports") or ():
        fill(port, name="")
        fill_empty(port, protocol="TCP")


def _validate(obj: Object) -> Errors:
    kind = obj.get("addressType")
    yield from one_of("addressType", kind, _TYPES, needed=True)
    endpoints = obj.get("endpoints") or ()
    if len(endpoints) > _MAX_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), _MAX_ENDPOINTS)
    for index, endpoint in enumerate(endpoints):
        yield from _endpoint(f"endpoints[{index}]", endpoint, str(kind))
    yield from _ports(obj)


def _endpoint(path: str, endpoint: Object, kind: str) -> Errors:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MAX_ADDRESSES:
        yield too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES)
    seen: set[str] = set()
    for number, address in enumerate(addresses):
        where = f"{path}.addresses[{number}]"
        if address in seen:
            yield duplicate(where, address)
        seen.add(address)
        yield from _address(where, address, kind)
    if node := endpoint.get("nodeName"):
        yield from named(f"{path}.nodeName", node, names.dns1123_subdomain)
    if host := endpoint.get("hostname"):
        yield from named(f"{path}.hostname", host, names.dns1123_label)
    zones = (endpoint.get("hints") or {}).get("forZones") or ()
    if len(zones) > _MAX_ZONES:
        yield too_many(f"{path}.hints.forZones", len(zones), _MAX_ZONES)


def _address(path: str, address: str, kind: str) -> Errors:
    if kind == "FQDN":
        yield from named(path, address, names.dns1123_subdomain)
        return
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        yield from named(path, address, names.ip_address)
        return
    if kind != f"IPv{parsed.version}":
        yield invalid(path, address, f"must be an {kind} address")
    if parsed.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({address})")
    if parsed.is_loopback:
        yield invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if parsed.is_link_local:
        yield invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")


def _ports(obj: Object) -> Errors:
    ports = obj.get("ports") or ()
    if len(ports) > _MAX_PORTS:
        yield too_many("ports", len(ports), _MAX_PORTS)
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"ports[{index}]", port.get("name") or ""
        if name:
            yield from named(f"{where}.name", name, names.dns1123_label)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        yield from one_of(f"{where}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"), needed=True)


def _validate_update(new: Object, old: Object) -> Errors:
    yield from immutable("addressType", new.get("addressType"), old.get("addressType"))


def _port_text(obj: Object) -> str:
    found = [
        str(port["port"]) if port.get("port") is not None else str(port.get("name", "*"))
        for port in obj.get("ports") or ()
    ]
    return show.first_few(found, _SHOWN_PORTS) or "<unset>"


def _cells(obj: Object, now: float) -> list[Any]:
    addresses = [
        address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()
    ]
    return [
        show.name(obj),
        obj.get("addressType", ""),
        _port_text(obj),
        show.first_few(addresses, _SHOWN_ENDPOINTS) or "<unset>",
        show.age(obj, now),
    ]


KIND = builtin(
    "endpointslices.discovery.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.endpoint_slice,
    cells=_cells,
)
