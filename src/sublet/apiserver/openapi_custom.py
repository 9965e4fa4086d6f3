"""What custom resources are published with in OpenAPI (reference B.3): upstream's form of their schemas in version 3,
and in version 2 that of it which kubectl can make sense of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sublet.apiserver.conversion import CustomKind
from sublet.machinery.kind import Resource

Document = dict[str, Any]

_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_EMBEDDED = {
    "apiVersion": "apiVersion defines the versioned schema of this representation of an object. More info: "
    f"{_CONVENTIONS}#resources",
    "kind": "kind is a string value representing the type of this object. In CamelCase. More info: "
    f"{_CONVENTIONS}#types-kinds",
}
"""How embedded resources describe what every object has."""
_JUNCTORS = ("allOf", "oneOf", "anyOf", "not")
_UNPUBLISHED = ("id", "$schema", "example", "externalDocs")
_INT_OR_STRING = ({"type": "integer"}, {"type": "string"})
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"


class CustomDefinitions:
    """Makes the definitions of custom resources. ``typed``: the properties apiVersion and kind of every object."""

    def __init__(self, version: int, typed: Mapping[str, Any], metadata: str, list_metadata: str) -> None:
        self._version = version
        self._prefix = "#/definitions/" if version == 2 else "#/components/schemas/"
        self._typed = dict(typed)
        self._embedded_typed = {key: {**typed[key], "description": _EMBEDDED[key]} for key in typed}
        self._metadata = self._described("ObjectMeta", metadata)
        self._list_metadata = self._described("ListMeta", list_metadata)

    def of(self, kind: CustomKind, resource: Resource, name: str, list_name: str) -> Document:
        """Those of the object and the List of one version, by the names given."""
        schema = kind.stated(resource.version)
        more: Document = {}
        if fields := kind.selectable_paths.get(resource.version):
            more["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in fields]
        return {
            name: {**self._object(schema), **_identity(resource, resource.kind), **more},
            list_name: {**self._list(kind, resource, name), **_identity(resource, kind.list_kind), **more},
        }

    def _described(self, name: str, description: str) -> Document:
        """A reference with words of its own, which in version 3 may not stand beside it."""
        reference = {"$ref": f"{self._prefix}{_META}.{name}"}
        if self._version == 2:
            return {**reference, "description": description}
        return {"allOf": [reference], "description": description}

    def _object(self, schema: Mapping[str, Any]) -> Document:
        if self._version == 2:
            if schema.get("x-kubernetes-preserve-unknown-fields"):
                # With any property named, kubectl takes all others for mistakes.
                return {"type": "object"}
            schema = _as_version2(schema)
        else:
            schema = _unfolded(schema)
        body = self._node(schema)
        body["properties"] = {**body.get("properties", {}), **self._typed, "metadata": self._metadata}
        return body

    def _list(self, kind: CustomKind, resource: Resource, name: str) -> Document:
        items = {
            "description": f"List of {resource.plural}. More info: {_CONVENTIONS}",
            "type": "array",
            "items": {"$ref": self._prefix + name},
        }
        return {
            "description": f"{kind.list_kind} is a list of {resource.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {**self._typed, "items": items, "metadata": self._list_metadata},
        }

    def _node(self, node: Mapping[str, Any]) -> Document:
        """A copy with what embedded resources have, and without what is not published."""
        made = {key: value for key, value in node.items() if key not in _UNPUBLISHED}
        if isinstance(made.get("properties"), dict):
            made["properties"] = {name: self._node(child) for name, child in made["properties"].items()}
        for key in ("items", "additionalProperties"):
            if isinstance(made.get(key), dict):
                made[key] = self._node(made[key])
        open_ended = self._version == 2 and made.get("x-kubernetes-preserve-unknown-fields")
        if made.get("x-kubernetes-embedded-resource") and not open_ended:
            stated_properties = made.get("properties", {})
            made["properties"] = {**stated_properties, **self._embedded_typed, "metadata": self._metadata}
            stated: Sequence[str] = made.get("required") or ()
            made["required"] = [*stated, *(key for key in ("kind", "apiVersion") if key not in stated)]
        return made


def _identity(resource: Resource, kind: str) -> Document:
    identity = {"group": resource.group, "version": resource.version, "kind": kind}
    return {"x-kubernetes-group-version-kind": [identity]}


def _unfolded(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """``x-kubernetes-int-or-string`` said in plain keywords too."""
    made = dict(node)
    if isinstance(made.get("properties"), dict):
        made["properties"] = {name: _unfolded(child) for name, child in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _unfolded(made[key])
    if made.get("x-kubernetes-int-or-string"):
        either = list(_INT_OR_STRING)
        all_of = made.get("allOf") or []
        if made.get("anyOf") != either and not (all_of and all_of[0].get("anyOf") == either):
            if made.get("anyOf"):
                made["allOf"] = [{"anyOf": either}, *all_of]
            else:
                made["anyOf"] = either
    return made


def _as_version2(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema without what version 2 cannot say, and without what kubectl cannot cope with."""
    made = {key: value for key, value in node.items() if key not in _JUNCTORS}
    open_ended = bool(made.get("x-kubernetes-preserve-unknown-fields"))
    nullable = made.pop("nullable", False)
    if nullable:
        made.pop("type", None)
    if nullable or open_ended:
        made.pop("items", None)
        made.pop("properties", None)
    if made.get("type") == "array" and "items" not in made:
        del made["type"]
    if open_ended and made.get("type") == "object":
        del made["type"]
    properties: Mapping[str, Any] = made.get("properties") or {}
    needed = [name for name in made.get("required") or () if not (properties.get(name) or {}).get("nullable")]
    additional = made.get("additionalProperties")
    if isinstance(additional, dict) and additional.get("nullable"):
        needed = []
    made.pop("required", None)
    if needed:
        made["required"] = needed
    if properties:
        made["properties"] = {name: _as_version2(child) for name, child in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _as_version2(made[key])
    return made
