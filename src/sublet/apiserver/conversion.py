"""Between the stored version of an object and the others it is served in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import field

from sublet.machinery import strict
from sublet.machinery.kind import Kind, Object, Resource, Subresource
from sublet.machinery.schema import Schema
from sublet.machinery.status import FieldError


def _nothing(_obj: Object) -> None:
    return None


def _no_schema(_version: str) -> Mapping[str, Any]:
    return {}


Errors = Callable[[str, Object, Object | None, str], Sequence[FieldError]]
Rules = Callable[
    [str, Object, Object | None, Sequence[FieldError], list[str]], Awaitable[Sequence[FieldError]]
]


def _no_errors(_version: str, _new: Object, _old: Object | None, _subresource: str) -> Sequence[FieldError]:
    return ()


async def _no_rules(
    _version: str, _new: Object, _old: Object | None, _found: Sequence[FieldError], _warnings: list[str]
) -> Sequence[FieldError]:
    return ()


class Converter(Protocol):
    """Brings objects to another version by asking somebody else."""

    async def convert(self, objs: Sequence[Object], api_version: str) -> list[Object]:
        """New objects in ``api_version``, in the order given. Raises ``StatusError``."""
        ...


class CustomKind(Kind, frozen=True):
    """A kind that a CustomResourceDefinition states."""

    storage_tag: str = ""
    """Storage version and a digest of its schema: a value of another tag is pruned and defaulted on read."""
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    """By version, with the metadata that every object has."""
    stated: Callable[[str], Mapping[str, Any]] = _no_schema
    """Version -> openAPIV3Schema as the definition states it, decoded for each call."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Version -> a digest of :attr:`stated`."""
    selectable_paths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Version -> what field selectors may name, as they name it."""
    errors: Errors = _no_errors
    """(version, new, old or None, subresource) -> what breaks that version's schema and was not so before."""
    rules: Rules = _no_rules
    """(version, new, old or None, what :attr:`errors` found, warnings to add to) -> what breaks that version's
    ``x-kubernetes-validations``."""
    renew: Callable[[Object], None] = _nothing
    """Prunes and defaults, in place, what an earlier schema let through."""
    stated_list_kind: str = ""
    tables: Mapping[str, Kind] = field(default_factory=dict)
    """Version -> a kind with the columns and cells of that version."""
    terminating: bool = False
    """Its definition is being deleted: nothing new is created."""
    converter: Converter | None = None
    """Conversion by webhook; None: versions differ in their name alone. Ask ``crd_conversion``."""
    pruning: Mapping[str, Callable[[Object], None]] = field(default_factory=dict)
    """Version -> prunes an object that was converted to it, in place: reading defaults in the stored version alone."""
    finishing: Mapping[str, Callable[[Object], None]] = field(default_factory=dict)
    """Version -> prunes and defaults an object of it, in place."""
    subresources_of: Mapping[str, Mapping[str, Subresource]] = field(default_factory=dict)
    """By version; :attr:`subresources` are those of any."""
    deprecations: Mapping[str, str] = field(default_factory=dict)
    """Version -> warning for every request to it."""

    @property
    def list_kind(self) -> str:
        return self.stated_list_kind or f"{self.resource.kind}List"

    def below(self, version: str) -> Mapping[str, Subresource]:
        return self.subresources_of.get(version, self.subresources)

    def by_version(self, version: str) -> Kind:
        """What Tables of a version are made with."""
        return self.tables.get(version, self)

    def version_schema(self, version: str) -> Schema | None:
        return self.schemas.get(version)


def renewal(kind: Kind, minor: str) -> Callable[[Object], None]:
    """What brings an object that another release or minor wrote up to date, in place.

    A built-in one is decoded as a request's would be: fields that this minor does not have go, defaults come.
    """
    if isinstance(kind, CustomKind):
        return kind.renew

    def renew(obj: Object) -> None:
        schema = kind.schema(minor)
        if schema is not None:
            strict.check(obj, schema)
        kind.default(obj)

    return renew


def to_stored(kind: Kind, resource: Resource, obj: Object) -> Object:
    """The object in the stored version; the same one when it is in it already."""
    if resource == kind.resource:
        return obj
    for served in kind.also_served:
        if served.resource == resource:
            converted = served.to_stored(obj)
            converted["apiVersion"], converted["kind"] = kind.resource.api_version, kind.resource.kind
            return converted
    raise LookupError(f"{kind.resource.qualified} is not served as {resource.api_version}")


def from_stored(kind: Kind, resource: Resource, obj: Object) -> Object:
    """The object in a served version; the same one when that is the stored one."""
    if resource == kind.resource:
        return obj
    for served in kind.also_served:
        if served.resource == resource:
            return served.from_stored(obj)
    raise LookupError(f"{kind.resource.qualified} is not served as {resource.api_version}")
