"""Devices that drivers offer, as the allocator sees them: pools of ResourceSlices, classes, and what is in use.

Source: kubernetes.io, "Dynamic Resource Allocation" (resource.k8s.io/v1, structured parameters).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.machinery.scheduling import matches_node_selector
from sublet.machinery.status import quoted

DeviceId = tuple[str, str, str]
"""(driver, pool, device)"""
NodeTest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    id: DeviceId
    stated: Object
    """The entry of ``spec.devices``."""
    where: NodeTest
    """``nodeName``, ``nodeSelector`` or ``allNodes``: from where it can be reached."""

    def reachable(self, node: Object) -> bool:
        name = node["metadata"]["name"]
        if self.where.get("nodeName"):
            return bool(self.where["nodeName"] == name)
        if self.where.get("nodeSelector"):
            return matches_node_selector(self.where["nodeSelector"], node)
        return bool(self.where.get("allNodes"))

    @property
    def shared(self) -> bool:
        """Whether several may have it, each a part of its capacity."""
        return bool(self.stated.get("allowMultipleAllocations"))

    def attribute(self, name: str) -> Any:
        """The value of ``domain/name``; a name without domain is the driver's own. None: it has none."""
        found = (self.stated.get("attributes") or {}).get(name)
        domain, _, rest = name.rpartition("/")
        if found is None and domain == self.id[0]:
            found = (self.stated.get("attributes") or {}).get(rest)
        if found is None and not domain:
            found = (self.stated.get("attributes") or {}).get(f"{self.id[0]}/{name}")
        return next(iter(found.values()), None) if found else None


@dataclass(slots=True)
class Pool:
    """All slices of one pool in its newest generation."""

    devices: list[Device] = field(default_factory=list)
    counters: dict[tuple[str, str], quantity.Quantity] = field(default_factory=dict)
    """(counter set, counter) -> what there is of it, for devices that share."""
    complete: bool = True
    """Whether every slice of the generation has been published."""


def pools(slices: Iterable[Object]) -> dict[tuple[str, str], Pool]:
    """(driver, pool name) -> its devices. Slices of older generations are left out, as they are about to go."""
    found: dict[tuple[str, str], list[Object]] = {}
    for each in slices:
        spec = each.get("spec") or {}
        found.setdefault((str(spec.get("driver")), str((spec.get("pool") or {}).get("name"))), []).append(
            spec
        )
    return {key: _pool(key, specs) for key, specs in sorted(found.items())}


def _pool(key: tuple[str, str], specs: list[Object]) -> Pool:
    newest = max(int(spec["pool"].get("generation") or 0) for spec in specs)
    specs = [spec for spec in specs if int(spec["pool"].get("generation") or 0) == newest]
    pool = Pool(complete=len(specs) >= int(specs[0]["pool"].get("resourceSliceCount") or 1))
    for spec in specs:
        for shared in spec.get("sharedCounters") or ():
            for name, counter in (shared.get("counters") or {}).items():
                pool.counters[shared["name"], name] = quantity.parse(str(counter["value"]))
        for stated in spec.get("devices") or ():
            where = stated if spec.get("perDeviceNodeSelection") else spec
            pool.devices.append(Device((*key, str(stated["name"])), stated, where))
    return pool


def consumption(device: Device) -> Iterator[tuple[tuple[str, str], quantity.Quantity]]:
    """What an allocated device takes of its pool's counters."""
    for consumed in device.stated.get("consumesCounters") or ():
        for name, counter in (consumed.get("counters") or {}).items():
            yield (consumed["counterSet"], name), quantity.parse(str(counter["value"]))


def in_use(allocations: Iterable[Object]) -> set[DeviceId]:
    """The devices of these ``status.allocation``s that nobody else may have.

    Administrators' access takes nothing from others, and of what is shared :func:`shares` tells.
    """
    return {_id(result) for result in _results(allocations) if not result.get("shareID")}


def shares(allocations: Iterable[Object]) -> dict[DeviceId, list[dict[str, int]]]:
    """Device -> what each of its users takes of its capacities, in billionths."""
    found: dict[DeviceId, list[dict[str, int]]] = {}
    for result in _results(allocations):
        if result.get("shareID"):
            taken = result.get("consumedCapacity") or {}
            amounts = {name: quantity.parse(str(amount)).nano for name, amount in taken.items()}
            found.setdefault(_id(result), []).append(amounts)
    return found


def ready(claim: Object) -> bool:
    """Whether a claim has got devices, and every binding condition of theirs is true."""
    return bool((claim.get("status") or {}).get("allocation")) and all(
        (conditions.get(kind) or {}).get("status") == "True"
        for result, conditions in _conditions(claim)
        for kind in result.get("bindingConditions") or ()
    )


def failure(claim: Object) -> str:
    """Why a device of the claim cannot be used where it was allocated, by its conditions; or empty."""
    for result, conditions in _conditions(claim):
        for kind in result.get("bindingFailureConditions") or () if result.get("bindingConditions") else ():
            if (found := conditions.get(kind) or {}).get("status") == "True":
                why = f"reason={found.get('reason') or ''}, message={quoted(found.get('message') or '')}"
                return f"claim {objects.name(claim)} binding failed: {why}"
    return ""


def too_late(claim: Object, now: float, seconds: float) -> bool:
    """Whether drivers have not made a claim's devices ready for longer than they may take."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    if not any(result.get("bindingConditions") for result, _ in _conditions(claim)) or ready(claim):
        return False
    since = str(allocation.get("allocationTimestamp") or "")
    return bool(since) and objects.parse_time(since) + seconds < now


def _conditions(claim: Object) -> Iterator[tuple[Object, Mapping[str, Object]]]:
    """(result of the allocation, the conditions of its device by type)."""
    status = claim.get("status") or {}
    told = {(_id(each), each.get("shareID")): each for each in status.get("devices") or ()}
    for result in (status.get("allocation") or {}).get("devices", {}).get("results") or ():
        stated = told.get((_id(result), result.get("shareID"))) or {}
        yield result, {each["type"]: each for each in stated.get("conditions") or ()}


def _results(allocations: Iterable[Object]) -> Iterator[Object]:
    for allocation in allocations:
        for result in (allocation.get("devices") or {}).get("results") or ():
            if not result.get("adminAccess"):
                yield result


def _id(result: Object) -> DeviceId:
    return str(result["driver"]), str(result["pool"]), str(result["device"])


class _Domains(dict[str, Any]):
    """Attributes by domain; one that a device has nothing of is empty, so that rules may ask for any."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return {}


def cel_value(device: Device) -> dict[str, Any]:
    """The device as selectors see it: ``device.driver``, ``device.attributes[D].name``, ``device.capacity[D].name``."""
    from sublet.machinery.cel.amounts import parse_quantity

    driver = device.id[0]
    attributes, capacity = _Domains(), _Domains()
    for name, stated in (device.stated.get("attributes") or {}).items():
        domain, _, rest = str(name).rpartition("/")
        attributes.setdefault(domain or driver, {})[rest] = _attribute(stated)
    for name, stated in (device.stated.get("capacity") or {}).items():
        domain, _, rest = str(name).rpartition("/")
        capacity.setdefault(domain or driver, {})[rest] = parse_quantity(str(stated["value"]))
    return {
        "driver": driver,
        "attributes": attributes,
        "capacity": capacity,
        "allowMultipleAllocations": device.shared,
    }


def _attribute(stated: Mapping[str, Any]) -> Any:
    if "version" in stated:
        from sublet.machinery.cel.amounts import semver

        return semver(stated["version"])
    return next(iter(stated.values()), None)
