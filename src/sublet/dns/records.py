"""Which records a name of the cluster has, by the Kubernetes DNS-based service discovery specification 1.1.0.

Pure: it reads services, endpoint slices and nodes through the three functions of :class:`Sources`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object

TTL = 5
"""Seconds; short because services move."""


@dataclass(frozen=True, slots=True)
class Record:
    """``type`` is A, AAAA, CNAME, PTR, SRV, TXT or SOA.

    ``data``: an address, a name without trailing dot, ``(priority, weight, port, target)``, or text.
    """

    name: str
    type: str
    data: Any
    ttl: int = TTL


@dataclass(frozen=True, slots=True)
class Answer:
    """``exists`` false: NXDOMAIN. No records though it exists: NODATA."""

    exists: bool
    records: Sequence[Record] = ()
    additional: Sequence[Record] = ()


@dataclass(frozen=True)
class Sources:
    """How records find objects; each returns shared objects that are not changed."""

    service: Callable[[str, str], Object | None]
    """(namespace, name)"""
    namespace_exists: Callable[[str], bool]
    slices: Callable[[str, str], Iterable[Object]]
    """(namespace, service) -> its EndpointSlices"""
    by_address: Callable[[str], Iterable[Object]]
    """Services with this cluster IP, and slices of headless services with this endpoint address."""
    node_address: Callable[[str], Sequence[str]] = field(default=lambda _name: ())
    """Host name of a node -> its internal addresses."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    address: str
    hostname: str
    ports: tuple[tuple[str, str, int], ...]


class Zone:
    """The names below one cluster domain."""

    def __init__(self, sources: Sources, domain: str = "cluster.local") -> None:
        self._sources = sources
        self._domain = domain.strip(".").lower()
        self._labels = self._domain.split(".")

    def lookup(self, name: str, kind: str) -> Answer | None:
        """Records of ``kind`` (or ANY) for a name; None when the name is not this zone's (forward it).

        ``name`` has no trailing dot; its case is ignored.
        """
        name = name.lower()
        labels = name.split(".")
        if labels[-len(self._labels) :] == self._labels:
            rest = labels[: -len(self._labels)]
            return self._in_domain(name, rest, kind)
        if labels[-2:] in (["in-addr", "arpa"], ["ip6", "arpa"]):
            return self._reverse(name, kind)
        if addresses := self._sources.node_address(name):
            return Answer(True, _addresses(name, addresses, kind))
        return None

    @property
    def soa(self) -> Record:
        """The zone's SOA, sent with negative answers."""
        return Record(self._domain, "SOA", (f"ns.dns.{self._domain}", f"hostmaster.{self._domain}"))

    def _in_domain(self, name: str, rest: list[str], kind: str) -> Answer:
        if not rest:
            return Answer(True, [self.soa] if kind in ("SOA", "ANY") else [])
        if rest == ["dns-version"]:
            return Answer(True, [Record(name, "TXT", "1.1.0")] if kind in ("TXT", "ANY") else [])
        if rest == ["ns", "dns"] or (rest[-1] in ("svc", "pod") and len(rest) == 1):
            return Answer(True)
        if rest[-1] == "pod":
            return self._pod(name, rest[:-1], kind)
        if rest[-1] == "svc":
            return self._service(name, rest[:-1], kind)
        return Answer(False)

    def _pod(self, name: str, rest: list[str], kind: str) -> Answer:
        """``10-1-2-3.NAMESPACE.pod``: the address in the name itself."""
        if len(rest) == 1:
            return Answer(self._sources.namespace_exists(rest[0]))
        if len(rest) != 2 or not self._sources.namespace_exists(rest[1]):
            return Answer(False)
        address = _dashed(rest[0])
        return Answer(True, _addresses(name, [address], kind)) if address else Answer(False)

    def _service(self, name: str, rest: list[str], kind: str) -> Answer:
        if len(rest) == 1:
            return Answer(self._sources.namespace_exists(rest[0]))
        namespace, service_name, below = rest[-1], rest[-2], rest[:-2]
        service = self._sources.service(namespace, service_name)
        if service is None:
            return Answer(False)
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            target = str(spec.get("externalName", "")).strip(".")
            return Answer(False) if below else Answer(True, [Record(name, "CNAME", target)])
        canonical = f"{service_name}.{namespace}.svc.{self._domain}"
        if spec.get("clusterIP") in (None, "", "None"):
            return self._headless(name, canonical, self._endpoints(namespace, service_name), below, kind)
        return self._cluster_ip(name, canonical, spec, below, kind)

    def _cluster_ip(
        self, name: str, canonical: str, spec: dict[str, Any], below: list[str], kind: str
    ) -> Answer:
        addresses = spec.get("clusterIPs") or [spec["clusterIP"]]
        ports = [
            (str(p.get("name") or ""), str(p.get("protocol") or "TCP").lower(), int(p["port"]))
            for p in spec.get("ports") or ()
        ]
        if not below:
            records = _addresses(name, addresses, kind)
            if kind in ("SRV", "ANY"):
                records += [Record(name, "SRV", (0, 100, port, canonical)) for _, _, port in ports]
            return Answer(True, records, _additional(canonical, addresses, kind))
        chosen = _chosen_ports(below, ports)
        if not chosen:
            return Answer(False)
        srv = [Record(name, "SRV", (0, 100, port, canonical)) for port in chosen]
        return Answer(True, srv if kind in ("SRV", "ANY") else [], _additional(canonical, addresses, kind))

    def _headless(
        self, name: str, canonical: str, endpoints: list[_Endpoint], below: list[str], kind: str
    ) -> Answer:
        if not below:
            records = _addresses(name, [e.address for e in endpoints], kind)
            if kind in ("SRV", "ANY"):
                records += _endpoint_srv(name, canonical, endpoints, None)
            return Answer(True, records, _endpoint_addresses(canonical, endpoints, kind))
        if len(below) == 1:
            found = [e.address for e in endpoints if below[0] in (e.hostname, _dashes(e.address))]
            return Answer(bool(found), _addresses(name, found, kind))
        every = {port for endpoint in endpoints for port in endpoint.ports}
        if not _chosen_ports(below, sorted(every)):
            return Answer(False)
        srv = _endpoint_srv(name, canonical, endpoints, below) if kind in ("SRV", "ANY") else []
        return Answer(True, srv, _endpoint_addresses(canonical, endpoints, kind))

    def _endpoints(self, namespace: str, service: str) -> list[_Endpoint]:
        """Ready endpoints; slices of services that publish unready addresses say ready for all of theirs."""
        found: dict[str, _Endpoint] = {}
        for piece in self._sources.slices(namespace, service):
            ports = tuple(
                (str(p.get("name") or ""), str(p.get("protocol") or "TCP").lower(), int(p.get("port") or 0))
                for p in piece.get("ports") or ()
            )
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for address in endpoint.get("addresses") or ():
                    known = found.get(address)
                    hostname = str(endpoint.get("hostname") or "") or (known.hostname if known else "")
                    merged = tuple(dict.fromkeys((known.ports if known else ()) + ports))
                    found[address] = _Endpoint(address, hostname, merged)
        return list(found.values())

    def _reverse(self, name: str, kind: str) -> Answer | None:
        address = _from_arpa(name)
        if address is None:
            return None
        names = []
        for obj in self._sources.by_address(address):
            if "endpoints" in obj:
                names += self._slice_names(obj, address)
            else:
                names.append(f"{objects.name(obj)}.{objects.namespace(obj)}.svc.{self._domain}")
        if not names:
            return None
        return Answer(True, [Record(name, "PTR", n) for n in names] if kind in ("PTR", "ANY") else [])

    def _slice_names(self, piece: Object, address: str) -> list[str]:
        service = objects.labels(piece).get("kubernetes.io/service-name", "")
        return [
            f"{endpoint.get('hostname') or _dashes(address)}.{service}.{objects.namespace(piece)}.svc.{self._domain}"
            for endpoint in piece.get("endpoints") or ()
            if address in (endpoint.get("addresses") or ())
        ]


def _addresses(name: str, addresses: Iterable[str], kind: str) -> list[Record]:
    records = []
    for address in addresses:
        type_ = "AAAA" if ":" in address else "A"
        if kind in (type_, "ANY"):
            records.append(Record(name, type_, address))
    return records


def _additional(target: str, addresses: Iterable[str], kind: str) -> list[Record]:
    return _addresses(target, addresses, "ANY") if kind == "SRV" else []


def _endpoint_name(canonical: str, endpoint: _Endpoint) -> str:
    return f"{endpoint.hostname or _dashes(endpoint.address)}.{canonical}"


def _endpoint_srv(
    name: str, canonical: str, endpoints: list[_Endpoint], below: list[str] | None
) -> list[Record]:
    records = []
    for endpoint in endpoints:
        ports = _chosen_ports(below, endpoint.ports) if below else [port for _, _, port in endpoint.ports]
        target = _endpoint_name(canonical, endpoint)
        records += [Record(name, "SRV", (0, 100, port, target)) for port in ports]
    return records


def _endpoint_addresses(canonical: str, endpoints: list[_Endpoint], kind: str) -> list[Record]:
    if kind != "SRV":
        return []
    return [r for e in endpoints for r in _addresses(_endpoint_name(canonical, e), [e.address], "ANY")]


def _chosen_ports(below: list[str], ports: Iterable[tuple[str, str, int]]) -> list[int]:
    """The ports that ``_NAME._PROTOCOL`` means."""
    if len(below) != 2 or not all(label.startswith("_") for label in below):
        return []
    wanted = (below[0][1:], below[1][1:])
    return [port for name, protocol, port in ports if (name, protocol) == wanted]


def _dashes(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def _dashed(label: str) -> str:
    """The address that ``10-1-2-3`` or ``fd00--1`` spells, or ``""``."""
    text = label.replace("-", ".") if label.count("-") == 3 and "--" not in label else label.replace("-", ":")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _from_arpa(name: str) -> str | None:
    labels = name.split(".")[:-2]
    try:
        if name.endswith("in-addr.arpa"):
            return str(ipaddress.IPv4Address(".".join(reversed(labels))))
        digits = "".join(reversed(labels))
        if len(digits) != 32:
            return None
        return str(ipaddress.IPv6Address(int(digits, 16)))
    except ValueError:
        return None
