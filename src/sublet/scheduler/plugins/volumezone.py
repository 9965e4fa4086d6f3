"""Volumes that are labelled with a zone or region are used on nodes of that zone or region.

Source: kube-scheduler's VolumeZone. Labels may list several values, joined by ``__``.
"""

from __future__ import annotations

from typing import Any

from sublet.machinery import objects
from sublet.scheduler.framework import NODE_LABELS, SKIP, VOLUME_CHANGED, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.volumes import volumes

_LABELS = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
_BETA = "failure-domain.beta.kubernetes.io/"


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    wanted = [
        (label, frozenset(value.split("__")))
        for volume in volumes(pod, cluster.lookup)
        for label in _LABELS
        if (value := objects.labels(volume).get(label))
    ]
    return wanted or SKIP


def _filter(wanted: Any, _pod: PodInfo, node: NodeInfo) -> str | None:
    for label, values in wanted:
        has = node.labels.get(label)
        if has is None and label.startswith(_BETA):
            has = node.labels.get("topology.kubernetes.io/" + label.removeprefix(_BETA))
        if has not in values:
            return "node(s) had no available volume zone"
    return None


PLUGIN = Plugin(
    "VolumeZone", prepare=_prepare, filter=_filter, wakes=frozenset({NODE_LABELS, VOLUME_CHANGED})
)
