"""Claims of a pod: bound volumes must be reachable from the node; unbound ones that wait for a consumer are bound here.

Source: kube-scheduler's VolumeBinding. For a claim of a WaitForFirstConsumer class a fitting volume is reserved for
it by ``spec.claimRef``; where there is none, the claim gets ``volume.kubernetes.io/selected-node`` and a provisioner
makes one. The pod is bound only when all claims are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects, quantity, selectors
from sublet.machinery.kind import Object
from sublet.machinery.scheduling import matches_expression, matches_node_selector
from sublet.machinery.status import Conflict, NotFound
from sublet.scheduler.framework import (
    NODE_LABELS,
    SKIP,
    VOLUME_CHANGED,
    Cluster,
    Lookup,
    Plugin,
    Rejection,
)
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo
from sublet.scheduler.volumes import claim_names, class_name, is_bound

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_BIND_SECONDS = 600.0


@dataclass(slots=True)
class _State:
    lookup: Lookup
    bound: list[Object] = field(default_factory=list)
    """Volumes of bound claims."""
    missing: bool = False
    """A bound claim names a volume that is not there."""
    waiting: list[Object] = field(default_factory=list)
    """Claims to be bound once a node is chosen."""


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    names = claim_names(pod)
    if not names:
        return SKIP
    state = _State(cluster.lookup)
    for name in names:
        claim = cluster.lookup.claims.get(pod.namespace, name)
        if claim is None:
            return Rejection(f'persistentvolumeclaim "{name}" not found')
        if objects.is_deleting(claim):
            return Rejection(f'persistentvolumeclaim "{name}" is being deleted')
        if (claim.get("status") or {}).get("phase") == "Lost":
            return Rejection(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim["spec"].get("volumeName", "")}"')  # fmt: skip
        if is_bound(claim):
            volume = cluster.lookup.volumes.get("", claim["spec"]["volumeName"])
            if volume is None:
                state.missing = True
            else:
                state.bound.append(volume)
        elif claim["spec"].get("volumeName") or not _waits(claim, cluster.lookup):
            return Rejection("pod has unbound immediate PersistentVolumeClaims")
        else:
            state.waiting.append(claim)
    return state


def _waits(claim: Object, lookup: Lookup) -> bool:
    found = lookup.classes.get("", class_name(claim))
    return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"


def _filter(state: _State, _pod: PodInfo, node: NodeInfo) -> str | None:
    if state.missing:
        return "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    for volume in state.bound:
        if not _reachable(volume, node):
            return "node(s) didn't match PersistentVolume's node affinity"
    taken: set[str] = set()
    for claim in state.waiting:
        chosen = _candidate(claim, state.lookup, node, taken)
        if chosen is not None:
            taken.add(objects.name(chosen))
            continue
        selected = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        if selected and selected != node.name:
            return "node(s) didn't match PersistentVolume's node affinity"
        if not _provisionable(claim, state.lookup, node):
            return "node(s) didn't find available persistent volumes to bind"
    return None


def _reachable(volume: Object, node: NodeInfo) -> bool:
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return required is None or matches_node_selector(required, node.node)


def _provisionable(claim: Object, lookup: Lookup, node: NodeInfo) -> bool:
    found = lookup.classes.get("", class_name(claim))
    if found is None or found.get("provisioner") in (None, "", _NO_PROVISIONER):
        return False
    topologies = found.get("allowedTopologies") or ()
    return not topologies or any(_topology(topology, node) for topology in topologies)


def _topology(stated: Mapping[str, Any], node: NodeInfo) -> bool:
    expressions = stated.get("matchLabelExpressions") or ()
    return all(matches_expression({"operator": "In", **e}, node.labels) for e in expressions)


def _candidate(claim: Object, lookup: Lookup, node: NodeInfo, taken: set[str]) -> Object | None:
    """The smallest free volume that suits the claim on this node, or the one reserved for it."""
    spec = claim["spec"]
    wanted = quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
    selector = selectors.from_label_selector(spec["selector"]) if spec.get("selector") else None
    best: tuple[quantity.Quantity, Object] | None = None
    for volume in lookup.volumes.list():
        offered = volume.get("spec") or {}
        reference = offered.get("claimRef")
        if reference is not None:
            if reference.get("uid") == objects.uid(claim) and _reachable(volume, node):
                return volume
            continue
        size = quantity.parse((offered.get("capacity") or {}).get("storage", "0"))
        if (
            size >= wanted
            and (best is None or size < best[0])
            and objects.name(volume) not in taken
            and not objects.is_deleting(volume)
            and class_name(volume) == class_name(claim)
            and set(spec.get("accessModes") or ()) <= set(offered.get("accessModes") or ())
            and (spec.get("volumeMode") or "Filesystem") == (offered.get("volumeMode") or "Filesystem")
            and (selector is None or selector.matches(objects.labels(volume)))
            and _reachable(volume, node)
        ):
            best = (size, volume)
    return best[1] if best else None


async def _bind(state: _State, pod: PodInfo, node: str, cluster: Cluster) -> None:
    taken: set[str] = set()
    for claim in state.waiting:
        chosen = _candidate(claim, state.lookup, cluster.nodes[node], taken)
        if chosen is None:
            await _select_node(claim, node, cluster)
            continue
        taken.add(objects.name(chosen))
        if not (chosen["spec"].get("claimRef") or {}).get("uid"):
            await _reserve(chosen, claim, cluster)
    await _all_bound(state, node, cluster)


async def _select_node(claim: Object, node: str, cluster: Cluster) -> None:
    metadata = {
        "resourceVersion": claim["metadata"].get("resourceVersion"),
        "annotations": {SELECTED_NODE: node},
    }
    if (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) == node:
        return
    where = resource("persistentvolumeclaims")
    await cluster.client.patch(where, objects.name(claim), {"metadata": metadata}, objects.namespace(claim))


async def _reserve(volume: Object, claim: Object, cluster: Cluster) -> None:
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": objects.namespace(claim),
        "name": objects.name(claim),
        "uid": objects.uid(claim),
        "resourceVersion": claim["metadata"].get("resourceVersion"),
    }
    patch = {
        "metadata": {
            "resourceVersion": volume["metadata"].get("resourceVersion"),
            "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
        },
        "spec": {"claimRef": reference},
    }
    await cluster.client.patch(resource("persistentvolumes"), objects.name(volume), patch)


async def _all_bound(state: _State, node: str, cluster: Cluster) -> None:
    """Waits until every claim is bound; a claim that lost its chosen node was given up by the provisioner."""
    changed = asyncio.Event()
    waiting = {objects.key(claim): objects.uid(claim) for claim in state.waiting}

    def seen(_event: str, claim: Object, _old: Object | None) -> None:
        if objects.key(claim) in waiting:
            changed.set()

    state.lookup.claims.add_handler(seen)
    try:
        async with asyncio.timeout(_BIND_SECONDS):
            selected: set[str] = set()
            while not _done(waiting, node, selected, state.lookup):
                await changed.wait()
                changed.clear()
    finally:
        state.lookup.claims.remove_handler(seen)


def _done(waiting: Mapping[str, str], node: str, selected: set[str], lookup: Lookup) -> bool:
    """``selected`` remembers the claims that were seen with the chosen node, to notice when one loses it."""
    bound = True
    for key, uid in waiting.items():
        claim = lookup.claims.get_key(key)
        if claim is None or objects.uid(claim) != uid:
            raise NotFound(f'persistentvolumeclaim "{key}" was deleted while its volume was being bound')
        if is_bound(claim):
            continue
        bound = False
        chosen = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE, "")
        if chosen == node:
            selected.add(key)
        elif key in selected:
            raise Conflict(f'the provisioner gave up on persistentvolumeclaim "{key}" for node {node}')
    return bound


PLUGIN = Plugin(
    "VolumeBinding",
    prepare=_prepare,
    filter=_filter,
    bind=_bind,
    busy=lambda state: bool(state.waiting),
    wakes=frozenset({VOLUME_CHANGED, NODE_LABELS}),
)
