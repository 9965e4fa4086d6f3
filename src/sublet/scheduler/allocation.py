"""Which devices serve the claims of one pod on one node: a search with backtracking over all requests.

Source: kubernetes.io, "Dynamic Resource Allocation". Pure apart from compiled selectors, which are kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity, parse
from sublet.machinery.scheduling import tolerated
from sublet.scheduler.capacity import consumed
from sublet.scheduler.devices import Device, DeviceId, Pool, cel_value, consumption

MOST_DEVICES = 32
"""Of one claim; upstream's limit."""
_MOST_STEPS = 5_000
"""Devices tried in one search: constraints may be written so that no search would end."""


class Unallocatable(Exception):
    """No node can help: a selector is wrong, a class is missing. ``str()`` says what."""


class Selectors:
    """Compiled device selectors, by their text."""

    def __init__(self) -> None:
        self._programs: dict[str, Any] = {}

    def match(self, expression: str, device: Device, where: str) -> bool:
        """Raises :class:`Unallocatable` for an expression that cannot be evaluated."""
        from sublet.machinery.cel.errors import EvaluationError

        try:
            found = self._program(expression, where).evaluate({"device": cel_value(device)})
        except EvaluationError as error:
            raise Unallocatable(f"{where}: CEL runtime error: {error}") from None
        return found is True

    def _program(self, expression: str, where: str) -> Any:
        from sublet.machinery.cel import devices
        from sublet.machinery.cel.errors import CompileError

        program = self._programs.get(expression)
        if program is None:
            try:
                program = devices.environment().compile(expression)
            except CompileError as error:
                raise Unallocatable(f"{where}: CEL compile error: {error}") from None
            self._programs[expression] = program
        return program


@dataclass(frozen=True, slots=True)
class _Need:
    """One device that one request wants, or all that match it."""

    claim: Object
    request: str
    """``name`` or ``name/subrequest``."""
    parent: str
    asked: Object
    device_class: Object


@dataclass(slots=True)
class _Search:
    node: Object
    pools: Mapping[tuple[str, str], Pool]
    used: set[DeviceId]
    shares: dict[DeviceId, list[dict[str, int]]]
    """Of devices that several may have: what each takes, in billionths."""
    selectors: Selectors
    chosen: list[tuple[_Need, Device]] = field(default_factory=list)
    steps: int = 0
    _suiting: dict[int, list[tuple[Device, Pool]]] = field(default_factory=dict)

    def candidates(self, need: _Need) -> list[tuple[Device, Pool]]:
        """What suits a request, whether free or not; selectors are evaluated once."""
        found = self._suiting.get(id(need.asked))
        if found is None:
            found = self._suiting[id(need.asked)] = [
                (device, pool)
                for pool in self.pools.values()
                for device in pool.devices
                if device.reachable(self.node) and self.suits(need, device)
            ]
        return found

    def suits(self, need: _Need, device: Device) -> bool:
        rules = (
            (need.device_class.get("spec") or {}, f"class {objects.name(need.device_class)}"),
            (need.asked, f"claim {objects.name(need.claim)}, request {need.request}"),
        )
        for stated, where in rules:
            for number, selector in enumerate(stated.get("selectors") or ()):
                expression = (selector.get("cel") or {}).get("expression") or "true"
                if not self.selectors.match(expression, device, f"{where}: selector #{number}"):
                    return False
        return _tolerates(need.asked, device) and consumed(need.asked, device.stated) is not None

    def free(self, need: _Need, device: Device, pool: Pool) -> bool:
        if need.asked.get("adminAccess"):
            return True
        if device.id in self.used:
            return False
        if device.id in self.shares:
            return self._capacity_left(need, device)
        return self._counters_left(device, pool)

    def _capacity_left(self, need: _Need, device: Device) -> bool:
        """Whether a device that others have a part of has enough of everything for one more."""
        taken = self.shares[device.id]
        return all(
            sum(each.get(name, 0) for each in taken) + amount.nano
            <= parse(str(device.stated["capacity"][name]["value"])).nano
            for name, amount in (consumed(need.asked, device.stated) or {}).items()
        )

    def _counters_left(self, device: Device, pool: Pool) -> bool:
        wanted = dict(consumption(device))
        if not wanted:
            return True
        taken: dict[tuple[str, str], Quantity] = {}
        for other in pool.devices:
            if other.id in self.used or other.id in self.shares:
                for key, amount in consumption(other):
                    taken[key] = taken[key] + amount if key in taken else amount
        for key, amount in wanted.items():
            total = taken[key] + amount if key in taken else amount
            if key not in pool.counters or total > pool.counters[key]:
                return False
        return True

    def allowed(self, need: _Need, device: Device) -> bool:
        """Whether the claim's constraints hold with the device beside those already chosen."""
        devices = (need.claim.get("spec") or {}).get("devices") or {}
        for constraint in devices.get("constraints") or ():
            names = constraint.get("requests") or ()
            if names and need.request not in names and need.parent not in names:
                continue
            others = [
                other
                for before, other in self.chosen
                if before.claim is need.claim
                and (not names or before.request in names or before.parent in names)
            ]
            if not _constrained(constraint, device, others):
                return False
        return True

    def tried(self) -> None:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise Unallocatable("the search for devices takes too long; state narrower selectors")

    def take(self, need: _Need, device: Device) -> bool:
        """Returns whether the device was marked as in use (to be given back)."""
        self.chosen.append((need, device))
        if need.asked.get("adminAccess"):
            return False
        if device.shared:
            amounts = consumed(need.asked, device.stated) or {}
            self.shares.setdefault(device.id, []).append({n: each.nano for n, each in amounts.items()})
        else:
            self.used.add(device.id)
        return True

    def give_back(self, device: Device, marked: bool) -> None:
        self.chosen.pop()
        if not marked:
            return
        if device.shared:
            self.shares[device.id].pop()
            if not self.shares[device.id]:
                del self.shares[device.id]
        else:
            self.used.discard(device.id)

    def solve(self, claims: Sequence[Sequence[Sequence[Sequence[_Need]]]]) -> bool:
        """``claims``: per request the alternatives, each a list of needs."""
        requests = [request for claim in claims for request in claim]
        return self._requests(requests, 0)

    def _requests(self, requests: Sequence[Sequence[Sequence[_Need]]], at: int) -> bool:
        if at == len(requests):
            return True
        return any(self._needs(alternative, 0, requests, at, 0) for alternative in requests[at])

    def _needs(
        self,
        needs: Sequence[_Need],
        done: int,
        requests: Sequence[Sequence[Sequence[_Need]]],
        at: int,
        start: int,
    ) -> bool:
        """The devices of one request are taken in the order in which they are offered: others would be the same set."""
        if done == len(needs):
            return self._requests(requests, at + 1)
        need = needs[done]
        if need.asked.get("allocationMode") == "All":
            return self._all(need, requests, at)
        candidates = self.candidates(need)
        again = any(device.shared for device, _ in candidates)
        for number in range(start, len(candidates) - (0 if again else len(needs) - done - 1)):
            device, pool = candidates[number]
            self.tried()
            if self.free(need, device, pool) and self.allowed(need, device):
                marked = self.take(need, device)
                # What several may have, one may have several times.
                if self._needs(needs, done + 1, requests, at, number + (not device.shared)):
                    return True
                self.give_back(device, marked)
        return False

    def _all(self, need: _Need, requests: Sequence[Sequence[Sequence[_Need]]], at: int) -> bool:
        """Every device that suits must be free; a pool of which slices are missing cannot tell all."""
        wanted = []
        for device, pool in self.candidates(need):
            if not pool.complete:
                return False
            wanted.append((device, pool))
        taken: list[tuple[Device, bool]] = []
        for device, pool in wanted:
            if not self.free(need, device, pool) or not self.allowed(need, device):
                break
            taken.append((device, self.take(need, device)))
        if wanted and len(taken) == len(wanted) and self._requests(requests, at + 1):
            return True
        for device, marked in reversed(taken):
            self.give_back(device, marked)
        return False


def _tolerates(asked: Object, device: Device) -> bool:
    tolerations = asked.get("tolerations") or ()
    return all(
        tolerated(taint, tolerations)
        for taint in device.stated.get("taints") or ()
        if taint.get("effect") in ("NoSchedule", "NoExecute")
    )


def _constrained(constraint: Mapping[str, Any], device: Device, others: Iterable[Device]) -> bool:
    if name := constraint.get("matchAttribute"):
        value = device.attribute(name)
        return value is not None and all(other.attribute(name) == value for other in others)
    if name := constraint.get("distinctAttribute"):
        value = device.attribute(name)
        return value is not None and all(other.attribute(name) != value for other in others)
    return True


def _alternatives(claim: Object, classes: Mapping[str, Object]) -> Iterator[list[list[_Need]]]:
    """Per request of a claim the ways to serve it, best first. Raises :class:`Unallocatable`."""
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        name = str(request["name"])
        exact = request.get("exactly")
        if exact is not None:
            yield [_needs(claim, name, name, exact, classes)]
        else:
            yield [
                _needs(claim, f"{name}/{sub['name']}", name, sub, classes)
                for sub in request.get("firstAvailable") or ()
            ]


def _needs(
    claim: Object, name: str, parent: str, asked: Object, classes: Mapping[str, Object]
) -> list[_Need]:
    wanted = str(asked.get("deviceClassName") or "")
    if wanted not in classes:
        raise Unallocatable(
            f"claim {objects.name(claim)}, request {name}: could not retrieve device class {wanted}: "
            f'deviceclass.resource.k8s.io "{wanted}" not found'
        )
    need = _Need(claim, name, parent, asked, classes[wanted])
    return [need] * (1 if asked.get("allocationMode") == "All" else int(asked.get("count") or 1))


def allocate(
    claims: Sequence[Object],
    node: Object,
    offered: Mapping[tuple[str, str], Pool],
    classes: Mapping[str, Object],
    used: set[DeviceId],
    selectors: Selectors,
    shares: Mapping[DeviceId, Sequence[dict[str, int]]] | None = None,
) -> dict[str, Object] | None:
    """uid of each claim -> its ``status.allocation`` on the node; None where the node cannot serve all.

    Raises :class:`Unallocatable` when no node could.
    """
    taken = {device: list(each) for device, each in (shares or {}).items()}
    search = _Search(node, offered, set(used), taken, selectors)
    if not search.solve([list(_alternatives(claim, classes)) for claim in claims]):
        return None
    found = {objects.uid(claim): _allocation(claim, node, search.chosen) for claim in claims}
    if any(len(each["devices"]["results"]) > MOST_DEVICES for each in found.values()):
        return None
    return found


def _allocation(claim: Object, node: Object, chosen: Sequence[tuple[_Need, Device]]) -> Object:
    mine = [(need, device) for need, device in chosen if need.claim is claim]
    results: list[Object] = []
    config: list[Object] = []
    seen: set[str] = set()
    for need, device in mine:
        driver, pool, name = device.id
        result: Object = {"request": need.request, "driver": driver, "pool": pool, "device": name}
        if need.asked.get("adminAccess"):
            result["adminAccess"] = True
        elif device.shared:
            amounts = consumed(need.asked, device.stated) or {}
            result["consumedCapacity"] = {key: each.canonical() for key, each in amounts.items()}
            share = f"{objects.uid(claim)}/{driver}/{pool}/{name}/{len(results)}"
            result["shareID"] = str(uuid.uuid5(uuid.NAMESPACE_URL, share))
        if need.asked.get("tolerations"):
            result["tolerations"] = need.asked["tolerations"]
        for key in ("bindingConditions", "bindingFailureConditions"):
            if device.stated.get("bindingConditions") and device.stated.get(key):
                result[key] = device.stated[key]
        results.append(result)
        if need.request in seen:
            continue
        seen.add(need.request)
        for stated in (need.device_class.get("spec") or {}).get("config") or ():
            config.append({"source": "FromClass", "requests": [need.request], **stated})
    config += [
        {"source": "FromClaim", **stated}
        for stated in ((claim.get("spec") or {}).get("devices") or {}).get("config") or ()
    ]
    devices: Object = {"results": results}
    if config:
        devices["config"] = config
    allocation: Object = {"devices": devices}
    if (selector := _selector(node, [device for _, device in mine])) is not None:
        allocation["nodeSelector"] = selector
    return allocation


def _selector(node: Object, devices: Sequence[Device]) -> Object | None:
    """From which nodes the allocated devices can be reached together; None: from all."""
    if any(device.where.get("nodeName") or device.stated.get("bindsToNode") for device in devices):
        field_ = {"key": "metadata.name", "operator": "In", "values": [objects.name(node)]}
        return {"nodeSelectorTerms": [{"matchFields": [field_]}]}
    terms = [device.where["nodeSelector"] for device in devices if device.where.get("nodeSelector")]
    if not terms:
        return None
    # Each states one term (the API allows no more), so requirements of all of them join in one.
    joined: Object = {}
    for selector in terms:
        for term in selector.get("nodeSelectorTerms") or ():
            for key in ("matchExpressions", "matchFields"):
                for requirement in term.get(key) or ():
                    if requirement not in joined.setdefault(key, []):
                        joined[key].append(requirement)
    return {"nodeSelectorTerms": [joined]}
