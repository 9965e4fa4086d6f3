"""node-ipam-controller: gives every node its own ranges of pod addresses (``spec.podCIDR``, ``spec.podCIDRs``).

Settings: ``cluster_cidr`` is what ranges are taken from (of a dual-stack cluster two, with a comma between them); without
it nodes keep what they have. ``node_cidr_mask_sizes`` are the prefix lengths of a node's IPv4 and IPv6 range (24, 64).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

_NODES = resource("nodes")
MASKS = (24, 64)
"""Prefix lengths of a node's IPv4 and IPv6 range."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def free_range(cluster: str, taken: Iterable[str], masks: tuple[int, int] = MASKS) -> str | None:
    """The first node's range within ``cluster`` that overlaps none of ``taken``; None when all are used."""
    network = ipaddress.ip_network(cluster)
    bits = max(network.prefixlen, masks[0] if network.version == 4 else masks[1])
    known = (ipaddress.ip_network(each, strict=False) for each in taken)
    used = [each for each in known if each.version == network.version]
    covered = {each for each in used if each.prefixlen == bits}
    others = [each for each in used if each.prefixlen != bits]
    for candidate in network.subnets(new_prefix=bits):
        if candidate not in covered and not any(candidate.overlaps(each) for each in others):
            return str(candidate)
    return None


def node_ranges(
    clusters: Sequence[str], taken: Iterable[str], masks: tuple[int, int] = MASKS
) -> list[str] | None:
    """A free range of each of ``clusters``; None when one of them has none left."""
    used = list(taken)
    found = [free_range(cluster, used, masks) for cluster in clusters]
    return [each for each in found if each is not None] if None not in found else None


class _Ranges:
    def __init__(self, context: Context, clusters: Sequence[str]) -> None:
        self._context = context
        self._clusters = clusters
        self._masks: tuple[int, int] = context.settings.get("node_cidr_mask_sizes") or MASKS
        self._nodes = context.informers.informer(_NODES)
        self._given: dict[str, list[str]] = {}
        """Of nodes whose new ranges the informer may not show yet."""
        self.controller = Controller("node-ipam-controller", self.reconcile)
        self._nodes.add_handler(self._on_node)

    def _on_node(self, event: str, node: Object, _old: Object | None) -> None:
        if event != "delete":
            self.controller.enqueue(objects.name(node))
            return
        self._given.pop(objects.name(node), None)
        for other in self._nodes.list():
            if not _ranges_of(other):
                self.controller.enqueue(objects.name(other))

    async def reconcile(self, key: str) -> None:
        node = self._nodes.get_key(key)
        if node is None or (node.get("spec") or {}).get("podCIDR"):
            return
        taken = {range_ for each in self._nodes.list() for range_ in _ranges_of(each)}
        taken |= {range_ for ranges in self._given.values() for range_ in ranges}
        chosen = self._given.get(key) or node_ranges(self._clusters, taken, self._masks)
        if chosen is None:
            text = f"Node {key} status is now: CIDRNotAvailable"
            self._context.events.event(node, _NODES, "Normal", "CIDRNotAvailable", text)
            return
        self._given[key] = chosen
        try:
            patch = {"spec": {"podCIDR": chosen[0], "podCIDRs": chosen}}
            await self._context.client.patch(_NODES, key, patch)
        except NotFound:
            self._given.pop(key, None)


def _ranges_of(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


def setup(context: Context) -> Controller | list[Controller]:
    stated = str(context.settings.get("cluster_cidr") or "").split(",")
    clusters = [each.strip() for each in stated if each.strip()]
    return _Ranges(context, clusters).controller if clusters else []


CONTROLLER = Registration("node-ipam-controller", setup, service_account="node-controller")
