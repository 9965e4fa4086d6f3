"""How fast lost nodes may lose their pods, by what has become of their zone.

Source: Kubernetes' node lifecycle controller: one node in ten seconds in a zone that is well or wholly lost; slowly
in a large zone of which more than half is lost, not at all in a small one; nowhere when every zone is wholly lost,
for then it is more likely the control plane that is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sublet.machinery import objects
from sublet.machinery.exposition import escaped, heading
from sublet.machinery.kind import Object

_FEW = 2
_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"

_BETWEEN = ":\x00:"

Zone = tuple[str, str]


def zone_of(node: Object) -> Zone:
    labels = objects.labels(node)
    return labels.get(_REGION, ""), labels.get(_ZONE, "")


def zone_label(zone: Zone) -> str:
    """As metrics name it: upstream's key of region and zone."""
    key = _BETWEEN.join(zone) if any(zone) else ""
    return f'zone="{escaped(key)}"'


@dataclass(frozen=True)
class Rates:
    """Defaults are upstream's."""

    normal: float = 0.1
    """Nodes per second."""
    secondary: float = 0.01
    """Of a large zone of which much is lost."""
    large: int = 50
    unhealthy: float = 0.55
    """Which share of a zone's nodes is much."""


@dataclass
class _Count:
    nodes: int = 0
    lost: int = 0

    @property
    def all_lost(self) -> bool:
        return self.nodes > 0 and self.lost == self.nodes

    def partly_lost(self, share: float) -> bool:
        return self.lost > _FEW and self.lost / self.nodes >= share


class Zones:
    """Counts nodes as they come, change and go."""

    def __init__(self, rates: Rates | None = None) -> None:
        self._rates = rates or Rates()
        self._zones: dict[Zone, _Count] = {}

    def changed(self, old: Object | None, new: Object | None) -> None:
        for node, step in ((old, -1), (new, 1)):
            if node is None:
                continue
            count = self._zones.setdefault(zone_of(node), _Count())
            count.nodes += step
            count.lost += step * (not objects.is_true(node, "Ready"))
            if not count.nodes:
                del self._zones[zone_of(node)]

    @property
    def all_lost(self) -> bool:
        """Whether no node of any zone is heard of."""
        return bool(self._zones) and all(count.all_lost for count in self._zones.values())

    def rate(self, node: Object) -> float:
        """Nodes per second of the node's zone that may lose their pods."""
        if self.all_lost:
            return 0.0
        count = self._zones.get(zone_of(node), _Count())
        rates = self._rates
        if count.all_lost or not count.partly_lost(rates.unhealthy):
            return rates.normal
        return rates.secondary if count.nodes > rates.large else 0.0

    def lines(self) -> Iterator[str]:
        """Metrics under upstream's names."""
        zones = {zone_label(zone): count for zone, count in self._zones.items()}
        healthy = {zone: 100 * (count.nodes - count.lost) / count.nodes for zone, count in zones.items()}
        for name, what, values in (
            ("zone_health", "percentage of healthy nodes per zone", healthy),
            ("zone_size", "number of registered Nodes per zones", {z: c.nodes for z, c in zones.items()}),
            ("unhealthy_nodes_in_zone", "number of not Ready Nodes per zones", {z: c.lost for z, c in zones.items()}),
        ):  # fmt: skip
            yield from heading(f"node_collector_{name}", f"[ALPHA] Gauge measuring {what}.", "gauge")
            for zone, value in values.items():
                yield f"node_collector_{name}{{{zone}}} {value:g}"


class Pace:
    """Lets one node of a zone pass at a time, so many in a second."""

    def __init__(self) -> None:
        self._last: dict[Zone, float] = {}

    def passes(self, node: Object, rate: float, now: float) -> bool:
        last = self._last.get(zone_of(node))
        if rate <= 0 or (last is not None and now - last < 1 / rate):
            return False
        self._last[zone_of(node)] = now
        return True
