"""NetworkPolicy."""

from __future__ import annotations

import ipaddress
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill_empty,
    label_selector,
    named,
    one_of,
    port_number_or_name,
    rule,
    spec_of,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required, too_many

_DIRECTIONS = (("ingress", "from"), ("egress", "to"))


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction, _ in _DIRECTIONS:
        for entry in spec.get(direction) or ():
            for port in (entry or {}).get("ports") or ():
                fill_empty(port, protocol="TCP")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from label_selector("spec.podSelector", spec.get("podSelector"))
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        yield too_many("spec.policyTypes", len(types), 2)
    for index, kind in enumerate(types):
        if kind not in ("Egress", "Ingress"):
            yield not_supported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    for direction, peers in _DIRECTIONS:
        for index, entry in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{index}]"
            for number, port in enumerate((entry or {}).get("ports") or ()):
                yield from _port(f"{where}.ports[{number}]", port)
            for number, peer in enumerate((entry or {}).get(peers) or ()):
                yield from _peer(f"{where}.{peers}[{number}]", peer)


def _port(path: str, port: Object) -> Errors:
    yield from one_of(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
    number, end = port.get("port"), port.get("endPort")
    if number is not None:
        yield from port_number_or_name(f"{path}.port", number)
    if end is None:
        return
    if number is None:
        yield required(f"{path}.port", "must be specified if `endPort` is specified")
    elif isinstance(number, str):
        yield invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
    elif end < number:
        yield invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
    elif end > 65535:
        yield invalid(f"{path}.endPort", end, "must be between 1 and 65535, inclusive")


def _peer(path: str, peer: Object) -> Errors:
    block = peer.get("ipBlock")
    selectors = [peer.get("podSelector"), peer.get("namespaceSelector")]
    yield from label_selector(f"{path}.podSelector", selectors[0])
    yield from label_selector(f"{path}.namespaceSelector", selectors[1])
    if block is not None and any(selector is not None for selector in selectors):
        yield field_forbidden(path, "may not specify both ipBlock and another peer")
    elif block is not None:
        yield from _ip_block(f"{path}.ipBlock", block)
    elif all(selector is None for selector in selectors):
        yield required(path, "must specify a peer")


def _ip_block(path: str, block: Object) -> Errors:
    cidr = block.get("cidr") or ""
    if not cidr:
        yield required(f"{path}.cidr")
        return
    wrong = list(named(f"{path}.cidr", cidr, names.cidr))
    yield from wrong
    for index, inner in enumerate(block.get("except") or ()):
        where = f"{path}.except[{index}]"
        bad = list(named(where, inner, names.cidr))
        yield from bad
        if not wrong and not bad and not _strictly_within(inner, cidr):
            yield invalid(where, inner, "must be a strict subset of `cidr`")


def _strictly_within(inner: str, outer: str) -> bool:
    small, large = ipaddress.ip_network(inner, strict=False), ipaddress.ip_network(outer, strict=False)
    return small.version == large.version and small != large and small.subnet_of(large)  # type: ignore[arg-type]


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), show.selector_text(spec_of(obj).get("podSelector")), show.age(obj, now)]


KIND = builtin(
    "networkpolicies.networking.k8s.io",
    default=_default,
    validate=rule(_validate),
    warnings=warn.network_policy,
    cells=_cells,
)
