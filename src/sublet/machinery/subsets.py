"""The one form that the subsets of Endpoints are kept in: every address and port once, in an order of their own.

Source: Kubernetes' pkg/api/endpoints/util.go, whose order is that of the MD5 sums of the values as Go prints them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sublet.machinery.kind import Object

_Address = tuple[str, str]
"""(IP, UID of what has it): two pods of two nodes may have the same IP."""
_REFERENCE = (
    ("Kind", "kind", "string"),
    ("Namespace", "namespace", "string"),
    ("Name", "name", "string"),
    ("UID", "uid", "types.UID"),
    ("APIVersion", "apiVersion", "string"),
    ("ResourceVersion", "resourceVersion", "string"),
    ("FieldPath", "fieldPath", "string"),
)


def repacked(subsets: Iterable[Object]) -> list[Object]:
    """The same as few subsets as can say it: one for every set of addresses that offers the same ports.

    Subsets are as the API shows them; those given are left as they were. An address that is not ready under one
    subset is ready under none for the same port.
    """
    addresses: dict[_Address, Object] = {}
    offers: dict[tuple[object, ...], tuple[Object | None, dict[_Address, bool]]] = {}
    for place, subset in enumerate(subsets):
        for number, port in enumerate(subset.get("ports") or (None,)):
            _, found = offers.setdefault(_port_key(port, place, number), (port, {}))
            for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                for address in subset.get(field) or ():
                    key = _key(address)
                    addresses.setdefault(key, address)
                    found[key] = found.get(key, True) and ready
    grouped: dict[tuple[tuple[_Address, bool], ...], list[Object]] = {}
    for offered, found in offers.values():
        ports = grouped.setdefault(tuple(sorted(found.items())), [])
        if offered is not None:
            ports.append(offered)
    made = [_subset(group, ports, addresses) for group, ports in grouped.items()]
    return sorted(made, key=lambda subset: _sum(f"(core.EndpointSubset){_subset_text(subset)}"))


def _key(address: Object) -> _Address:
    return str(address.get("ip") or ""), str((address.get("targetRef") or {}).get("uid") or "")


def _port_key(port: Object | None, place: int, number: int) -> tuple[object, ...]:
    """What tells ports apart; those with an application's protocol are never the same, as Go compares pointers."""
    if port is None:
        return ()
    known = port.get("name") or "", port.get("port"), port.get("protocol")
    return known if port.get("appProtocol") is None else (*known, place, number)


def _subset(
    group: Sequence[tuple[_Address, bool]], ports: list[Object], addresses: dict[_Address, Object]
) -> Object:
    made: Object = {}
    for field, wanted in (("addresses", True), ("notReadyAddresses", False)):
        if found := [addresses[key] for key, ready in group if ready is wanted]:
            made[field] = found
    if ports:
        made["ports"] = sorted(ports, key=lambda port: _sum(f"(core.EndpointPort){_port_text(port)}"))
    return made


def _sum(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _pointer(value: object) -> str:
    return "(*string)<nil>" if value is None else f"(*string){value}"


def _port_text(port: Object) -> str:
    return (
        f"{{Name:(string){port.get('name') or ''} Port:(int32){port.get('port') or 0} "
        f"Protocol:(core.Protocol){port.get('protocol') or ''} AppProtocol:{_pointer(port.get('appProtocol'))}}}"
    )


def _address_text(address: Object) -> str:
    target = address.get("targetRef")
    reference = "<nil>"
    if target is not None:
        fields = " ".join(f"{name}:({kind}){target.get(key) or ''}" for name, key, kind in _REFERENCE)
        reference = f"{{{fields}}}"
    return (
        f"{{IP:(string){address.get('ip') or ''} Hostname:(string){address.get('hostname') or ''} "
        f"NodeName:{_pointer(address.get('nodeName'))} TargetRef:(*core.ObjectReference){reference}}}"
    )


def _subset_text(subset: Object) -> str:
    def listed(field: str, texts: list[str], kind: str) -> str:
        return f"{field}:([]core.{kind}){'[' + ' '.join(texts) + ']' if texts else '<nil>'}"

    return (
        "{"
        + " ".join(
            (
                listed(
                    "Addresses",
                    [_address_text(each) for each in subset.get("addresses") or ()],
                    "EndpointAddress",
                ),
                listed(
                    "NotReadyAddresses",
                    [_address_text(each) for each in subset.get("notReadyAddresses") or ()],
                    "EndpointAddress",
                ),
                listed("Ports", [_port_text(each) for each in subset.get("ports") or ()], "EndpointPort"),
            )
        )
        + "}"
    )
