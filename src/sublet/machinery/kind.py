"""What one kind of object is: the value each file in ``kinds/`` states and from which the rest derives.

It joins what Kubernetes calls the *strategy* of a resource with its place in discovery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from sublet.machinery.status import FieldError, qualified

if TYPE_CHECKING:
    from sublet.machinery.schema import Schema

Object = dict[str, Any]
"""A Kubernetes object: JSON-shaped, with apiVersion, kind and metadata."""

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Resource(Struct, frozen=True, dict=True):
    """What a client needs to address objects of one kind in one served version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @cached_property
    def api_version(self) -> str:
        """``apps/v1``; ``v1`` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def qualified(self) -> str:
        """``deployments.apps``; ``pods`` in the core group."""
        return qualified(self.group, self.plural)

    @cached_property
    def root(self) -> str:
        """``/apis/apps/v1`` or ``/api/v1``."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection or an object."""
        path = self.root
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        if name:
            path += f"/{name}"
        if subresource:
            path += f"/{subresource}"
        return path


class Subresource(Struct, frozen=True):
    """An endpoint below an object: ``status``, ``scale``, ``binding`` …"""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    """Group and version of ``kind`` where they differ from the parent's; both empty: the parent's."""


NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
"""What columns are described with that show an object's name, and when it was made: the API's own texts."""


class Column(Struct, frozen=True):
    """One column of a server-side Table."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Served(Struct, frozen=True):
    """Another group or version under which the same stored objects are read and written."""

    resource: Resource
    from_stored: Callable[[Object], Object]
    """A new object in this version (apiVersion and kind included); the input stays as it is."""
    to_stored: Callable[[Object], Object]
    selectable: Mapping[str, Callable[[Object], str]] | None = None
    """Field label -> value of the *stored* object, where this version names them differently; None: the kind's."""
    validate: Callable[[Object, Object | None], Sequence[FieldError]] | None = None
    """(new, old or None), both as stored -> what clients of this version must obey; None: the kind's own rules."""
    deprecation: tuple[str, str] | None = None
    """(what clients of this version are warned of, the minor that will not have it any more)."""


def _nothing(_obj: Object) -> None:
    return None


def _keep(_new: Object, _old: Object) -> None:
    return None


def _no_errors(_obj: Object) -> Sequence[FieldError]:
    return ()


def _no_update_errors(_new: Object, _old: Object) -> Sequence[FieldError]:
    return ()


def _no_conditions(_obj: Object) -> Sequence[Object]:
    return ()


def _no_warnings(_obj: Object, _old: Object | None) -> Sequence[str]:
    return ()


class Kind(Struct, frozen=True):
    """Everything the API server must know of one kind. A kind with no special behaviour is the value alone.

    The functions are pure: they get JSON-shaped objects they may change in place only where said, and never see
    time, randomness or other objects (those rules are admission's). Built-in kinds state one in ``kinds/``;
    custom resources get theirs from their definition.
    """

    resource: Resource
    """The version in which objects are stored."""
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    also_served: tuple[Served, ...] = ()
    stored: bool = True
    """False for kinds that are only asked (reviews): create answers at once and nothing is kept."""

    # -- rules --
    schema: Callable[[str], Schema | None] = lambda _minor: None
    """The structural schema of the stored version in a Kubernetes minor such as ``1.36``."""
    default: Callable[[Object], None] = _nothing
    """Fills defaults in place; runs on every decoded request and on reads of values written by other versions."""
    prepare_create: Callable[[Object], None] = _nothing
    """Drops, in place, what a client may not set on creation (status, generation-like fields)."""
    prepare_update: Callable[[Object, Object], None] = _keep
    """(new, old) on the main endpoint: restores in place what it may not change (status)."""
    prepare_status: Callable[[Object, Object], None] = _keep
    """(new, old) on ``/status``, once all that :attr:`reset` names is restored: restores or completes the rest."""
    reset: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Endpoint (``""``: the main one, else a subresource) -> paths (``metadata.labels``) that the server restores there
    and nobody can own through it."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Subresource -> the paths that alone can be owned through it; a step may be ``*``."""
    stamp: Callable[[Object, Object | None, float], None] | None = None
    """(new, old or None, now in Unix seconds), once prepared: sets in place the times that the server tells."""
    validate: Callable[[Object], Sequence[FieldError]] = _no_errors
    """Rules beyond the schema's types. Metadata is validated by the registry for all kinds alike."""
    validate_update: Callable[[Object, Object], Sequence[FieldError]] = _no_update_errors
    """(new, old): immutable fields and transitions; comes after :attr:`validate` of the new object."""
    update_alone: bool = False
    """:attr:`validate_update` is all that is asked of an update: it holds, or calls, the other rules in its own order."""
    validate_status: Callable[[Object, Object], Sequence[FieldError]] = _no_update_errors
    validate_name: Callable[[str, bool], Sequence[str]] | None = None
    """(name, is_prefix) -> messages; None: DNS-1123 subdomain."""
    warnings: Callable[[Object, Object | None], Sequence[str]] = _no_warnings
    """(new, old or None) -> texts for Warning headers."""
    warnings_status: Callable[[Object, Object | None], Sequence[str]] = _no_warnings
    """The same of ``/status``."""

    canonicalize: Callable[[Object], None] | None = None
    """Brings an object that obeys every rule into the form it is stored in, in place."""

    # -- strategy flags (facts/resource-strategies.tsv) --
    create_on_update: bool = False
    unconditional_update: bool = True
    generation: bool = False
    """metadata.generation is managed: +1 when anything but metadata and status changes. Of other kinds it stays what
    it was created with."""
    named_by_server: bool = False
    """A new object that states no name, nor the beginning of one, gets a UUID for its name."""
    first_generation: int = 1
    """What it is on create: CSIDrivers have none until they are changed."""
    generation_grows: bool = True
    """False: it stays what it is on create, whatever is changed (PriorityClasses)."""
    generation_metadata: tuple[str, ...] = ()
    """Fields of the metadata whose change is a new generation too: annotations of Deployments, labels of EndpointSlices."""
    default_propagation: str = "Background"
    """``Orphan``, ``Background``, or ``Unsupported``: whatever is asked, nothing hangs on the object."""
    delete_warning: str = ""
    """For whoever deletes without a word about the dependents."""
    undeletable: Mapping[str, str] = field(default_factory=dict)
    """Name -> why no object of that name is deleted, one by one."""
    grace: Callable[[Object, int | None], int] | None = None
    """(object, requested seconds or None) -> seconds to wait before removal; None: kind is deleted at once."""

    # -- views --
    columns: tuple[Column, ...] = (
        Column("Name", format="name", description=NAME_TEXT),
        Column("Created At", "date", description=CREATED_TEXT),
    )
    cells: Callable[[Object, float], list[Any]] | None = None
    """(object, now in Unix seconds) -> one cell per column; None: name and creationTimestamp."""
    row_conditions: Callable[[Object], Sequence[Object]] = _no_conditions
    """``conditions`` of an object's row: clients may hide what has ``Completed``."""
    row_order: Callable[[Object], Any] | None = None
    """A sort key for the rows of a List; None: they stay as listed."""
    selectable: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    """Field label -> value, besides metadata.name and metadata.namespace."""

    def selectable_in(self, resource: Resource) -> Mapping[str, Callable[[Object], str]]:
        """The field labels of a served version; their values are read from stored objects."""
        for served in self.also_served:
            if served.resource == resource and served.selectable is not None:
                return served.selectable
        return self.selectable

    def errors_in(self, resource: Resource, new: Object, old: Object | None) -> Sequence[FieldError]:
        """What breaks the rules of the served version it was written in, or else the kind's."""
        for served in self.also_served:
            if served.resource == resource and served.validate is not None:
                return served.validate(new, old)
        return self.validate(new)

    def deprecation_of(self, resource: Resource) -> tuple[str, str] | None:
        """What clients of a served version are warned of, and when it goes."""
        return next((each.deprecation for each in self.also_served if each.resource == resource), None)

    @property
    def list_kind(self) -> str:
        return f"{self.resource.kind}List"

    def below(self, _version: str) -> Mapping[str, Subresource]:
        """The subresources that a version has."""
        return self.subresources

    def served(self) -> tuple[Resource, ...]:
        """Every (group, version) it answers under, the stored one first."""
        return (self.resource, *(s.resource for s in self.also_served))
