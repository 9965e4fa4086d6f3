"""A CustomResourceDefinition as it is served: its schemas stay text until somebody needs one.

A cluster has hundreds of definitions and writes objects of a few of them. Decoded, their schemas would take many
times the memory of the stored text and most of the time of a start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema

T = TypeVar("T")

_OPEN = b'{"type":"object","x-kubernetes-preserve-unknown-fields":true}'
"""The schema of a version that states none."""
_LIST_TYPES = tuple(b'"x-kubernetes-list-type":"%s"' % kind for kind in (b"set", b"map"))

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class Stated:
    """The openAPIV3Schema of one version. What it has anywhere is told from its text."""

    def __init__(self, text: bytes | memoryview) -> None:
        self._text = text
        found = bytes(text)
        self.digest = hashlib.blake2b(found, digest_size=6).hexdigest()
        self.keyed = any(kind in found for kind in _LIST_TYPES)
        """Lists of type ``set`` or ``map``."""
        self.embedded = b'"x-kubernetes-embedded-resource":true' in found
        self.rules = b'"x-kubernetes-validations":' in found

    @property
    def document(self) -> dict[str, Any]:
        """Decoded for this call alone."""
        found: dict[str, Any] = codec.decode_json(self._text)
        return found

    @cached_property
    def schema(self) -> Schema:
        """Kept from the first use on."""
        return Schema(self.document)


class Definition(msgspec.Struct, frozen=True):
    """One definition that has been validated."""

    object: Object
    """All of it but ``spec.versions[*].schema``. Shared: do not change it."""
    schemas: Mapping[str, Stated]
    """By version."""

    @classmethod
    def read(cls, text: bytes | memoryview) -> Definition:
        """From its JSON, which is kept as long as the definition is: nothing of the schemas is copied."""
        fields = _fields.decode(text)
        spec = _fields.decode(fields.pop("spec"))
        schemas = {}
        versions = []
        for stated in _elements.decode(spec.pop("versions")):
            schema = stated.pop("schema", None)
            version = _decoded(stated)
            schemas[version["name"]] = Stated(_schema_text(schema))
            versions.append(version)
        return cls({**_decoded(fields), "spec": {**_decoded(spec), "versions": versions}}, schemas)

    @classmethod
    def of(cls, crd: Object) -> Definition:
        return cls.read(codec.encode_json(crd))

    def same(self, other: Definition) -> bool:
        """Whether two states of a definition say the same, whatever else their metadata holds."""
        return self._facts == other._facts

    @property
    def _facts(self) -> tuple[Any, ...]:
        metadata: Mapping[str, Any] = self.object["metadata"]
        return (
            self.object["spec"],
            self.digests,
            self.object.get("status"),
            metadata.get("uid"),
            metadata.get("finalizers") or [],
            "deletionTimestamp" in metadata,
        )

    @property
    def digests(self) -> dict[str, str]:
        """Of the schemas, by version."""
        return {name: stated.digest for name, stated in self.schemas.items()}


class PerVersion(Mapping[str, T]):
    """What is made of a version when first asked for."""

    def __init__(self, versions: Iterable[str], make: Callable[[str], T]) -> None:
        self._versions = tuple(versions)
        self._make = make
        self._made: dict[str, T] = {}

    def __getitem__(self, version: str) -> T:
        if version not in self._made:
            if version not in self._versions:
                raise KeyError(version)
            self._made[version] = self._make(version)
        return self._made[version]

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)


def _schema_text(schema: msgspec.Raw | None) -> bytes | memoryview:
    stated = _fields.decode(schema).get("openAPIV3Schema") if schema is not None and schema != _NULL else None
    return _OPEN if stated is None or stated in (_NULL, _EMPTY) else memoryview(stated)


_NULL, _EMPTY = msgspec.Raw(b"null"), msgspec.Raw(b"{}")


def _decoded(fields: Mapping[str, msgspec.Raw]) -> Object:
    return {name: codec.decode_json(memoryview(raw)) for name, raw in fields.items()}
