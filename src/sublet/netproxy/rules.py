"""Services and EndpointSlices of a cluster as nftables rules of one node. Pure.

A packet finds its Service by one look-up in a map of address, protocol and port, whatever their number; the chain
found there picks an endpoint. What no chain took is rejected afterwards, in the filter hooks. Source: the rules'
purposes are those of kube-proxy's nftables mode (KEP-3866).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sublet.machinery.kind import Object
from sublet.netproxy.endpoints import (
    Chosen,
    Endpoint,
    Family,
    NodePlace,
    ServicePort,
    choose,
    endpoints,
    service_ports,
)
from sublet.netproxy.ruleset import Ruleset

MASQUERADE_MARK = 0x4000
"""The packet mark kube-proxy uses too: this flow leaves with the node's address."""

_TRANSPORT = "meta l4proto { tcp, udp, sctp }"
_BASES = {
    "nat-prerouting": "type nat hook prerouting priority -100",
    "nat-output": "type nat hook output priority -100",
    "nat-postrouting": "type nat hook postrouting priority 100",
    "firewall-prerouting": "type filter hook prerouting priority -110",
    "firewall-output": "type filter hook output priority -110",
    "filter-input": "type filter hook input priority 0",
    "filter-forward": "type filter hook forward priority 0",
    "filter-output": "type filter hook output priority 0",
}


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Of one cluster's proxy on one node."""

    cluster: str
    """Name of the cluster on this machine: makes the table's name."""
    node_name: str
    cluster_cidrs: tuple[str, ...] = ()
    """Ranges of all pods; what comes from elsewhere to a ClusterIP leaves with the node's address."""
    masquerade_all: bool = False
    pod_bridge: str = ""
    """Device of this node's pods, if it may carry loopback sources (``route_localnet``): then node ports answer on
    127.0.0.1 too."""

    @property
    def table(self) -> str:
        return f"sublet-{self.cluster}"

    def pods(self, family: Family) -> str:
        """The pod ranges of one family as nft writes a set of them; empty when there are none."""
        ranges = [each for each in self.cluster_cidrs if (":" in each) == (family == "ip6")]
        return ranges[0] if len(ranges) == 1 else "{ " + ", ".join(ranges) + " }" if ranges else ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one Service adds to the table of one family."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    udp: Mapping[tuple[str, int], frozenset[tuple[str, int]]] = field(default_factory=dict)
    """UDP address and port (address ``""``: a node port) to the endpoints behind it, for clearing connections."""


def fragment(
    service: Object, slices: Iterable[Object], family: Family, place: NodePlace, settings: ProxySettings
) -> Fragment:
    """The rules of one Service in one family."""
    slices = list(slices)
    made = _Service(family, settings)
    for port in service_ports(service, family):
        made.add(port, choose(endpoints(port, slices, family), place))
    return Fragment(made.chains, made.sets, made.elements, made.udp)


def ruleset(fragments: Iterable[Fragment], family: Family, settings: ProxySettings) -> Ruleset:
    """The whole table. Where two Services claim one address and port, the first given keeps it."""
    chains = _fixed_chains(family, settings.pod_bridge)
    sets: dict[str, str] = {}
    maps = _maps(family)
    elements: dict[str, dict[str, str]] = {name: {} for name in maps}
    for each in fragments:
        chains.update(each.chains)
        sets.update(each.sets)
        for name, found in each.elements.items():
            held = elements[name]
            for key, value in found.items():
                held.setdefault(key, value)
    return Ruleset(family, settings.table, chains, _BASES, sets, maps, elements)


def _maps(family: Family) -> dict[str, str]:
    address = "ipv4_addr" if family == "ip" else "ipv6_addr"
    destination = f"{address} . inet_proto . inet_service"
    return {
        "cluster-ips": f"set type {address} ;",
        "service-ips": f"map type {destination} : verdict ;",
        "service-nodeports": "map type inet_proto . inet_service : verdict ;",
        "unserved-ips": f"map type {destination} : verdict ;",
        "unserved-nodeports": "map type inet_proto . inet_service : verdict ;",
        "firewall-ips": f"map type {destination} : verdict ;",
    }


def _fixed_chains(family: Family, pod_bridge: str) -> dict[str, tuple[str, ...]]:
    destination = f"{family} daddr . meta l4proto . th dport"
    local = f"fib daddr type local {_TRANSPORT} meta l4proto . th dport"
    loopback = "127.0.0.0/8" if family == "ip" else "::1"
    mark = f"{MASQUERADE_MARK:#x}"
    firewall = f"ct state new {_TRANSPORT} {destination} vmap @firewall-ips"
    on_loopback = bool(pod_bridge) and family == "ip"
    # the kernel takes a loopback source for a stray, except on devices that allow it; a pod must not use that
    strays = (f'iifname "{pod_bridge}" ip daddr {loopback} drop',) if on_loopback else ()
    node_ports = f"{local} vmap @service-nodeports"
    return {
        "nat-prerouting": ("jump services",),
        "nat-output": ("jump services",),
        "nat-postrouting": (
            f"meta mark & {mark} == 0 return",
            f"meta mark set meta mark xor {mark}",
            "masquerade fully-random",
        ),
        "firewall-prerouting": (*strays, firewall),
        "firewall-output": (firewall,),
        "filter-input": ("ct state new jump unserved",),
        "filter-forward": ("ct state new jump unserved",),
        "filter-output": ("ct state new jump unserved",),
        "services": (
            f"{_TRANSPORT} {destination} vmap @service-ips",
            node_ports if on_loopback else f"{family} daddr != {loopback} {node_ports}",
        ),
        "unserved": (
            f"{_TRANSPORT} {destination} vmap @unserved-ips",
            f"{local} vmap @unserved-nodeports",
            f"{family} daddr @cluster-ips goto refuse",
        ),
        "refuse": ("meta l4proto tcp reject with tcp reset", "reject"),
        "mark-masquerade": (f"meta mark set meta mark or {mark}",),
    }


class _Service:
    """Collects the parts of one Service's ports."""

    def __init__(self, family: Family, settings: ProxySettings) -> None:
        self.family = family
        self.settings = settings
        self.chains: dict[str, tuple[str, ...]] = {}
        self.sets: dict[str, str] = {}
        self.elements: dict[str, dict[str, str]] = {}
        self.udp: dict[tuple[str, int], frozenset[tuple[str, int]]] = {}

    def add(self, port: ServicePort, chosen: Chosen) -> None:
        for address in port.cluster_ips:
            self._element("cluster-ips", address, "")
        inside = chosen.local if port.internal_local else chosen.cluster
        outside = chosen.local if port.external_local else chosen.cluster
        is_external = bool(port.node_port or port.external_ips or port.load_balancer_ips)
        if chosen.cluster:
            self._balance(f"service-{port.id}", port, chosen.cluster, self._from_outside(port))
        if chosen.local and (port.internal_local or (port.external_local and is_external)):
            self._balance(f"local-{port.id}", port, chosen.local, ())
        if is_external and (chosen.cluster or outside):
            self._external(port, chosen)
        for each in {*chosen.cluster, *chosen.local}:
            self._endpoint(port, each)
        verdict = f"goto {'local' if port.internal_local else 'service'}-{port.id}"
        self._reachable(port, port.cluster_ips, inside, chosen, verdict)
        self._reachable(
            port, (*port.external_ips, *port.load_balancer_ips), outside, chosen, f"goto external-{port.id}"
        )
        self._node_port(port, outside, chosen)
        self._firewall(port)

    def _element(self, name: str, key: str, value: str) -> None:
        self.elements.setdefault(name, {}).setdefault(key, value)

    def _from_outside(self, port: ServicePort) -> tuple[str, ...]:
        """Pods answer a stranger by their own way out: it must come with this node's address."""
        pods = self.settings.pods(self.family)
        addresses = ", ".join(port.cluster_ips)
        if self.settings.masquerade_all:
            return (f"{self.family} daddr {{ {addresses} }} jump mark-masquerade",)
        if not pods:
            return ()
        return (f"{self.family} daddr {{ {addresses} }} {self.family} saddr != {pods} jump mark-masquerade",)

    def _balance(
        self, chain: str, port: ServicePort, chosen: Sequence[Endpoint], first: tuple[str, ...]
    ) -> None:
        rules = [*first]
        names = [_endpoint_chain(port, each) for each in chosen]
        if port.affinity_seconds:
            for each, name in zip(chosen, names, strict=True):
                rules.append(f"{self.family} saddr @{_affinity_set(port, each)} goto {name}")
        if len(names) == 1:
            rules.append(f"goto {names[0]}")
        else:
            ways = ", ".join(f"{number} : goto {name}" for number, name in enumerate(names))
            rules.append(f"numgen random mod {len(names)} vmap {{ {ways} }}")
        self.chains[chain] = tuple(rules)

    def _external(self, port: ServicePort, chosen: Chosen) -> None:
        rules = []
        everywhere = f"goto service-{port.id}"
        if not port.external_local:
            rules = ["jump mark-masquerade", everywhere]
        else:
            if chosen.cluster:
                # what is in the cluster already keeps its address and may go anywhere
                if pods := self.settings.pods(self.family):
                    rules.append(f"{self.family} saddr {pods} {everywhere}")
                rules += ["fib saddr type local jump mark-masquerade", f"fib saddr type local {everywhere}"]
            rules.append(f"goto local-{port.id}" if chosen.local else "return")
        self.chains[f"external-{port.id}"] = tuple(rules)

    def _endpoint(self, port: ServicePort, each: Endpoint) -> None:
        rules = [f"{self.family} saddr {each.address} jump mark-masquerade"]
        if port.affinity_seconds:
            name = _affinity_set(port, each)
            kind = "ipv4_addr" if self.family == "ip" else "ipv6_addr"
            self.sets[name] = (
                f"type {kind} ; size 65535 ; flags dynamic,timeout ; timeout {port.affinity_seconds}s ;"
            )
            rules.append(f"update @{name} {{ {self.family} saddr }}")
        address = each.address if self.family == "ip" else f"[{each.address}]"
        rules.append(f"meta l4proto {port.protocol} dnat to {address}:{each.port}")
        self.chains[_endpoint_chain(port, each)] = tuple(rules)

    def _reachable(
        self,
        port: ServicePort,
        addresses: Sequence[str],
        wanted: Sequence[Endpoint],
        chosen: Chosen,
        verdict: str,
    ) -> None:
        external = verdict.startswith("goto external")
        for address in addresses:
            key = f"{address} . {port.protocol} . {port.port}"
            if wanted or (external and chosen.cluster):
                self._element("service-ips", key, verdict)
            if not wanted:
                self._element("unserved-ips", key, _refusal(chosen))
            if port.protocol == "udp":
                self.udp[(address, port.port)] = _targets(chosen)

    def _node_port(self, port: ServicePort, wanted: Sequence[Endpoint], chosen: Chosen) -> None:
        if not port.node_port:
            return
        key = f"{port.protocol} . {port.node_port}"
        if wanted or chosen.cluster:
            self._element("service-nodeports", key, f"goto external-{port.id}")
        if not wanted:
            self._element("unserved-nodeports", key, _refusal(chosen))
        if port.protocol == "udp":
            self.udp[("", port.node_port)] = _targets(chosen)

    def _firewall(self, port: ServicePort) -> None:
        if not port.source_ranges or not port.load_balancer_ips:
            return
        chain = f"firewall-{port.id}"
        allowed = ", ".join(port.source_ranges)
        self.chains[chain] = (f"{self.family} saddr != {{ {allowed} }} drop",)
        for address in port.load_balancer_ips:
            self._element("firewall-ips", f"{address} . {port.protocol} . {port.port}", f"goto {chain}")


def _endpoint_chain(port: ServicePort, each: Endpoint) -> str:
    # a colon ends a name in nft's grammar
    return f"endpoint-{port.id}/{each.address.replace(':', '.')}/{each.port}"


def _affinity_set(port: ServicePort, each: Endpoint) -> str:
    return f"affinity-{port.id}/{each.address.replace(':', '.')}/{each.port}"


def _targets(chosen: Chosen) -> frozenset[tuple[str, int]]:
    return frozenset((each.address, each.port) for each in (*chosen.cluster, *chosen.local))


def _refusal(chosen: Chosen) -> str:
    """With endpoints elsewhere, silence: another node may answer; with none at all, refusal at once."""
    return "drop" if chosen.known else "goto refuse"
