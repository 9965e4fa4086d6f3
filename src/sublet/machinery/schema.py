"""Structural schemas: the shape of a kind's objects, from OpenAPI v2/v3 with the ``x-kubernetes-*`` extensions.

One class serves built-in kinds (definitions made at build time) and custom resources (their CRD's schema). It drives
strict decoding, pruning, strategic merge, server-side apply and defaulting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

Document = Mapping[str, Any]

_LEAF_KEYS = frozenset(("type", "format"))


class Definitions(Mapping[str, Document]):
    """Named definitions whose nodes are shared: one :class:`Schema` per name, one per kind of leaf.

    A pod template then costs its nodes once, however many kinds have one. Kept by whoever keeps a Schema of it.
    """

    def __init__(self, documents: Mapping[str, Document]) -> None:
        self._documents = documents
        self._nodes: dict[str, Schema] = {}
        self._leaves: dict[tuple[Any, Any], Schema] = {}

    def __getitem__(self, name: str) -> Document:
        return self._documents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)

    def node(self, name: str) -> Schema:
        """The node of a definition. Raises ``KeyError``."""
        found = self._nodes.get(name)
        if found is None:
            found = self._nodes[name] = Schema({"$ref": name}, self)
        return found

    def child(self, document: Document) -> Schema:
        """The node of a schema found inside a definition; shared where it says no more than another one."""
        if len(document) == 1 and "$ref" in document:
            return self.node(document["$ref"].rpartition("/")[2])
        if document.keys() <= _LEAF_KEYS:
            key = (document.get("type"), document.get("format"))
            found = self._leaves.get(key)
            if found is None:
                found = self._leaves[key] = Schema(document, self)
            return found
        return Schema(document, self)


class Schema:
    """One node of a schema; children are made when first asked for and kept.

    ``definitions`` resolves ``$ref`` (``#/definitions/NAME`` or ``#/components/schemas/NAME``) by NAME.
    """

    __slots__ = ("__dict__", "definitions", "document", "name")

    def __init__(self, document: Document, definitions: Mapping[str, Document] | None = None) -> None:
        self.definitions: Mapping[str, Document] = {} if definitions is None else definitions
        self.name = ""
        """The definition it stands for (``io.k8s.api.core.v1.PodSpec``); empty where it is written in place."""
        self.document: Document = self._resolved(document)

    def _resolved(self, document: Document) -> Document:
        """Follows ``$ref``, also behind a lone ``allOf``; keywords beside the reference win."""
        while True:
            if "$ref" in document:
                name = document["$ref"].rpartition("/")[2]
                self.name = name
                beside = {k: v for k, v in document.items() if k != "$ref"}
                document = {**self.definitions[name], **beside} if beside else self.definitions[name]
            elif len(document.get("allOf") or ()) == 1 and "$ref" in document["allOf"][0]:
                beside = {k: v for k, v in document.items() if k != "allOf"}
                document = {**document["allOf"][0], **beside}
            else:
                return document

    def _child(self, document: Document) -> Schema:
        if isinstance(self.definitions, Definitions):
            return self.definitions.child(document)
        return Schema(document, self.definitions)

    @cached_property
    def type(self) -> str:
        """``object array string integer number boolean``, or ``""`` where anything goes."""
        return str(self.document.get("type") or "")

    @cached_property
    def format(self) -> str:
        return str(self.document.get("format") or "")

    @cached_property
    def properties(self) -> Mapping[str, Schema]:
        return {name: self._child(child) for name, child in (self.document.get("properties") or {}).items()}

    @cached_property
    def items(self) -> Schema | None:
        child = self.document.get("items")
        return None if child is None else self._child(child)

    @cached_property
    def additional(self) -> Schema | None:
        """The schema of a map's values; None when the object is no map (or ``additionalProperties: false``)."""
        child = self.document.get("additionalProperties")
        if child is None or child is False:
            return None
        return self._child({} if child is True else child)

    @cached_property
    def required(self) -> frozenset[str]:
        return frozenset(self.document.get("required") or ())

    @cached_property
    def list_type(self) -> str:
        """``atomic`` (the default), ``set`` or ``map``."""
        return str(self.document.get("x-kubernetes-list-type") or "atomic")

    @cached_property
    def list_keys(self) -> tuple[str, ...]:
        return tuple(self.document.get("x-kubernetes-list-map-keys") or ())

    @cached_property
    def map_type(self) -> str:
        """``granular`` (the default) or ``atomic``."""
        return str(self.document.get("x-kubernetes-map-type") or "granular")

    @cached_property
    def patch_strategy(self) -> frozenset[str]:
        """Of ``merge``, ``replace``, ``retainKeys``."""
        return frozenset(filter(None, str(self.document.get("x-kubernetes-patch-strategy") or "").split(",")))

    @cached_property
    def patch_merge_key(self) -> str:
        return str(self.document.get("x-kubernetes-patch-merge-key") or "")

    @cached_property
    def preserve_unknown(self) -> bool:
        return bool(self.document.get("x-kubernetes-preserve-unknown-fields"))

    @cached_property
    def embedded_resource(self) -> bool:
        return bool(self.document.get("x-kubernetes-embedded-resource"))

    @cached_property
    def int_or_string(self) -> bool:
        return bool(self.document.get("x-kubernetes-int-or-string")) or self.format == "int-or-string"

    @cached_property
    def nullable(self) -> bool:
        return bool(self.document.get("nullable"))

    @property
    def has_default(self) -> bool:
        return "default" in self.document

    @property
    def default(self) -> Any:
        """Shared: copy before changing."""
        return self.document.get("default")

    def child(self, key: str) -> Schema | None:
        """The schema of a property or map value; None where the key is unknown."""
        found = self.properties.get(key)
        return found if found is not None else self.additional
