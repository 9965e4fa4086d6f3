"""How objects go out: stored bytes where possible, else another version, a Table, metadata alone, YAML, protobuf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from sublet.apiserver import conversion, crd_conversion, negotiation
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.negotiation import Accepted
from sublet.apiserver.registry import Registry
from sublet.apiserver.watchcache import CachedEntry
from sublet.apiserver.writing import Value
from sublet.machinery import codec, table
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import internal_error

META = "meta.k8s.io"


class View(Struct, frozen=True, eq=False):
    """One way of looking at the objects of a kind."""

    registry: Registry
    kind: Kind
    resource: Resource
    accepted: Accepted
    include_object: str = "Metadata"
    """For tables: ``None``, ``Metadata`` or ``Object``."""
    converted: dict[tuple[str, int], Object] = field(default_factory=dict)
    """(key, revision) -> what :meth:`prepare` had a webhook convert."""

    @property
    def plain(self) -> bool:
        """Whether stored bytes may go out as they are."""
        return self.accepted.plain and self.resource == self.kind.resource

    @property
    def converts(self) -> bool:
        """Whether a webhook converts: then values are to be given to :meth:`prepare` before they are shown."""
        return isinstance(self.kind, CustomKind) and self.kind.converter is not None

    async def prepare(self, values: Iterable[Value]) -> None:
        """Has a webhook convert those values that are not in the version asked for, all at once.

        Metadata alone is the same in all versions. Raises ``StatusError`` (500).
        """
        if not self.converts or self.accepted.view == "PartialObjectMetadata":
            return
        others = [value for value in values if not self._is_in_version(value)]
        if others:
            self.converted.update(await crd_conversion.shown(self.registry, self.kind, self.resource, others))

    def _is_in_version(self, value: Value) -> bool:
        """Whether a stored value is in the version asked for."""
        if (value.key, value.revision) in self.converted:
            return True
        return self._stored(value).get("apiVersion") == self.resource.api_version

    def _stored(self, value: Value) -> Object:
        """The object as it was stored. Do not change it."""
        if isinstance(value, CachedEntry):
            whole: Object = value.object
            return whole
        return self.registry.decode(self.kind, value)

    def look(self, value: Value) -> Object:
        """The object in the version asked for if it was prepared, else as it was stored. Do not change it."""
        return self.converted.get((value.key, value.revision)) or self._stored(value)

    def raw(self, value: Value) -> bool:
        """Whether the bytes of this value may go out as they are."""
        return self.plain and (not self.converts or self.registry.format(self.kind).is_current(value.value))

    @property
    def list_kind(self) -> str:
        """The Kind of a List in the version asked for."""
        same = self.resource == self.kind.resource or isinstance(self.kind, CustomKind)
        return self.kind.list_kind if same else f"{self.resource.kind}List"

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for views that give equal bytes."""
        return (self.resource.api_version, self.accepted, self.include_object)

    def object(self, value: Value) -> Object:
        """The object in the version asked for. Do not change it: it may be the cache's own."""
        return self._in_version(value, self._stored(value))

    def passing(self, value: Value) -> Object:
        """As :meth:`object`, without keeping what was decoded for it: for what reads many objects once."""
        whole: Object = value.peek() if isinstance(value, CachedEntry) else self._stored(value)
        return self._in_version(value, whole)

    def _in_version(self, value: Value, whole: Object) -> Object:
        if not self.converts:
            return conversion.from_stored(self.kind, self.resource, whole)
        found = self.converted.get((value.key, value.revision))
        if found is not None or self.accepted.view == "PartialObjectMetadata":
            return found or whole
        if whole.get("apiVersion") == self.resource.api_version:
            return whole
        raise internal_error(f"{value.key} was not converted before it was shown")

    def one(self, value: Value) -> bytes:
        """One stored object."""
        if self.raw(value):
            return self.registry.format(self.kind).outgoing(value.value, value.revision)
        if self.accepted.format == "protobuf":
            resource, accepted = self.resource, self.accepted
            if accepted.view:
                return negotiation.protobuf_object(
                    f"{META}/{accepted.version}", accepted.view, self.message(value)
                )
            return negotiation.protobuf_object(resource.api_version, resource.kind, self.message(value))
        if isinstance(value, CachedEntry):
            return value.once(("one", self.identity), lambda entry: self.encoded(self.object(entry)))
        return self.encoded(self.object(value))

    def message(self, value: Value) -> bytes:
        """One stored object's protobuf message, without an envelope."""
        return self.messages()(value)

    def messages(self) -> Callable[[Value], bytes]:
        """:meth:`message` for many objects: each one's share of a list."""
        # A text, because its hash is remembered; one lookup per object is most of what such a list costs.
        known_as = f"message {self.resource.api_version} {self.accepted.view} {self.accepted.version}"
        make = self._message
        return lambda value: value.once(known_as, make) if isinstance(value, CachedEntry) else make(value)

    def _message(self, value: Value) -> bytes:
        return negotiation.protobuf_message(self.shaped(self.passing(value)))

    def metadata(self, value: Value, revision: int = 0) -> bytes:
        """One stored object's PartialObjectMetadata as JSON; ``revision``: where it is not the value's own."""
        found = self.registry.format(self.kind).metadata(value.value, revision or value.revision)
        if found is not None:
            head = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":%b}'
            return head % (self.accepted.version.encode(), found)
        obj = self.passing(value)
        if revision:
            obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
        return codec.encode_json(partial(obj, self.accepted.version))

    @property
    def only_metadata(self) -> bool:
        """Whether :meth:`metadata` is what the client wants."""
        accepted = self.accepted
        return accepted.view == "PartialObjectMetadata" and accepted.format == "json" and not accepted.pretty

    def encoded(self, obj: Object) -> bytes:
        """One object that is in the version asked for already."""
        return negotiation.encode(self.shaped(obj), self.accepted)

    def shaped(self, obj: Object, *, columns: bool = True) -> Object:
        """The object as the view shows it; ``columns``: whether a Table defines its columns."""
        match self.accepted.view:
            case "Table":
                return self.table([obj], obj["metadata"].get("resourceVersion", ""), columns=columns)
            case "PartialObjectMetadata":
                return partial(obj, self.accepted.version)
            case _:
                return obj

    def table(self, objs: Sequence[Object], revision: str, *, columns: bool = True) -> Object:
        """A Table with one row per object."""
        kind = columns_of(self.kind, self.resource)
        made = table.table(
            kind, objs, self.registry.clock.now(), self.include_object,
            list_metadata={"resourceVersion": revision}, columns=columns,
        )  # fmt: skip
        made["apiVersion"] = f"{META}/{self.accepted.version}"
        return made


def columns_of(kind: Kind, resource: Resource) -> Kind:
    """The kind with the columns and cells of a served version (custom resources state them per version)."""
    return kind.by_version(resource.version) if isinstance(kind, CustomKind) else kind


def partial(obj: Object, version: str = "v1") -> Object:
    """The object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{META}/{version or 'v1'}",
        "metadata": obj["metadata"],
    }
