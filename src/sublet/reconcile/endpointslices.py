"""Keeping the EndpointSlices of a service as wanted with few writes: shared by their two controllers.

Source: reference/kubernetes-api.md C (endpointslice, endpointslice-mirroring).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import NotFound, StatusError
from sublet.reconcile.expectations import Expectations
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context

SLICES = resource("endpointslices.discovery.k8s.io")
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
LIMIT = 100
"""Endpoints per slice."""
_INDEX = "service"


@dataclass(frozen=True)
class Group:
    """Endpoints that share address family and ports; they may need several slices."""

    address_type: str
    ports: Sequence[Object]
    endpoints: Sequence[Object]

    @property
    def key(self) -> tuple[str, str]:
        return self.address_type, ports_key(self.ports)


@dataclass
class Changes:
    create: list[Group] = field(default_factory=list)
    """Each is one new slice."""
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def ports_key(ports: Iterable[Object]) -> str:
    """Equal for equal sets of ports, whatever their order."""
    parts = (
        f"{p.get('name') or ''}/{p.get('protocol') or 'TCP'}/{p.get('port')}/{p.get('appProtocol') or ''}"
        for p in ports
    )
    return ",".join(sorted(parts))


def address_type(address: str) -> str:
    """``IPv4`` or ``IPv6``. Raises ``ValueError``."""
    return f"IPv{ipaddress.ip_address(address).version}"


def plan(
    existing: Sequence[Object],
    wanted: Sequence[Group],
    metadata: Mapping[str, Mapping[str, str]],
    limit: int = LIMIT,
) -> Changes:
    """The fewest writes that make the slices hold the wanted endpoints.

    ``metadata`` has the ``labels`` and ``annotations`` each slice should have. Slices whose endpoints stay are not
    touched; new endpoints go where there is room; a slice no longer needed is reused before another is made.
    """
    changes = Changes()
    by_group: dict[tuple[str, str], list[Object]] = {}
    for each in existing:
        key = (each.get("addressType", ""), ports_key(each.get("ports") or ()))
        by_group.setdefault(key, []).append(each)
    for group in wanted:
        _plan_group(group, by_group.pop(group.key, []), metadata, changes, limit)
    changes.delete.extend(each for rest in by_group.values() for each in rest)
    _reuse(changes, metadata)
    return changes


def _plan_group(
    group: Group,
    slices: Sequence[Object],
    metadata: Mapping[str, Mapping[str, str]],
    changes: Changes,
    limit: int,
) -> None:
    left = {_address(endpoint): endpoint for endpoint in group.endpoints}
    kept: list[tuple[Object, list[Object]]] = []
    for each in slices:
        stays: list[Object] = []
        for endpoint in each.get("endpoints") or ():
            if len(stays) < limit and (now := left.pop(_address(endpoint), None)) is not None:
                stays.append(now)
        kept.append((each, stays))
    new = list(left.values())
    # The fullest first, so that slices fill up instead of multiplying.
    for each, stays in sorted(kept, key=lambda pair: -len(pair[1])):
        while new and len(stays) < limit:
            stays.append(new.pop(0))
        if not stays and not (not group.endpoints and each is slices[0]):
            changes.delete.append(each)
        elif (changed := _with(each, stays, each.get("ports") or [], metadata)) is not None:
            changes.update.append(changed)
    while new or (not slices and not group.endpoints):
        changes.create.append(Group(group.address_type, group.ports, new[:limit]))
        new = new[limit:]
        if not group.endpoints:
            break


def _reuse(changes: Changes, metadata: Mapping[str, Mapping[str, str]]) -> None:
    for group in list(changes.create):
        spare = next((s for s in changes.delete if s.get("addressType") == group.address_type), None)
        if spare is None:
            continue
        changed = _with(spare, list(group.endpoints), list(group.ports), metadata)
        changes.delete.remove(spare)
        changes.create.remove(group)
        if changed is not None:
            changes.update.append(changed)


def _address(endpoint: Object) -> tuple[str, ...]:
    return tuple(endpoint.get("addresses") or ())


def _with(
    each: Object,
    endpoints: list[Object],
    ports: Sequence[Object],
    metadata: Mapping[str, Mapping[str, str]],
) -> Object | None:
    """The slice with these contents; None where it has them. A new trigger time alone is no change."""
    labels, annotations = dict(metadata["labels"]), dict(metadata["annotations"])
    had = {key: value for key, value in objects.annotations(each).items() if key != TRIGGER_TIME}
    wants = {key: value for key, value in annotations.items() if key != TRIGGER_TIME}
    if (
        (each.get("endpoints") or []) == endpoints
        and ports_key(each.get("ports") or ()) == ports_key(ports)
        and objects.labels(each) == labels
        and had == wants
    ):
        return None
    kept = {key: value for key, value in each["metadata"].items() if key not in ("labels", "annotations")}
    return {
        **each,
        "metadata": {**kept, "labels": labels, "annotations": annotations},
        "endpoints": endpoints,
        "ports": list(ports),
    }


class Slices:
    """Reads and writes the slices of one manager (the value of the managed-by label)."""

    def __init__(self, context: Context, manager: str, owner: Resource) -> None:
        self._client = context.client
        self._manager = manager
        self._owner = owner
        self._latest = Latest()
        self._expected = Expectations(context.clock)
        self.informer: Informer = context.informers.informer(SLICES)
        self.informer.add_index(_INDEX, _service_keys)

    def service_key(self, slice_: Object) -> str | None:
        """The key of the service a slice of ours belongs to; None for others' slices."""
        labels = objects.labels(slice_)
        if labels.get(MANAGED_BY) != self._manager or SERVICE_NAME not in labels:
            return None
        return f"{objects.namespace(slice_)}/{labels[SERVICE_NAME]}"

    def observed(self, event: str, slice_: Object) -> None:
        """To be told of every event of a slice of ours."""
        key = self.service_key(slice_)
        if key is not None and event == "add":
            self._expected.creation_observed(key)
        if key is not None and event == "delete":
            self._expected.deletion_observed(key, objects.uid(slice_))
            self._latest.forget(objects.uid(slice_))

    def ready(self, key: str) -> bool:
        """Whether the informer shows all that was created and deleted for this service."""
        return self._expected.satisfied(key)

    def of(self, key: str) -> list[Object]:
        found = self.informer.by_index(_INDEX, key)
        return [
            self._latest.of(each)
            for each in found
            if objects.labels(each).get(MANAGED_BY) == self._manager and not objects.is_deleting(each)
        ]

    async def apply(self, owner: Object, changes: Changes, metadata: Mapping[str, Mapping[str, str]]) -> None:
        key = objects.key(owner)
        for group in changes.create:
            await self._create(key, owner, group, metadata)
        for each in changes.update:
            try:
                self._latest.remember(await self._client.update(SLICES, each))
            except NotFound:
                continue
        await self.remove(key, changes.delete)

    async def remove(self, key: str, slices: Sequence[Object]) -> None:
        for each in slices:
            self._expected.expect_deletions(key, [objects.uid(each)])
            try:
                await self._client.delete(
                    SLICES, objects.name(each), objects.namespace(each), uid=objects.uid(each)
                )
            except StatusError as error:
                self._expected.deletion_observed(key, objects.uid(each))
                if not isinstance(error, NotFound):
                    raise

    async def _create(
        self, key: str, owner: Object, group: Group, metadata: Mapping[str, Mapping[str, str]]
    ) -> None:
        made = {
            "apiVersion": SLICES.api_version,
            "kind": SLICES.kind,
            "metadata": {
                "generateName": f"{objects.name(owner)}-",
                "namespace": objects.namespace(owner),
                "labels": dict(metadata["labels"]),
                "annotations": dict(metadata["annotations"]),
                "ownerReferences": [objects.owner_reference(owner, self._owner)],
            },
            "addressType": group.address_type,
            "endpoints": list(group.endpoints),
            "ports": list(group.ports),
        }
        self._expected.expect_creations(key, 1)
        try:
            await self._client.create(SLICES, made)
        except StatusError:
            self._expected.creation_observed(key)
            raise


def _service_keys(slice_: Object) -> Iterable[str]:
    name = objects.labels(slice_).get(SERVICE_NAME)
    return (f"{objects.namespace(slice_)}/{name}",) if name else ()
