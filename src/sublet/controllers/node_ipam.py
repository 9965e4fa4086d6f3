"""node-ipam-controller: gives every node its own range of pod addresses (``spec.podCIDR``).

Ranges come from the setting ``cluster_cidr`` (IPv4: one /24 a node); without it nodes keep what they have.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

_NODES = resource("nodes")
_IPV4_BITS, _IPV6_BITS = 24, 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def free_range(cluster: str, taken: Iterable[str]) -> str | None:
    """The first node's range within ``cluster`` that overlaps none of ``taken``; None when all are used."""
    network = ipaddress.ip_network(cluster)
    bits = max(network.prefixlen, _IPV4_BITS if network.version == 4 else _IPV6_BITS)
    used = [ipaddress.ip_network(each, strict=False) for each in taken]
    covered = {each for each in used if each.prefixlen == bits}
    others = [each for each in used if each.prefixlen != bits]
    for candidate in network.subnets(new_prefix=bits):
        if candidate not in covered and not any(candidate.overlaps(each) for each in others):
            return str(candidate)
    return None


class _Ranges:
    def __init__(self, context: Context, cluster: str) -> None:
        self._context = context
        self._cluster = cluster
        self._nodes = context.informers.informer(_NODES)
        self._given: dict[str, str] = {}
        """Of nodes whose new range the informer may not show yet."""

    def observed(self, event: str, node: Object, _old: Object | None) -> None:
        if event == "delete":
            self._given.pop(objects.name(node), None)

    async def reconcile(self, key: str) -> None:
        node = self._nodes.get_key(key)
        if node is None or (node.get("spec") or {}).get("podCIDR"):
            return
        taken = {range_ for each in self._nodes.list() for range_ in _ranges_of(each)}
        chosen = self._given.get(key) or free_range(self._cluster, taken | set(self._given.values()))
        if chosen is None:
            text = f"Node {key} status is now: CIDRNotAvailable"
            self._context.events.event(node, _NODES, "Normal", "CIDRNotAvailable", text)
            return
        self._given[key] = chosen
        patch = {"spec": {"podCIDR": chosen, "podCIDRs": [chosen]}}
        try:
            await self._context.client.patch(_NODES, key, patch)
        except NotFound:
            self._given.pop(key, None)


def _ranges_of(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


def setup(context: Context) -> Controller | list[Controller]:
    cluster = str(context.settings.get("cluster_cidr") or "").split(",")[0]
    if not cluster:
        return []
    ranges = _Ranges(context, cluster)
    controller = Controller("node-ipam-controller", ranges.reconcile)
    nodes = context.informers.informer(_NODES)
    nodes.add_handler(controller.enqueue_object)
    nodes.add_handler(ranges.observed)
    return controller


CONTROLLER = Registration("node-ipam-controller", setup, service_account="node-controller")
