"""The status of a tenant pod: the host copy's, in the tenant's words (reference 2.5)."""

from __future__ import annotations

from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.syncer import translate
from sublet.syncer.declare import Pair, copied
from sublet.syncer.mapping import Mapping

_STATUSES = {
    "containerStatuses": "containers",
    "initContainerStatuses": "initContainers",
    "ephemeralContainerStatuses": "ephemeralContainers",
}


def update(pair: Pair, mapping: Mapping, images: dict[str, str]) -> None:
    """Both drafts: the host's status in the tenant, the tenant's readiness gates on the host."""
    host = pair.host_now.get("status")
    if host is None:
        return
    _gates_to_host(pair)
    tenant = pair.tenant_now.get("status") or {}
    status = copied(pair.host.get("status") or {})
    if tenant.get("qosClass"):
        status["qosClass"] = tenant["qosClass"]
    _own_containers(status, pair.tenant, {there: here for here, there in images.items()})
    known = {each.get("type") for each in status.get("conditions") or ()}
    more = [each for each in tenant.get("conditions") or () if each.get("type") not in known]
    if more:
        status["conditions"] = [*(status.get("conditions") or ()), *more]
    _observed(status, pair)
    _sanitise(status, pair, mapping)
    pair.tenant["status"] = status


def _gates_to_host(pair: Pair) -> None:
    """Conditions that the tenant's controllers set for the pod's readiness gates count on the host too."""
    gates = {each.get("conditionType") for each in pair.tenant["spec"].get("readinessGates") or ()}
    if not gates:
        return
    theirs = {each["type"]: each for each in pair.host["status"].get("conditions") or ()}
    before = {each["type"]: each for each in translate.at(pair.last_tenant or {}, "status.conditions") or ()}
    changed = False
    for mine in pair.tenant_now.get("status", {}).get("conditions") or ():
        kind = mine["type"]
        if kind not in gates or theirs.get(kind) == mine:
            continue
        if kind not in theirs or pair.last_tenant is None or before.get(kind) != mine:
            theirs[kind] = mine
            changed = True
    if changed:
        pair.host["status"]["conditions"] = list(theirs.values())


def _own_containers(status: Object, tenant: Object, images: dict[str, str]) -> None:
    """Only containers that the tenant knows of; images under the names it gave."""
    spec = tenant["spec"]
    for field, place in _STATUSES.items():
        if field not in status:
            continue
        named = {each["name"] for each in spec.get(place) or ()}
        status[field] = [each for each in status[field] if each["name"] in named]
        for each in status[field]:
            each["image"] = images.get(each.get("image"), each.get("image", ""))
        if not status[field]:
            del status[field]


def _observed(status: Object, pair: Pair) -> None:
    """Generations are counted apart: what the host has observed of its copy, it has of the tenant's pod."""
    observed = status.get("observedGeneration")
    if observed is not None and observed == pair.host_now["metadata"].get("generation"):
        status["observedGeneration"] = pair.tenant_now["metadata"].get("generation", observed)


def _sanitise(status: Object, pair: Pair, mapping: Mapping) -> None:
    """Messages of schedulers and node agents name the host's objects."""
    name, namespace = objects.name(pair.tenant_now), objects.namespace(pair.tenant_now)
    host = objects.name(pair.host_now)

    def clean(holder: Any) -> None:
        if holder and holder.get("message"):
            holder["message"] = mapping.sanitise(holder["message"], host, name, namespace)

    clean(status)
    for condition in status.get("conditions") or ():
        clean(condition)
    for field in _STATUSES:
        for container in status.get(field) or ():
            for state in ("state", "lastState"):
                clean((container.get(state) or {}).get("waiting"))
