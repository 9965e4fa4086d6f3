"""Which zone's clients each endpoint is for, where a Service asks for it (``service.kubernetes.io/topology-mode: Auto``).

Each zone gets a share of the endpoints like its share of the nodes' CPU. Where no share would be fair there are no hints
at all. Source: Kubernetes' endpointslice library, topologycache; kubernetes.io, "Topology Aware Routing".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object

ZONE = "topology.kubernetes.io/zone"
_MODES = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
_EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_OVERLOAD = 0.2
"""By how much a zone's endpoints may have more to do than those of others."""

NO_NODES = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
NO_ZONE = "One or more endpoints do not have a zone specified"
TOO_FEW = "Insufficient number of endpoints"
UNFAIR = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"


class Unfair(Exception):
    """No hints can be given; ``str()`` says why."""


def asked(service: Object) -> bool:
    """Whether the Service asks for hints by annotation; that wins over its ``trafficDistribution``."""
    annotations = objects.annotations(service)
    stated = next((annotations[name] for name in _MODES if name in annotations), "")
    return stated in ("Auto", "auto")


def weight(node: Object) -> tuple[str, int] | None:
    """(zone, milli-CPU) of a node, None for one that does not count: not ready, or for the control plane alone."""
    labels = objects.labels(node)
    if any(label in labels for label in _EXCLUDED) or not objects.is_true(node, "Ready"):
        return None
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return labels.get(ZONE, ""), quantity.parse(str(allocatable.get("cpu") or "0")).milli()


def shares(nodes: Iterable[Object]) -> dict[str, float]:
    """Zone -> its part of the CPU of all nodes. Raises :class:`Unfair` where that cannot be told."""
    by_zone: Counter[str] = Counter()
    for found in filter(None, map(weight, nodes)):
        zone, milli = found
        if not zone or not milli:
            raise Unfair(NO_NODES)
        by_zone[zone] += milli
    if len(by_zone) < 2:
        raise Unfair(NO_NODES)
    total = by_zone.total()
    return {zone: milli / total for zone, milli in by_zone.items()}


@dataclass(frozen=True)
class _Allotment:
    least: int
    desired: float


def _allot(ratios: Mapping[str, float], count: int) -> dict[str, _Allotment]:
    described = f"({count} endpoints, {len(ratios)} zones)"
    if len(ratios) > count:
        raise Unfair(f"{TOO_FEW} {described}")
    found = {}
    for zone, ratio in ratios.items():
        desired = ratio * count
        least = math.ceil(desired / (1 + _OVERLOAD))
        found[zone] = _Allotment(least, max(desired, float(least)))
    if sum(each.least for each in found.values()) > count:
        raise Unfair(f"{UNFAIR} {described}")
    return found


def assign(endpoints: Sequence[Object], ratios: Mapping[str, float]) -> dict[int, str]:
    """Index of each ready endpoint -> the zone it is for. Raises :class:`Unfair`.

    An endpoint is for its own zone, unless that has more than its share and another has less.
    """
    ready = [i for i, each in enumerate(endpoints) if (each.get("conditions") or {}).get("ready")]
    allotted = _allot(ratios, len(ready))
    if any(not endpoints[i].get("zone") for i in ready):
        raise Unfair(NO_ZONE)
    zones = {i: str(endpoints[i]["zone"]) for i in ready}
    for giving, receiving in _moves(Counter(zones.values()), allotted):
        # The first by address, so that the same is said next time.
        moved = min(
            (i for i in ready if zones[i] == giving), key=lambda i: str(endpoints[i].get("addresses"))
        )
        zones[moved] = receiving
    return zones


def _moves(counts: Counter[str], allotted: Mapping[str, _Allotment]) -> list[tuple[str, str]]:
    """(zone that gives, zone that receives) of each endpoint that is for another zone than its own.

    Zones without nodes give all they have; zones below their least receive before those that merely lack some.
    """
    held = Counter({zone: counts[zone] for zone in (*allotted, *counts)})
    moves: list[tuple[str, str]] = []

    def lacks(zone: str) -> float:
        return allotted[zone].desired - held[zone]

    while True:
        foreign = sorted(zone for zone, count in held.items() if count and zone not in allotted)
        able = sorted(zone for zone, each in allotted.items() if held[zone] > each.least)
        starving = sorted(zone for zone, each in allotted.items() if held[zone] < each.least)
        if not foreign and not able:
            return moves
        giving = foreign[0] if foreign else min(able, key=lacks)
        receiving = max(starving or sorted(allotted), key=lacks)
        needed = foreign or starving or (lacks(giving) <= -1 and lacks(receiving) >= 1)
        if not needed or giving == receiving:
            return moves
        moves.append((giving, receiving))
        held[giving] -= 1
        held[receiving] += 1
