"""A write of a custom object in another version than the stored one, as its client speaks it.

Everything else about a write happens in the stored version. What is asked of the object itself is the schema of the
version spoken, before anything is converted (upstream's handlers work in that version from end to end).
"""

from __future__ import annotations

from msgspec import Struct

from sublet.apiserver import conversion, crd_conversion
from sublet.machinery import codec
from sublet.machinery.kind import Kind, Object, Resource


class Spoken(Struct):
    """The new and the old object (None where one is created) in the version of ``resource``."""

    resource: Resource
    new: Object
    old: Object | None = None

    async def take(self, kind: Kind, stored: Object, *, mutated: bool) -> None:
        """Follows what became of the new object in the stored version: its metadata, and all that admission changed."""
        if mutated:
            self.new = await crd_conversion.from_stored(kind, self.resource, stored)
        else:
            self.new = {**self.new, "metadata": stored["metadata"]}
        if "status" not in stored:
            self.new.pop("status", None)


def spoken(kind: Kind, resource: Resource, new: Object, old: Object | None = None) -> Spoken | None:
    """For a write in ``resource``; None where that is the stored version, or the kind is built in. ``old`` is copied."""
    if resource == kind.resource or not isinstance(kind, conversion.CustomKind):
        return None
    return Spoken(resource, new, None if old is None else codec.copied(old))
