"""A claim that is ReadWriteOncePod serves one pod of the whole cluster; some in-tree disks serve one pod of a node.

Source: kube-scheduler's VolumeRestrictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sublet.scheduler.framework import POD_DELETED, SKIP, VOLUME_CHANGED, Cluster, Plugin
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.volumes import claim_names, claims

IN_USE = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
CONFLICT = "node(s) had no available disk"

Volume = Mapping[str, Any]


@dataclass(slots=True)
class _State:
    alone: frozenset[str]
    """Names of the pod's claims that are ReadWriteOncePod."""
    disks: tuple[Volume, ...]
    users: dict[str, int]
    """Node -> how many pods there use a claim of ``alone``."""


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    alone = frozenset(
        claim["metadata"]["name"]
        for claim in claims(pod, cluster.lookup)
        if "ReadWriteOncePod" in ((claim.get("spec") or {}).get("accessModes") or ())
    )
    disks = tuple(v for v in pod.spec.get("volumes") or () if any(kind in v for kind in _SAME))
    if not alone and not disks:
        return SKIP
    users: dict[str, int] = {}
    if alone:
        for node in cluster.nodes.values():
            if count := sum(_uses(other, pod, alone) for other in node.pods.values()):
                users[node.name] = count
    return _State(alone, disks, users)


def _uses(other: PodInfo, pod: PodInfo, alone: frozenset[str]) -> bool:
    return other.namespace == pod.namespace and not alone.isdisjoint(claim_names(other))


def _filter(state: _State, _pod: PodInfo, node: NodeInfo) -> str | None:
    if any(state.users.values()):
        return IN_USE
    for disk in state.disks:
        for other in node.pods.values():
            if any(_conflict(disk, used) for used in other.spec.get("volumes") or ()):
                return CONFLICT
    return None


def _conflict(one: Volume, other: Volume) -> bool:
    return any(kind in one and kind in other and same(one[kind], other[kind]) for kind, same in _SAME.items())


def _disk(key: str) -> Callable[[Volume, Volume], bool]:
    """The same disk, unless both only read it."""

    def same(one: Volume, other: Volume) -> bool:
        reads = bool(one.get("readOnly")) and bool(other.get("readOnly"))
        return one.get(key) == other.get(key) and not reads

    return same


def _same_rbd(one: Volume, other: Volume) -> bool:
    shared = set(one.get("monitors") or ()) & set(other.get("monitors") or ())
    reads = bool(one.get("readOnly")) and bool(other.get("readOnly"))
    same = all((one.get(k) or d) == (other.get(k) or d) for k, d in (("pool", "rbd"), ("image", "")))
    return bool(shared) and same and not reads


_SAME: dict[str, Callable[[Volume, Volume], bool]] = {
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": lambda one, other: one.get("volumeID") == other.get("volumeID"),
    "iscsi": _disk("iqn"),
    "rbd": _same_rbd,
}


def _shift(state: _State, pod: PodInfo, other: PodInfo, node: NodeInfo, by: int) -> None:
    if state.alone and _uses(other, pod, state.alone):
        state.users[node.name] = state.users.get(node.name, 0) + by


PLUGIN = Plugin(
    "VolumeRestrictions",
    prepare=_prepare,
    filter=_filter,
    wakes=frozenset({POD_DELETED, VOLUME_CHANGED}),
    preemptible=True,
    remove_pod=lambda state, pod, other, node: _shift(state, pod, other, node, -1),
    add_pod=lambda state, pod, other, node: _shift(state, pod, other, node, 1),
)
