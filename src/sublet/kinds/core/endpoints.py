"""Endpoints."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, fill_empty, named, rule, update_rule, within
from sublet.kinds.rules.containers import protocol
from sublet.kinds.rules.services import not_special
from sublet.machinery import names, subsets
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
                yield from _address(f"{where}.{key}[{number}]", address)
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            yield from _port(f"{where}.ports[{number}]", port, name_needed=len(ports) > 1)


def _validate_update(new: Object, old: Object) -> Errors:
    """What is not touched is not judged again: older rules let more pass."""
    if (new.get("subsets") or []) != (old.get("subsets") or []):
        yield from _validate(new)


def _canonicalize(obj: Object) -> None:
    if found := subsets.repacked(obj.get("subsets") or ()):
        obj["subsets"] = found
    else:
        obj.pop("subsets", None)


def _address(path: str, address: Object) -> Errors:
    ip = address.get("ip") or ""
    wrong = list(named(f"{path}.ip", ip, names.ip_address))
    yield from wrong
    if host := address.get("hostname"):
        yield from named(f"{path}.hostname", host, names.dns1123_label)
    if (node := address.get("nodeName")) is not None:
        yield from named(f"{path}.nodeName", node, names.dns1123_subdomain)
    yield from endpoint_ip(f"{path}.ip", ip)


def endpoint_ip(path: str, address: str) -> Errors:
    """An address that other machines can reach."""
    if names.read_ip(address)[0] is None:
        yield invalid(path, address, "must be a valid IP address")
    else:
        yield from not_special(path, address)


def _port(path: str, port: Object, *, name_needed: bool) -> Errors:
    if name := port.get("name"):
        yield from named(f"{path}.name", name, names.dns1123_label)
    elif name_needed:
        yield required(f"{path}.name")
    yield from within(f"{path}.port", port.get("port") or 0, 1, 65535)
    yield from protocol(f"{path}.protocol", port.get("protocol"))
    if (application := port.get("appProtocol")) is not None:
        yield from named(f"{path}.appProtocol", application, names.qualified_name)


def _text(obj: Object) -> str:
    if not obj.get("subsets"):
        return show.NONE
    found: list[str] = []
    for subset in obj["subsets"]:
        ips = [str(address.get("ip") or "") for address in subset.get("addresses") or ()]
        for port in subset.get("ports") or ():
            found += [f"[{ip}]:{port.get('port')}" if ":" in ip else f"{ip}:{port.get('port')}" for ip in ips]
        if not subset.get("ports"):
            found += ips
    return show.first_few(found, _SHOWN)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), _text(obj), show.age(obj, now)]


KIND = builtin(
    "endpoints",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    canonicalize=_canonicalize,
    update_alone=True,
    warnings=warn.endpoints,
    cells=_cells,
)
