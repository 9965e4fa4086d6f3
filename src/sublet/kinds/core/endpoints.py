"""Endpoints."""

from __future__ import annotations

import ipaddress
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, fill_empty, named, one_of, rule, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required

_SHOWN = 3


def _default(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            fill_empty(port, protocol="TCP")


def _validate(obj: Object) -> Errors:
    for index, subset in enumerate(obj.get("subsets") or ()):
        where = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(where, "must specify `addresses` or `notReadyAddresses`")
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                yield from address_rules(f"{where}.{key}[{number}].ip", address.get("ip") or "")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            place = f"{where}.ports[{number}]"
            if len(ports) > 1 and not port.get("name"):
                yield required(f"{place}.name")
            elif port.get("name"):
                yield from named(f"{place}.name", port["name"], names.dns1123_label)
            yield from within(f"{place}.port", port.get("port") or 0, 1, 65535)
            yield from one_of(f"{place}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"), needed=True)


def address_rules(path: str, address: str) -> Errors:
    """An address that other machines can reach."""
    wrong = list(named(path, address, names.ip_address))
    yield from wrong
    if wrong:
        return
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({address})")
    if parsed.is_loopback:
        yield invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if parsed.is_link_local:
        yield invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if parsed.is_multicast and (parsed.version == 4 and str(parsed).startswith("224.0.0.")):
        yield invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def _text(obj: Object) -> str:
    subsets = obj.get("subsets")
    if not subsets:
        return show.NONE
    found: list[str] = []
    for subset in subsets:
        ips = [str(address.get("ip") or "") for address in subset.get("addresses") or ()]
        for port in subset.get("ports") or ():
            found += [f"[{ip}]:{port.get('port')}" if ":" in ip else f"{ip}:{port.get('port')}" for ip in ips]
        if not subset.get("ports"):
            found += ips
    return show.first_few(found, _SHOWN)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), _text(obj), show.age(obj, now)]


KIND = builtin("endpoints", default=_default, validate=rule(_validate), warnings=warn.endpoints, cells=_cells)
