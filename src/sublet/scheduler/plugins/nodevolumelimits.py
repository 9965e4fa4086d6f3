"""How many volumes of one CSI driver a node can have attached. Source: kube-scheduler's NodeVolumeLimits.

The limit is ``spec.drivers[].allocatable.count`` of the node's CSINode; a volume counts once, however many pods use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sublet.scheduler.framework import POD_DELETED, SKIP, VOLUME_CHANGED, Cluster, Lookup, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.volumes import claims, class_name

EXCEEDED = "node(s) exceed max volume count"


@dataclass(frozen=True, slots=True)
class _State:
    lookup: Lookup
    wanted: dict[str, str]
    """Volume handle, or the claim's key where it has no volume yet -> driver."""


def _csi_volumes(pod: PodInfo, lookup: Lookup) -> dict[str, str]:
    found: dict[str, str] = {}
    for claim in claims(pod, lookup):
        key = f"{pod.namespace}/{claim['metadata']['name']}"
        volume = lookup.volumes.get("", (claim.get("spec") or {}).get("volumeName") or "")
        if volume is not None:
            csi = (volume.get("spec") or {}).get("csi")
            if csi:
                found[f"{csi.get('driver')}^{csi.get('volumeHandle')}"] = str(csi.get("driver"))
            continue
        made_by = lookup.classes.get("", class_name(claim))
        if made_by is not None and made_by.get("provisioner"):
            found[key] = str(made_by["provisioner"])
    return found


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    wanted = _csi_volumes(pod, cluster.lookup)
    return _State(cluster.lookup, wanted) if wanted else SKIP


def _limits(node: NodeInfo, lookup: Lookup) -> dict[str, int]:
    stated = lookup.csi_nodes.get("", node.name)
    drivers = ((stated or {}).get("spec") or {}).get("drivers") or ()
    return {
        str(driver["name"]): int(driver["allocatable"]["count"])
        for driver in drivers
        if (driver.get("allocatable") or {}).get("count") is not None
    }


def _filter(state: _State, _pod: PodInfo, node: NodeInfo) -> str | None:
    limits = _limits(node, state.lookup)
    concerned = {driver for driver in state.wanted.values() if driver in limits}
    if not concerned:
        return None
    attached: dict[str, str] = {}
    for other in node.pods.values():
        attached.update(_csi_volumes(other, state.lookup))
    for driver in concerned:
        there = {key for key, value in attached.items() if value == driver}
        new = {key for key, value in state.wanted.items() if value == driver} - there
        if new and len(there) + len(new) > limits[driver]:
            return EXCEEDED
    return None


PLUGIN = Plugin(
    "NodeVolumeLimits",
    prepare=_prepare,
    filter=_filter,
    wakes=frozenset({POD_DELETED, VOLUME_CHANGED}),
    preemptible=True,
)
