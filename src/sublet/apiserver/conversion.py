"""Between the stored version of an object and the others it is served in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.schema import Schema


@dataclass(frozen=True)
class CustomKind(Kind):
    """A kind that a CustomResourceDefinition states."""

    storage_tag: str = ""
    """Storage version and a digest of its schema: a value of another tag is pruned and defaulted on read."""
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    """By version."""
    preserve_unknown: bool = False
    terminating: bool = False
    """Its definition is being deleted: nothing new is created."""
    deprecations: Mapping[str, str] = field(default_factory=dict)
    """Version -> warning for every request to it."""

    def version_schema(self, version: str) -> Schema | None:
        return self.schemas.get(version)


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
