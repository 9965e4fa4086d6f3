"""What a file in ``to_host/`` or ``from_host/`` states as ``SYNC``, and what its functions are given."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.informer import Informer, InformerFactory
from sublet.machinery import codec, objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object, Resource
from sublet.syncer import translate
from sublet.syncer.mapping import Mapping
from sublet.syncer.settings import SyncerSettings

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Rule:
    """One rule of the role that the syncer has on the host."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    def to_object(self) -> dict[str, list[str]]:
        return {
            "apiGroups": list(self.groups),
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }


class Waiting(Exception):
    """An object cannot be synced yet, or must not be; the tenant is told, and it is tried again.

    ``reason``: ``SyncWarning`` for what the tenant can change, ``SyncError`` for what is wrong.
    """

    def __init__(self, message: str, *, seconds: float = 1.0, reason: str = "SyncWarning") -> None:
        super().__init__(message)
        self.seconds = seconds
        self.reason = reason


class ControlPlaneService:
    """The host Service in front of the tenant's API server, as last seen."""

    def __init__(self, informer: Informer, namespace: str, name: str) -> None:
        self.informer = informer
        self._namespace = namespace
        self._name = name

    @property
    def object(self) -> Object:
        """Raises :class:`Waiting` while it is not there: nothing may be made that it does not own."""
        found = self.informer.get(self._namespace, self._name)
        if found is None:
            raise Waiting("the tenant's own Service is not there yet", reason="SyncError")
        return found

    @property
    def cluster_ip(self) -> str:
        return str((self.object.get("spec") or {}).get("clusterIP") or "")

    def owner(self, controlled: bool) -> dict[str, Any]:
        """The owner reference of every host object: deleting the Service removes the tenant's workload."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "name": self._name,
            "uid": objects.uid(self.object),
            "controller": controlled,
        }


@dataclass(frozen=True)
class Scope:
    """What the functions of a synced kind may use: both clusters, as seen and to act on."""

    settings: SyncerSettings
    mapping: Mapping
    tenant: Client
    host: Client
    tenant_informers: InformerFactory
    host_informers: InformerFactory
    events: EventRecorder
    """Writes events in the tenant."""
    service: ControlPlaneService
    clock: Clock
    rng: random.Random
    synced: frozenset[Resource] = frozenset()
    """The kinds that are synced to the host: only of those may host objects be watched."""

    def tenant_objects(self, kind: Resource) -> Informer:
        """All of the tenant's objects of a kind."""
        return self.tenant_informers.informer(kind)

    def host_objects(self, kind: Resource) -> Informer:
        """This tenant's host objects of a kind."""
        return self.host_informers.informer(
            kind,
            self.settings.host_namespace if kind.namespaced else "",
            label_selector=self.mapping.marker_selector(kind),
        )

    def host_object(self, kind: Resource, tenant_key: str) -> Object | None:
        """The host copy of a tenant object, as far as it has been seen."""
        namespace, name = objects.split_key(tenant_key)
        if not kind.namespaced:
            return self.host_objects(kind).get("", self.mapping.host_cluster_name(name))
        return self.host_objects(kind).get(
            self.settings.host_namespace, self.mapping.host_name(name, namespace)
        )


@dataclass
class Pair:
    """A tenant object and its host copy. ``tenant`` and ``host`` are drafts to change; the engine writes what differs.

    ``last_*`` is what both were when they were last made equal; None after a restart.
    """

    tenant_now: Object
    host_now: Object
    last_tenant: Object | None
    last_host: Object | None
    tenant: Object = field(init=False)
    host: Object = field(init=False)

    def __post_init__(self) -> None:
        self.tenant = copied(self.tenant_now)
        self.host = copied(self.host_now)

    def to_host(self, *paths: str) -> None:
        """The tenant's value counts."""
        for path in paths:
            translate.put(self.host, path, translate.at(self.tenant, path))

    def to_tenant(self, *paths: str) -> None:
        """The host's value counts."""
        for path in paths:
            translate.put(self.tenant, path, translate.at(self.host, path))

    def both_ways(self, *paths: str) -> None:
        """Whoever changed it last counts, the tenant where both did."""
        for path in paths:
            mine, theirs = translate.at(self.tenant, path), translate.at(self.host, path)
            if mine == theirs:
                continue
            if self.last_tenant is None or mine != translate.at(self.last_tenant, path):
                translate.put(self.host, path, mine)
            elif theirs != translate.at(self.last_host or {}, path):
                translate.put(self.tenant, path, theirs)

    def both_ways_by_key(self, *paths: str) -> None:
        """As :meth:`both_ways`, for each key of a mapping by itself."""
        for path in paths:
            mine: dict[str, Any] = translate.at(self.tenant, path) or {}
            theirs: dict[str, Any] = translate.at(self.host, path) or {}
            if mine == theirs:
                continue
            last = None
            if self.last_tenant is not None and self.last_host is not None:
                last = (
                    translate.at(self.last_tenant, path) or {},
                    translate.at(self.last_host, path) or {},
                )
            new_mine, new_theirs = translate.merged(mine, theirs, last)
            if new_mine != mine:
                translate.put(self.tenant, path, new_mine)
            if new_theirs != theirs:
                translate.put(self.host, path, new_theirs)

    @property
    def tenant_changed(self) -> Callable[[str], bool]:
        """Whether the tenant's value at a path is another than when last synced; True when that is unknown."""

        def changed(path: str) -> bool:
            last = self.last_tenant
            return last is None or translate.at(self.tenant, path) != translate.at(last, path)

        return changed


def copied(obj: Object) -> Object:
    """An object of its own: informers share theirs."""
    made: Object = codec.decode_json(codec.encode_json(obj))
    return made


@dataclass(frozen=True)
class Follow:
    """Objects of another tenant kind whose change means that some of ours must be looked at."""

    resource: Resource
    keys: Callable[[Object, Scope], Iterable[str]]
    """Asked for the new object and the old one."""
    events: frozenset[str] = frozenset({"add", "update", "delete"})


Decoration = Callable[[Object, Scope], tuple[dict[str, str], dict[str, str]]]
"""(labels, annotations) for the copy of a tenant object."""


def _no_decoration(_tenant: Object, _scope: Scope) -> tuple[dict[str, str], dict[str, str]]:
    return {}, {}


def _always(_tenant: Object, _scope: Scope, _settings: Any) -> bool:
    return True


async def _nothing(_pair: Pair, _scope: Scope, _settings: Any) -> None:
    return None


@dataclass(frozen=True)
class ToHost:
    """A kind whose objects live in the tenant and have copies on the host. The engine does what all kinds share."""

    resource: Resource
    key: str
    """Its name in the configuration: ``sync.toHost.KEY``."""
    settings: type
    """A frozen dataclass with at least ``enabled``."""
    to_host: Callable[[Object, Scope, Any], Awaitable[Object]]
    """The host object to create, without its metadata (what is there of labels and annotations is added).

    May raise :class:`Waiting`. The tenant's object is shared: it must not be changed.
    """
    update: Callable[[Pair, Scope, Any], None]
    """Changes the drafts of a pair where they should be equal. Metadata is done."""
    host_rules: Callable[[Any], Sequence[Rule]]
    """The rights it needs in the tenant's host namespace, by its settings."""
    cluster_rules: Callable[[Any], Sequence[Rule]] = lambda _settings: ()
    wanted: Callable[[Object, Scope, Any], bool] = _always
    """Whether a tenant object is to have a copy; what no longer is loses it."""
    follows: tuple[Follow, ...] = ()
    decorate: Decoration = _no_decoration
    """Further labels and annotations of the copy, of our own."""
    not_copied: frozenset[str] = frozenset()
    """Annotations that stay where they are."""
    not_copied_labels: frozenset[str] = frozenset()
    host_decides: frozenset[str] = frozenset()
    """Annotations that flow from the host to the tenant only."""
    status: bool = False
    """Whether status is a subresource."""
    before: Callable[[Pair, Scope, Any], Awaitable[None]] = _nothing
    """What must happen before the tenant's object is written."""
    after: Callable[[Pair, Scope, Any], Awaitable[None]] = _nothing
    """What remains once the pair is written: other subresources."""
    survives_recreation: bool = False
    """The copy stays when the tenant's object was deleted and made again."""
    graceful: bool = False
    """Deletion takes its time on the host (pods)."""
    force: bool = False
    """What the host has deleted goes from the tenant without its finalizers being waited for by the node."""
    started: Callable[[Object], bool] = lambda _tenant: False
    """Whether it cannot be made a second time, so that without its copy it is over."""


class Runnable(Protocol):
    async def run(self) -> None: ...


@dataclass(frozen=True)
class FromHost:
    """A kind whose objects come from the host. ``setup`` makes what does it, while it is enabled."""

    resource: Resource
    key: str
    """Its name in the configuration: ``sync.fromHost.KEY``."""
    settings: type
    setup: Callable[[Scope, Any], Sequence[Runnable]]
    host_rules: Callable[[Any], Sequence[Rule]] = lambda _settings: ()
    cluster_rules: Callable[[Any], Sequence[Rule]] = lambda _settings: ()
