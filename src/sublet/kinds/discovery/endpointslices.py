"""EndpointSlice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill,
    immutable,
    labels,
    named,
    one_of,
    rule,
    update_rule,
)
from sublet.kinds.rules.containers import PROTOCOLS
from sublet.kinds.rules.services import not_special
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, not_supported, required, too_many

_MAX_ENDPOINTS, _MAX_ADDRESSES, _MAX_PORTS = 1000, 100, 20_000
_MAX_HINTS, _MAX_TOPOLOGY = 8, 16
_TYPES = ("FQDN", "IPv4", "IPv6")
_TOPOLOGY, _HOST = "deprecatedTopology", "kubernetes.io/hostname"
_SHOWN_PORTS, _SHOWN_ENDPOINTS = 3, 3


def _default(obj: Object) -> None:
    # both lists are written though empty
    fill(obj, endpoints=None, ports=None)
    for endpoint in obj.get("endpoints") or ():
        fill(endpoint, conditions={})
    for port in obj.get("ports") or ():
        fill(port, name="")
        fill(port, protocol="TCP")


def _prepare_create(obj: Object) -> None:
    _forget_topology(obj, ())


def _prepare_update(new: Object, old: Object) -> None:
    """Slices from before there were node names had them in the topology: where endpoints change, it is given up."""
    if new.get("endpoints") != old.get("endpoints"):
        known = [(endpoint.get(_TOPOLOGY) or {}).get(_HOST) for endpoint in old.get("endpoints") or ()]
        _forget_topology(new, known)


def _forget_topology(obj: Object, known: Sequence[str | None]) -> None:
    """``known``: names of nodes that endpoints may go on having by it."""
    for endpoint in obj.get("endpoints") or ():
        node = (endpoint.pop(_TOPOLOGY, None) or {}).get(_HOST)
        if node and node in known and endpoint.get("nodeName") is None and not names.dns1123_subdomain(node):
            endpoint["nodeName"] = node


def _validate(obj: Object) -> Errors:
    kind = obj.get("addressType") or ""
    if not kind:
        yield required("addressType")
    elif kind not in _TYPES:
        yield not_supported("addressType", kind, _TYPES)
    endpoints, ports = obj.get("endpoints") or (), obj.get("ports") or ()
    if len(endpoints) > _MAX_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), _MAX_ENDPOINTS)
    else:
        for index, endpoint in enumerate(endpoints):
            yield from _endpoint(f"endpoints[{index}]", endpoint, kind)
    if len(ports) > _MAX_PORTS:
        yield too_many("ports", len(ports), _MAX_PORTS)
    else:
        yield from _ports(ports)


def _endpoint(path: str, endpoint: Object, kind: str) -> Errors:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MAX_ADDRESSES:
        yield too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES)
    for number, address in enumerate(addresses):
        yield from _address(f"{path}.addresses[{number}]", address, kind)
    if (node := endpoint.get("nodeName")) is not None:
        yield from named(f"{path}.nodeName", node, names.dns1123_subdomain)
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MAX_TOPOLOGY:
        yield too_many(f"{path}.deprecatedTopology", len(topology), _MAX_TOPOLOGY)
    yield from labels(f"{path}.deprecatedTopology", topology)
    if (host := endpoint.get("hostname")) is not None:
        yield from named(f"{path}.hostname", host, names.dns1123_label)
    for field in ("forZones", "forNodes"):
        yield from _hints(f"{path}.hints.{field}", (endpoint.get("hints") or {}).get(field) or ())


def _hints(path: str, found: Sequence[Object]) -> Errors:
    if len(found) > _MAX_HINTS:
        yield too_many(path, len(found), _MAX_HINTS)
        return
    seen: set[str] = set()
    for index, hint in enumerate(found):
        where, name = f"{path}[{index}].name", hint.get("name") or ""
        if name in seen:
            yield duplicate(where, name)
        seen.add(name)
        yield from named(where, name, names.label_value)


def _address(path: str, address: str, kind: str) -> Errors:
    if kind == "FQDN":
        bare = address.removesuffix(".")
        wrong = names.dns1123_subdomain(bare)
        if not address:
            yield required(path)
        elif wrong:
            yield invalid(path, bare, ",".join(wrong))
        elif "." not in bare:
            detail = "should be a domain with at least two segments separated by dots"
            yield invalid(path, bare, detail)
    elif kind in ("IPv4", "IPv6"):
        wrong_ip = list(named(path, address, names.ip_address))
        yield from wrong_ip
        if not wrong_ip:
            if (kind == "IPv6") != (":" in address):
                yield invalid(path, address, f"must be an {kind} address")
            yield from not_special(path, address)


def _ports(ports: Sequence[Object]) -> Errors:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"ports[{index}]", port.get("name") or ""
        if name:
            yield from named(f"{where}.name", name, names.dns1123_label)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        yield from one_of(f"{where}.protocol", port.get("protocol"), PROTOCOLS)
        if (application := port.get("appProtocol")) is not None:
            yield from named(f"{where}.appProtocol", application, names.qualified_name)


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
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    generation_metadata=("labels",),
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.endpoint_slice,
    cells=_cells,
)
