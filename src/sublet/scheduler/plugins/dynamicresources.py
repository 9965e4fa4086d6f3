"""Claims for devices: allocated ones bind the pod to their nodes; others are allocated on the node that is chosen.

Source: kube-scheduler's DynamicResources with structured parameters.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.scheduling import matches_node_selector
from sublet.machinery.status import Conflict, NotFound, ServiceUnavailable, StatusError
from sublet.scheduler.allocation import Selectors, Unallocatable, allocate
from sublet.scheduler.devices import DeviceId, Pool, failure, in_use, pools, ready, shares, too_late
from sublet.scheduler.extendedclaims import claim_for, is_special
from sublet.scheduler.framework import (
    DEVICE_CHANGED,
    NODE_LABELS,
    POD_DELETED,
    SKIP,
    Cluster,
    Devices,
    Plugin,
    Rejection,
)
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo

FINALIZER = "resource.kubernetes.io/delete-protection"
_MOST_USERS = 256
_MOST_ALTERNATIVES = 8
_READY_SECONDS = 600.0
"""How long drivers may take to make devices ready; upstream's default."""
_LOOK_SECONDS = 0.5
_CLAIMS, _PODS = resource("resourceclaims.resource.k8s.io"), resource("pods")


@dataclass(slots=True)
class _State:
    allocated: list[tuple[Object, Object]]
    """Claims with their allocations."""
    waiting: list[Object]
    offered: dict[tuple[str, str], Pool]
    classes: dict[str, Object]
    used: set[DeviceId]
    selectors: Selectors
    shares: dict[DeviceId, list[dict[str, int]]] = field(default_factory=dict)
    extended: dict[str, str] = field(default_factory=dict)
    """Extended resources that the pod asks for and device classes serve -> the class."""
    by_node: dict[str, dict[str, Object]] = field(default_factory=dict)
    """Node -> uid of claim -> the allocation it would get there."""
    unavailable: dict[str, Object] = field(default_factory=dict)
    """By name the allocated claims that some node was refused for."""
    now: float = 0.0
    special: dict[str, tuple[Object, list[Object]]] = field(default_factory=dict)
    """Node -> the claim for extended resources that the pod would get there, and what of it is for whom."""


def _claim_names(pod: PodInfo) -> list[str | Rejection]:
    made = {
        entry["name"]: entry.get("resourceClaimName")
        for entry in (pod.pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    found: list[str | Rejection] = []
    for stated in pod.spec.get("resourceClaims") or ():
        if stated.get("resourceClaimName"):
            found.append(str(stated["resourceClaimName"]))
        elif stated["name"] not in made:
            text = f'pod "{pod.namespace}/{pod.name}": ResourceClaim not created yet'
            found.append(Rejection(text))
        elif made[stated["name"]]:
            found.append(str(made[stated["name"]]))
    return found


def _prepare(pod: PodInfo, cluster: Cluster) -> Any:
    extended = cluster.lookup.by_class(pod.requests)
    if not pod.spec.get("resourceClaims") and not extended:
        return SKIP
    devices = cluster.lookup.devices
    if devices is None:
        return Rejection("this cluster's Kubernetes version has no resource claims")
    allocated, waiting = [], []
    for name in _claim_names(pod):
        if isinstance(name, Rejection):
            return name
        claim = devices.claims.get(pod.namespace, name)
        if claim is None:
            return Rejection(f'resourceclaim.resource.k8s.io "{name}" not found')
        refused = _refused(claim, pod)
        if refused:
            return Rejection(refused)
        allocation = cluster.allocations.get(objects.uid(claim)) or (claim.get("status") or {}).get(
            "allocation"
        )
        if allocation:
            allocated.append((claim, allocation))
        else:
            waiting.append(claim)
    if not waiting and not extended:
        return _State(allocated, [], {}, {}, set(), cluster.selectors, now=cluster.clock.now())
    classes = {objects.name(each): each for each in devices.classes.list()}
    for request, name in (each for claim in waiting for each in _classes_of(claim)):
        if name not in classes:
            return Rejection(f"request {request}: device class {name} does not exist")
    given = _all_allocations(devices, cluster, pod)
    offered = pools(devices.slices.list())
    return _State(
        allocated, waiting, offered, classes, in_use(given), cluster.selectors, shares(given), extended,
        now=cluster.clock.now(),
    )  # fmt: skip


def _classes_of(claim: Object) -> Iterator[tuple[str, str]]:
    """(request, device class), also of alternatives."""
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        if request.get("exactly"):
            yield request["name"], request["exactly"].get("deviceClassName") or ""
        for each in request.get("firstAvailable") or ():
            yield f"{request['name']}/{each['name']}", each.get("deviceClassName") or ""


def _refused(claim: Object, pod: PodInfo) -> str:
    name = objects.name(claim)
    if objects.is_deleting(claim):
        return f'resourceclaim "{name}" is being deleted'
    users = (claim.get("status") or {}).get("reservedFor") or ()
    if len(users) >= _MOST_USERS and all(user.get("uid") != pod.uid for user in users):
        return "resourceclaim in use"
    return ""


def _all_allocations(devices: Devices, cluster: Cluster, pod: PodInfo) -> list[Object]:
    """Those the API shows, and those that are on their way to it, without what the pod got in vain before."""
    found, seen = [], set()
    for claim in devices.claims.list():
        uid = objects.uid(claim)
        if is_special(claim, pod):
            continue
        allocation = (claim.get("status") or {}).get("allocation")
        if allocation:
            found.append(allocation)
            seen.add(uid)
    found += [each for uid, each in cluster.allocations.items() if uid not in seen]
    return found


def _filter(state: _State, pod: PodInfo, node: NodeInfo) -> str | None:
    unavailable = [
        claim for claim, allocation in state.allocated if not _usable(claim, allocation, state, node)
    ]
    if unavailable:
        state.unavailable.update((objects.name(claim), claim) for claim in unavailable)
        return "resourceclaim not available on the node"
    claims = list(state.waiting)
    lacking = {name: by for name, by in state.extended.items() if not node.allocatable.get(name)}
    if lacking:
        special = state.special[node.name] = claim_for(pod, lacking)
        claims.append(special[0])
    if not claims:
        return None
    try:
        found = allocate(
            claims, node.node, state.offered, state.classes, state.used, state.selectors, state.shares
        )
    except Unallocatable as error:
        return str(error)
    if found is None:
        return "cannot allocate all claims"
    state.by_node[node.name] = found
    return None


def _usable(claim: Object, allocation: Object, state: _State, node: NodeInfo) -> bool:
    selector = allocation.get("nodeSelector")
    if selector is not None and not matches_node_selector(selector, node.node):
        return False
    return not failure(claim) and not too_late(claim, state.now, _READY_SECONDS)


def _relieve(state: _State, pod: PodInfo) -> tuple[str, Callable[[Cluster], Awaitable[None]] | None]:
    """A claim that keeps the pod from all nodes and that nobody else uses loses its devices: it may get others."""
    for claim in state.unavailable.values():
        users = (claim.get("status") or {}).get("reservedFor") or ()
        if all(user.get("uid") == pod.uid for user in users):
            return "deallocation of ResourceClaim completed", partial(_lose, claim)
    return "still not schedulable", None


def _score(state: _State, _pod: PodInfo, node: NodeInfo) -> float:
    """The more, the earlier stand in their requests the alternatives that the node has devices for."""
    total = 0
    for claim in state.waiting:
        given = (state.by_node.get(node.name) or {}).get(objects.uid(claim)) or {}
        served = {result["request"] for result in (given.get("devices") or {}).get("results") or ()}
        for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
            for place, each in enumerate(request.get("firstAvailable") or ()):
                if f"{request['name']}/{each['name']}" in served:
                    total += _MOST_ALTERNATIVES - place
    return total


def _reserve(state: _State, _pod: PodInfo, node: str, cluster: Cluster) -> None:
    cluster.allocations.update(state.by_node.get(node, {}))


def _unreserve(state: _State, _pod: PodInfo, node: str, cluster: Cluster) -> None:
    for uid in state.by_node.get(node, {}):
        cluster.allocations.pop(uid, None)


async def _bind(state: _State, pod: PodInfo, node: str, cluster: Cluster) -> None:
    chosen = state.by_node.get(node, {})
    mine: list[Object] = []
    for name in _claim_names(pod):
        if isinstance(name, Rejection):
            raise Conflict(name.reason)
        claim = await cluster.client.get(_CLAIMS, name, pod.namespace)
        claim = await _reserve_claim(claim, chosen.get(objects.uid(claim)), pod, cluster)
        mine.append(claim)
    if (special := state.special.get(node)) is not None:
        mine.append(await _bind_special(*special, chosen, pod, cluster))
    if late := [objects.name(claim) for claim in mine if not ready(claim)]:
        await _devices_ready(late, pod, node, cluster)


async def _devices_ready(names: Sequence[str], pod: PodInfo, node: str, cluster: Cluster) -> None:
    """Waits until drivers have said that the devices can be used at the node, where devices ask for that.

    Raises ``ServiceUnavailable`` where one says that it cannot, ``TimeoutError`` where none says anything for long:
    the next attempt takes the devices from the claim (:func:`_relieve`).
    """
    devices, clock = cluster.lookup.devices, cluster.clock
    told = f"waiting for binding conditions for device on node {node}"
    cluster.tell(pod, "BindingConditionsPending", told)
    until = clock.monotonic() + _READY_SECONDS
    while devices is not None:
        claims = [claim for name in names if (claim := devices.claims.get(pod.namespace, name)) is not None]
        failed = [claim for claim in claims if failure(claim)]
        if not failed and len(claims) == len(names) and all(ready(claim) for claim in claims):
            return
        if failed:
            raise ServiceUnavailable(
                f'running PreBind plugin "DynamicResources": device binding failed: {failure(failed[0])}'
            )
        if clock.monotonic() > until:
            raise TimeoutError('running PreBind plugin "DynamicResources": device binding timeout')
        await asyncio.sleep(_LOOK_SECONDS)


async def _lose(claim: Object, cluster: Cluster) -> None:
    """Takes the devices from a claim; it may get some elsewhere then."""
    lost = ("allocation", "reservedFor", "devices")
    kept = {key: value for key, value in (claim.get("status") or {}).items() if key not in lost}
    cluster.allocations.pop(objects.uid(claim), None)
    await cluster.client.update_status(_CLAIMS, {**claim, "status": kept})


async def _bind_special(
    claim: Object, mappings: list[Object], chosen: dict[str, Object], pod: PodInfo, cluster: Cluster
) -> Object:
    """Makes the claim for extended resources, gives it to the pod, and says in the pod which it is."""
    await _remove_special(pod, cluster)
    metadata = {key: value for key, value in claim["metadata"].items() if key != "uid"}
    made = await cluster.client.create(_CLAIMS, {**claim, "metadata": metadata}, pod.namespace)
    allocation = chosen[objects.uid(claim)]
    # From now on it is known by the name that it has in the API, until that shows it.
    chosen[objects.uid(made)] = cluster.allocations[objects.uid(made)] = allocation
    del chosen[objects.uid(claim)]
    cluster.allocations.pop(objects.uid(claim), None)
    try:
        made = await _reserve_claim(made, allocation, pod, cluster)
        told = {"resourceClaimName": objects.name(made), "requestMappings": mappings}
        patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": told}}
        await cluster.client.patch(_PODS, pod.name, patch, pod.namespace, subresource="status")
    except StatusError:
        await _remove_special(pod, cluster, made)
        raise
    return made


async def _remove_special(pod: PodInfo, cluster: Cluster, *more: Object) -> None:
    """Deletes what an attempt that failed has left of claims for the pod's extended resources."""
    devices = cluster.lookup.devices
    seen = [claim for claim in devices.claims.list() if is_special(claim, pod)] if devices else []
    for name in {objects.name(claim) for claim in (*seen, *more)}:
        with contextlib.suppress(NotFound):
            await cluster.client.patch(_CLAIMS, name, {"metadata": {"finalizers": None}}, pod.namespace)
            await cluster.client.delete(_CLAIMS, name, pod.namespace)


async def _reserve_claim(claim: Object, allocation: Object | None, pod: PodInfo, cluster: Cluster) -> Object:
    """Writes allocation and user; a claim that someone else allocated meanwhile is a conflict."""
    status = dict(claim.get("status") or {})
    if allocation is not None and status.get("allocation"):
        raise Conflict(f'resourceclaim "{objects.name(claim)}" was allocated elsewhere')
    if allocation is None and not status.get("allocation"):
        raise Conflict(f'resourceclaim "{objects.name(claim)}" is not allocated any more')
    users = list(status.get("reservedFor") or ())
    if all(user.get("uid") != pod.uid for user in users):
        users.append({"resource": "pods", "name": pod.name, "uid": pod.uid})
    if allocation is not None and FINALIZER not in (claim["metadata"].get("finalizers") or ()):
        finalizers = [*(claim["metadata"].get("finalizers") or ()), FINALIZER]
        claim = await cluster.client.update(
            _CLAIMS, {**claim, "metadata": {**claim["metadata"], "finalizers": finalizers}}
        )
    if allocation is not None:
        status["allocation"] = {**allocation, "allocationTimestamp": objects.rfc3339(cluster.clock.now())}
    new = {**claim, "status": {**status, "reservedFor": users}}
    return await cluster.client.update_status(_CLAIMS, new)


PLUGIN = Plugin(
    "DynamicResources",
    prepare=_prepare,
    filter=_filter,
    score=_score,
    normalize="max",
    weight=2,
    reserve=_reserve,
    unreserve=_unreserve,
    relieve=_relieve,
    bind=_bind,
    wakes=frozenset({DEVICE_CHANGED, NODE_LABELS, POD_DELETED}),
)
