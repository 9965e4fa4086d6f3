"""What lies in the data store: one tag line saying who wrote it, then JSON that begins with ``{"metadata":{``.

The value holds no apiVersion, kind or resourceVersion, so a read is one concatenation: a head made once per served
type, the revision, and the stored bytes from the metadata on. A value whose tag is not the current one (another
sublet version, Kubernetes minor, or storage version of a custom resource) is decoded and defaulted on read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from sublet.machinery import codec
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import internal_error

OPENING = b'{"metadata":{'
FORMAT = "s2"
UNREADABLE = b"k8s:enc:unreadable:"
"""Stands before the reason where a value cannot be decrypted (``encryption/store``)."""
_HEAD_KEYS = ("apiVersion", "kind", "metadata")


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata = msgspec.json.Decoder(_Metadata)


class CorruptValue(Exception):
    """A stored value is not what this module writes; ``str()`` says what is wrong with it."""


class StoredValue(Protocol):
    """What lists show: an entry of the store or of a cache."""

    @property
    def value(self) -> bytes: ...

    @property
    def revision(self) -> int: ...


class StoredFormat:
    """Encodes and decodes the stored values of one kind.

    ``tag`` is everything that decides how a value was made; ``renew`` brings an object that another tag wrote up to
    date, in place (defaults, and for custom resources pruning).
    """

    __slots__ = ("_opening", "_skip", "item_head", "object_head", "renew", "resource", "tag", "versions")

    def __init__(self, resource: Resource, tag: str, renew: Callable[[Object], None]) -> None:
        self.resource = resource
        self.tag = tag
        self.renew = renew
        self.versions: Mapping[str, Resource] = {}
        """Where a webhook converts: versions by name. A value that was written in another than today's keeps it."""
        self._opening = tag.encode() + b"\n" + OPENING
        self._skip = len(self._opening)
        self.object_head = object_head(resource)
        self.item_head = OPENING + b'"resourceVersion":"'

    def encode(self, obj: Object) -> bytes:
        """The value to store. ``metadata`` needs at least a name, as every stored object has."""
        metadata = obj["metadata"]
        if "resourceVersion" in metadata or "selfLink" in metadata:
            metadata = {k: v for k, v in metadata.items() if k not in ("resourceVersion", "selfLink")}
        body: dict[str, Any] = {"metadata": metadata}
        for key, value in obj.items():
            if key not in _HEAD_KEYS:
                body[key] = value
        return self.tag.encode() + b"\n" + codec.encode_json(body)

    def is_current(self, value: bytes) -> bool:
        """Whether the bytes may go out as they are."""
        return value.startswith(self._opening)

    def decode(self, value: bytes, revision: int) -> Object:
        """A new object, whole: apiVersion, kind and resourceVersion filled in, brought up to date if need be.

        Raises ``InternalError`` for a value that could not be decrypted, :class:`CorruptValue` for any other that is
        not what this module writes.
        """
        newline = value.find(b"\n")
        refuse_unreadable(value)
        if newline < 0:
            raise CorruptValue(f"a stored value of {self.resource.qualified} has no tag line")
        try:
            body = codec.decode_json(value[newline + 1 :])
        except codec.DecodeError as error:
            raise CorruptValue(f"a stored value of {self.resource.qualified} is no JSON: {error}") from None
        obj: Object = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, **body}
        obj["metadata"]["resourceVersion"] = str(revision)
        if not self.is_current(value):
            written = self._written(value[:newline])
            if written is None or written == self.resource:
                self.renew(obj)
            else:
                obj["apiVersion"] = written.api_version
        return obj

    def _written(self, tag: bytes) -> Resource | None:
        """The version that a value with this tag is in, where that matters."""
        words = tag.decode("utf-8", "replace").split(" ")
        return self.versions.get(words[3]) if self.versions and len(words) > 3 else None

    def outgoing(self, value: bytes, revision: int) -> bytes:
        """The whole object as JSON in the stored version."""
        if value.startswith(self._opening):
            return b'%b%d",%b' % (self.object_head, revision, value[self._skip :])
        return codec.encode_json(self.decode(value, revision))

    def item(self, value: bytes, revision: int) -> bytes:
        """The object as an element of a List, without apiVersion and kind."""
        if value.startswith(self._opening):
            return b'%b%d",%b' % (self.item_head, revision, value[self._skip :])
        obj = self.decode(value, revision)
        del obj["apiVersion"], obj["kind"]
        return codec.encode_json(obj)

    def body(self, value: bytes, revision: int) -> bytes | memoryview:
        """The object's JSON, a current one's as it is stored: without apiVersion, kind and resourceVersion."""
        if value.startswith(self._opening):
            return memoryview(value)[self._skip - len(OPENING) :]
        return codec.encode_json(self.decode(value, revision))

    def metadata(self, value: bytes, revision: int) -> bytes | None:
        """The object's metadata alone as JSON, nothing else decoded; None for a value with another tag."""
        if not value.startswith(self._opening):
            return None
        found = _metadata.decode(memoryview(value)[self._skip - len(OPENING) :]).metadata
        return b'{"resourceVersion":"%d",%b' % (revision, bytes(found)[1:])

    def listed(self, entries: Iterable[StoredValue], before: bytes, after: bytes, *, whole: bool) -> bytes:
        """The objects as the elements of a List between ``before`` and ``after``; ``whole``: as :meth:`outgoing`.

        Long answers cost what is copied: every stored byte is, once.
        """
        head, other = (self.object_head, self.outgoing) if whole else (self.item_head, self.item)
        opening, skip = self._opening, self._skip
        parts: list[bytes | memoryview] = [before]
        comma = b""
        for entry in entries:
            value = entry.value
            if value.startswith(opening):
                parts += (b'%b%b%d",' % (comma, head, entry.revision), memoryview(value)[skip:])
            else:
                parts += (comma, other(value, entry.revision))
            comma = b","
        parts.append(after)
        return b"".join(parts)


def refuse_unreadable(value: bytes) -> None:
    """Raises ``InternalError`` with the reason for a value that could not be decrypted."""
    if value.startswith(UNREADABLE):
        raise internal_error(f"{value[len(UNREADABLE) :].decode()}")


def object_head(resource: Resource) -> bytes:
    """Everything before the resource version's digits."""
    kind, version = codec.encode_json(resource.kind), codec.encode_json(resource.api_version)
    return b'{"kind":%b,"apiVersion":%b,"metadata":{"resourceVersion":"' % (kind, version)


def key_prefix(resource: Resource) -> str:
    """``/registry/apps/deployments/``: where the objects of a kind lie."""
    return f"/registry/{resource.group or 'core'}/{resource.plural}/"


def key(resource: Resource, namespace: str, name: str) -> str:
    """``/registry/<group or core>/<plural>/[<namespace>/]<name>``."""
    where = f"{namespace}/" if resource.namespaced else ""
    return f"{key_prefix(resource)}{where}{name}"


def place(key: str, prefix: str) -> tuple[str, str]:
    """(namespace or "", name) of a key below ``prefix``."""
    namespace, _, name = key[len(prefix) :].rpartition("/")
    return namespace, name
