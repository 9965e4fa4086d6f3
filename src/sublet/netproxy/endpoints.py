"""What a Service and its EndpointSlices say, as values, and which endpoints traffic may go to. Pure.

Source: kubernetes.io, "Virtual IPs and Service Proxies" (traffic policies, terminating endpoints, topology hints).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sublet.machinery import objects
from sublet.machinery.kind import Object

Family = Literal["ip", "ip6"]
"""nftables' name of an address family."""

ADDRESS_TYPES: Mapping[Family, str] = {"ip": "IPv4", "ip6": "IPv6"}
PROTOCOLS = ("tcp", "udp", "sctp")
SERVICE_NAME = "kubernetes.io/service-name"
_ANOTHER_PROXY = "service.kubernetes.io/service-proxy-name"
_ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where this proxy is."""

    name: str
    zone: str = ""

    @classmethod
    def of(cls, name: str, node: Object | None) -> NodePlace:
        return cls(name, objects.labels(node).get(_ZONE, "") if node else "")


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service in one family."""

    namespace: str
    service: str
    name: str
    protocol: str
    """``tcp``, ``udp`` or ``sctp``."""
    port: int
    node_port: int
    cluster_ips: tuple[str, ...]
    external_ips: tuple[str, ...]
    load_balancer_ips: tuple[str, ...]
    source_ranges: tuple[str, ...]
    """Who may use the load balancer's addresses; empty: everyone."""
    affinity_seconds: int
    """0: none."""
    external_local: bool
    internal_local: bool

    @property
    def id(self) -> str:
        """Unique in its family; made of characters that nft takes in a name."""
        return f"{self.namespace}/{self.service}/{self.protocol}/{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    address: str
    port: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    zones: tuple[str, ...] = ()
    """Zones that are to use it (hints); empty: no hint."""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where traffic may go. ``known``: whether anything on any node would take it."""

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]

    @property
    def known(self) -> bool:
        return bool(self.cluster or self.local)


def family_of(address: str) -> Family | None:
    """None for what is no address."""
    try:
        return "ip" if ipaddress.ip_address(address).version == 4 else "ip6"
    except ValueError:
        return None


def service_ports(service: Object, family: Family) -> list[ServicePort]:
    """The ports a proxy serves: none of a headless, external-name or differently proxied Service."""
    spec = service.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    cluster_ips = _of_family(addresses, family)
    if spec.get("type") == "ExternalName" or "None" in addresses or not cluster_ips:
        return []
    if _ANOTHER_PROXY in objects.labels(service):
        return []
    node_ports = spec.get("type") in ("NodePort", "LoadBalancer")
    found = []
    for port in spec.get("ports") or ():
        protocol = str(port.get("protocol") or "TCP").lower()
        if protocol not in PROTOCOLS:
            continue
        found.append(
            ServicePort(
                namespace=objects.namespace(service),
                service=objects.name(service),
                name=port.get("name") or "",
                protocol=protocol,
                port=port["port"],
                node_port=(port.get("nodePort") or 0) if node_ports else 0,
                cluster_ips=cluster_ips,
                external_ips=_of_family(spec.get("externalIPs") or (), family),
                load_balancer_ips=_load_balancer_ips(service, family),
                source_ranges=_ranges(spec.get("loadBalancerSourceRanges") or (), family),
                affinity_seconds=_affinity(spec),
                external_local=spec.get("externalTrafficPolicy") == "Local",
                internal_local=spec.get("internalTrafficPolicy") == "Local",
            )
        )
    return found


def _of_family(addresses: Iterable[str | None], family: Family) -> tuple[str, ...]:
    return tuple(address for address in addresses if address and family_of(address) == family)


def _load_balancer_ips(service: Object, family: Family) -> tuple[str, ...]:
    """Addresses of mode Proxy are left to the load balancer itself."""
    if (service.get("spec") or {}).get("type") != "LoadBalancer":
        return ()
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return _of_family((each.get("ip") for each in ingress if each.get("ipMode") != "Proxy"), family)


def _ranges(ranges: Iterable[str], family: Family) -> tuple[str, ...]:
    found = []
    for text in ranges:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if (network.version == 4) == (family == "ip"):
            found.append(str(network))
    return tuple(found)


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    return int(seconds or 10800)


def endpoints(port: ServicePort, slices: Iterable[Object], family: Family) -> list[Endpoint]:
    """All endpoints of a port, whatever their condition; each address and port once."""
    found: dict[tuple[str, int], Endpoint] = {}
    for piece in slices:
        if piece.get("addressType") != ADDRESS_TYPES[family]:
            continue
        for number in _numbers(port, piece):
            for endpoint in piece.get("endpoints") or ():
                made = _endpoint(endpoint, number, family)
                if made is not None:
                    known = found.get((made.address, number))
                    # the same endpoint may be in two slices while they are rewritten: the better word counts
                    if known is None or (made.ready and not known.ready):
                        found[(made.address, number)] = made
    return sorted(found.values())


def _numbers(port: ServicePort, piece: Object) -> list[int]:
    return [
        each["port"]
        for each in piece.get("ports") or ()
        if (each.get("name") or "") == port.name
        and str(each.get("protocol") or "TCP").lower() == port.protocol
        and each.get("port")
    ]


def _endpoint(endpoint: Object, number: int, family: Family) -> Endpoint | None:
    addresses = endpoint.get("addresses") or ()
    if not addresses or family_of(addresses[0]) != family:
        return None
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    hints = endpoint.get("hints") or {}
    return Endpoint(
        address=addresses[0],
        port=number,
        ready=ready,
        serving=ready if serving is None else serving,
        terminating=bool(conditions.get("terminating")),
        node=endpoint.get("nodeName") or "",
        zones=tuple(sorted(zone["name"] for zone in hints.get("forZones") or ())),
        nodes=tuple(sorted(node["name"] for node in hints.get("forNodes") or ())),
    )


def choose(found: Sequence[Endpoint], place: NodePlace) -> Chosen:
    """Ready endpoints, else those that end but still serve; in the cluster and on this node."""
    return Chosen(
        cluster=tuple(_hinted(_usable(found), place)),
        local=tuple(_usable([each for each in found if each.node == place.name])),
    )


def _usable(found: Sequence[Endpoint]) -> list[Endpoint]:
    return [each for each in found if each.ready] or [
        each for each in found if each.serving and each.terminating
    ]


def _hinted(found: list[Endpoint], place: NodePlace) -> list[Endpoint]:
    """Those meant for this node, else for this zone; all, unless every endpoint has a hint."""
    if found and all(each.nodes for each in found) and any(place.name in each.nodes for each in found):
        return [each for each in found if place.name in each.nodes]
    if found and place.zone and all(each.zones for each in found):
        return [each for each in found if place.zone in each.zones] or found
    return found
