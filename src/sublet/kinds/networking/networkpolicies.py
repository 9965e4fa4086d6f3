"""NetworkPolicy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill,
    label_selector,
    named,
    rule,
    spec_of,
    update_rule,
    within,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid, not_supported, required

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TYPES, _PROTOCOLS = ("Ingress", "Egress"), ("TCP", "UDP", "SCTP")
_DIRECTIONS = (("ingress", "from"), ("egress", "to"))


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction, _ in _DIRECTIONS:
        for entry in spec.get(direction) or ():
            for port in (entry or {}).get("ports") or ():
                fill(port, protocol="TCP")


def _validate(obj: Object) -> Errors:
    yield from _spec(spec_of(obj), frozenset())


def _validate_update(new: Object, old: Object) -> Errors:
    """Ranges that an old object was allowed to hold, it may keep."""
    yield from _spec(spec_of(new), frozenset(_ranges(spec_of(old))))


def _ranges(spec: Object) -> Iterator[str]:
    for direction, peers in _DIRECTIONS:
        for entry in spec.get(direction) or ():
            for peer in (entry or {}).get(peers) or ():
                if block := peer.get("ipBlock"):
                    yield block.get("cidr") or ""
                    yield from block.get("except") or ()


def _spec(spec: Object, kept: frozenset[str]) -> Errors:
    yield from label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in _DIRECTIONS:
        for index, entry in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{index}]"
            for number, port in enumerate((entry or {}).get("ports") or ()):
                yield from _port(f"{where}.ports[{number}]", port)
            for number, peer in enumerate((entry or {}).get(peers) or ()):
                yield from _peer(f"{where}.{peers}[{number}]", peer, kept)
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        yield invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(types):
        if kind not in _TYPES:
            yield not_supported(f"spec.policyTypes[{index}]", kind, _TYPES)


def _port(path: str, port: Object) -> Errors:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol not in (None, *_PROTOCOLS):
        yield not_supported(f"{path}.protocol", protocol, _PROTOCOLS)
    if isinstance(number, int):
        yield from within(f"{path}.port", number, 1, 65535)
        if end is not None:
            if end < number:
                yield invalid(f"{path}.endPort", number, "must be greater than or equal to `port`")
            yield from within(f"{path}.endPort", end, 1, 65535)
    elif number is not None:
        if end is not None:
            yield invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
        yield from named(f"{path}.port", number, names.port_name)
    elif end is not None:
        yield invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")


def _peer(path: str, peer: Object, kept: frozenset[str]) -> Errors:
    block = peer.get("ipBlock")
    selectors = [peer.get("podSelector"), peer.get("namespaceSelector")]
    yield from label_selector(f"{path}.podSelector", selectors[0])
    yield from label_selector(f"{path}.namespaceSelector", selectors[1])
    if block is not None:
        yield from _ip_block(f"{path}.ipBlock", block, kept)
    selected = any(selector is not None for selector in selectors)
    if block is None and not selected:
        yield required(path, "must specify a peer")
    elif block is not None and selected:
        yield field_forbidden(path, "may not specify both ipBlock and another peer")


def _ip_block(path: str, block: Object, kept: frozenset[str]) -> Errors:
    """``kept``: ranges that are let be, however they are written."""
    cidr = block.get("cidr") or ""
    if not cidr:
        yield required(f"{path}.cidr")
        return
    yield from _range(f"{path}.cidr", cidr, kept)
    outer = _network(cidr)
    for index, text in enumerate(block.get("except") or () if outer is not None else ()):
        where, inner = f"{path}.except[{index}]", _network(text)
        yield from _range(where, text, kept)
        if outer is not None and inner is not None and not _strictly_within(inner, outer):
            yield invalid(where, text, "must be a strict subset of `cidr`")


def _range(path: str, text: str, kept: frozenset[str]) -> Errors:
    if text not in kept:
        yield from named(path, text, names.cidr)


def _network(text: str) -> Network | None:
    """What a range means though it is not written as it should be; None: nothing."""
    head, _, bits = text.partition("/")
    address, _ = names.read_ip(head)
    try:
        return ipaddress.ip_network((str(address), int(bits)), strict=False) if address else None
    except ValueError:
        return None


def _strictly_within(small: Network, large: Network) -> bool:
    return small.version == large.version and small != large and small.subnet_of(large)  # type: ignore[arg-type]


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), show.selector_text(spec_of(obj).get("podSelector")), show.age(obj, now)]


KIND = builtin(
    "networkpolicies.networking.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    warnings=warn.network_policy,
    cells=_cells,
)
