"""From a CustomResourceDefinition to the Kind that serves its objects."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver import crd_schema, crd_values, objectmeta
from sublet.apiserver.conversion import Converter, CustomKind, Errors, Rules
from sublet.kinds import schemas as builtin_schemas
from sublet.machinery import codec, strict, table
from sublet.machinery.jsonpath import JSONPath
from sublet.machinery.kind import Column, Kind, Object, Resource, Served, Subresource
from sublet.machinery.schema import Schema
from sublet.machinery.status import FieldError

Version = Mapping[str, Any]
_EMBEDDED = "x-kubernetes-embedded-resource"
_FIXED = ("apiVersion", "kind", "metadata")


def unserved(crd: Object) -> list[str]:
    """Versions that are stated but answer nothing."""
    return [v["name"] for v in crd["spec"]["versions"] if not v.get("served")]


def build(crd: Object, minor: str, converter: Converter | None = None) -> CustomKind:
    """The kind, stored in the definition's storage version. The definition has been validated.

    ``minor`` says which Kubernetes' ObjectMeta its objects have, ``converter`` who converts between its versions
    where a webhook does.
    """
    spec = crd["spec"]
    versions: Sequence[Version] = spec["versions"]
    storage = next(v for v in versions if v.get("storage"))
    stated = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    schemas = {v["name"]: _schema(v) for v in versions}
    traits = {v["name"]: _Traits.of(v) for v in versions}
    typed = {name: _with_metadata(schema, minor) for name, schema in schemas.items()}
    resource = _resource(spec, storage["name"])
    default = _defaulting(schemas[storage["name"]])
    columns, cells = _columns(storage)
    kind = CustomKind(
        resource,
        singular=stated.get("singular") or resource.kind.lower(),
        short_names=tuple(stated.get("shortNames") or ()),
        categories=tuple(stated.get("categories") or ()),
        subresources=_subresources(resource, versions),
        subresources_of={v["name"]: _subresources(resource, [v]) for v in versions},
        also_served=tuple(
            _served(_resource(spec, v["name"]), resource, schemas[v["name"]], schemas[storage["name"]])
            for v in versions
            if v is not storage
        ),
        schema=lambda _minor: typed[storage["name"]],
        default=default,
        reset={"": ("status",)},
        only={"status": ("status",)},
        unconditional_update=False,
        generation=True,
        columns=columns,
        cells=cells,
        selectable=_selectable(versions),
        storage_tag=f"{storage['name']} {traits[storage['name']].digest}",
        schemas=typed,
        stated={name: schema.document for name, schema in schemas.items()},
        selectable_paths={v["name"]: tuple(_selectable([v])) for v in versions},
        errors=_validation(schemas, versions, traits),
        rules=_rules(schemas, traits),
        renew=_renewing(schemas[storage["name"]], default),
        stated_list_kind=stated.get("listKind") or "",
        converter=converter,
        finishing={name: _renewing(schema, _defaulting(schema)) for name, schema in schemas.items()},
        terminating=bool(crd["metadata"].get("deletionTimestamp")),
        deprecations=_deprecations(resource, versions),
        warnings=objectmeta.finalizer_warnings,
    )
    return replace(kind, tables=_tables(kind, versions))


def _resource(spec: Mapping[str, Any], version: str) -> Resource:
    names = spec["names"]
    return Resource(spec["group"], version, names["plural"], names["kind"], spec["scope"] == "Namespaced")


def _schema(version: Version) -> Schema:
    document: dict[str, Any] = (version.get("schema") or {}).get("openAPIV3Schema") or {
        "type": "object", "x-kubernetes-preserve-unknown-fields": True,
    }  # fmt: skip
    return Schema(document)


def _with_metadata(schema: Schema, minor: str) -> Schema:
    """The schema with the parts that every object has, as merging and field management need it."""
    config_map = builtin_schemas.definition(minor, "", "v1", "ConfigMap")
    if config_map is None:
        raise LookupError(f"there is no ConfigMap in the schemas of Kubernetes {minor}")
    parts = {name: config_map.document["properties"][name] for name in _FIXED}
    document = _with_parts({**schema.document, _EMBEDDED: True}, parts)
    return Schema({**document, _EMBEDDED: bool(schema.embedded_resource)}, config_map.definitions)


def _with_parts(document: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with ``parts`` declared wherever a whole object stands."""
    made = dict(document)
    properties = {name: _with_parts(child, parts) for name, child in (made.get("properties") or {}).items()}
    if made.get(_EMBEDDED):
        properties |= parts
    if properties:
        made["properties"] = properties
    for keyword in ("items", "additionalProperties"):
        if isinstance(made.get(keyword), Mapping):
            made[keyword] = _with_parts(made[keyword], parts)
    return made


def _nothing(_obj: Object) -> None:
    return None


def _defaulting(schema: Schema) -> Callable[[Object], None]:
    def default(obj: Object) -> None:
        kept = {key: obj.pop(key) for key in _FIXED if key in obj}
        crd_schema.default(obj, schema)
        for key in _FIXED:
            obj.pop(key, None)
        rest = dict(obj)
        obj.clear()
        obj.update(kept)
        obj.update(rest)

    return default


def _renewing(schema: Schema, default: Callable[[Object], None]) -> Callable[[Object], None]:
    def renew(obj: Object) -> None:
        strict.prune(obj, schema)
        default(obj)

    return renew


class _Traits(Struct, frozen=True):
    """What a schema has anywhere, told from its JSON: walking a long one takes many times as long."""

    digest: str
    keyed: bool
    """Lists of type ``set`` or ``map``."""
    embedded: bool
    rules: bool

    @classmethod
    def of(cls, version: Version) -> _Traits:
        document = codec.encode_json((version.get("schema") or {}).get("openAPIV3Schema") or {})
        return cls(
            hashlib.blake2b(document, digest_size=6).hexdigest(),
            any(b'"x-kubernetes-list-type":"%s"' % kind in document for kind in (b"set", b"map")),
            b'"x-kubernetes-embedded-resource":true' in document,
            b'"x-kubernetes-validations":' in document,
        )


def _validation(
    schemas: Mapping[str, Schema], versions: Sequence[Version], traits: Mapping[str, _Traits]
) -> Errors:
    paths = {v["name"]: (v.get("subresources") or {}).get("scale") or {} for v in versions}

    def errors(version: str, new: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:
        schema = schemas.get(version)
        if schema is None:
            return ()
        scale = paths.get(version) or {}
        if subresource == "status":
            lists = _list_errors(new, old, schema) if traits[version].keyed else ()
            return [*_status_errors(new, old, schema, scale), *lists]
        return [
            *crd_values.validate(new, schema, crd_values.NEW if old is None else old),
            *crd_schema.scale_errors(new, scale, status_only=False),
            *(_embedded_errors(new, schema) if traits[version].embedded else ()),
            *(_list_errors(new, old, schema) if traits[version].keyed else ()),
        ]

    return errors


def _embedded_errors(new: Object, schema: Schema) -> list[FieldError]:
    return crd_schema.embedded_errors(new, schema, builtin_schemas.object_meta)


def _status_errors(
    new: Object, old: Object | None, schema: Schema, scale: Mapping[str, str]
) -> list[FieldError]:
    """Of a write of the status alone; texts name fields from the status on, as upstream."""
    errors: list[FieldError] = []
    child = schema.properties.get("status")
    if child is not None and "status" in new:
        before = (old or {}).get("status", crd_values.NEW)
        errors += crd_values.validate(new["status"], child, before, base="status")
    return [*errors, *crd_schema.scale_errors(new, scale, status_only=True)]


def _list_errors(new: Object, old: Object | None, schema: Schema) -> list[FieldError]:
    """An object whose lists held something twice before may go on so."""
    errors = crd_schema.list_errors(new, schema)
    return [] if errors and old is not None and crd_schema.list_errors(old, schema) else errors


def _rules(schemas: Mapping[str, Schema], traits: Mapping[str, _Traits]) -> Rules:
    """Compiled for each version when its first object is written."""
    compiled: dict[str, Any] = {}

    async def rules(
        version: str, new: Object, old: Object | None, found: Sequence[FieldError], warnings: list[str]
    ) -> Sequence[FieldError]:
        if version not in traits or not traits[version].rules:
            return ()
        root = compiled.get(version)
        if root is None and version not in compiled:
            from sublet.apiserver import crd_cel

            # A long schema takes its time: another request may compile it as well, to the same end.
            root = await asyncio.to_thread(crd_cel.compile_schema, schemas[version].document)
            compiled[version] = root
        if root is None:
            return ()
        from sublet.apiserver import crd_cel

        return await crd_cel.validate(root, new, old, found, warnings)

    return rules


# -- versions --


def _relabelled(obj: Object, to: Resource) -> Object:
    fresh: Object = codec.decode_json(codec.encode_json(obj))
    fresh["apiVersion"] = to.api_version
    return fresh


def _served(
    served: Resource,
    stored: Resource,
    schema: Schema,
    stored_schema: Schema,
) -> Served:
    default = _defaulting(schema)

    def from_stored(obj: Object) -> Object:
        converted = _relabelled(obj, served)
        strict.prune(converted, schema)
        default(converted)
        return converted

    def to_stored(obj: Object) -> Object:
        default(obj)
        converted = _relabelled(obj, stored)
        strict.prune(converted, stored_schema)
        return converted

    return Served(served, from_stored, to_stored)


def _deprecations(resource: Resource, versions: Sequence[Version]) -> dict[str, str]:
    found: dict[str, str] = {}
    for version in versions:
        if version.get("deprecated"):
            usual = f"{resource.group}/{version['name']} {resource.kind} is deprecated"
            found[version["name"]] = version.get("deprecationWarning") or usual
    return found


def _tables(kind: CustomKind, versions: Sequence[Version]) -> dict[str, Kind]:
    made: dict[str, Kind] = {}
    for version in versions:
        columns, cells = _columns(version)
        made[version["name"]] = Kind(
            kind.resource, kind.singular, columns=columns, cells=cells, selectable=_selectable([version])
        )
    return made


def _columns(version: Version) -> tuple[tuple[Column, ...], Callable[[Object, float], list[Any]]]:
    """What a version's Tables show; the usual columns where one of those stated has no path that can be read."""
    try:
        return table.custom_columns(version.get("additionalPrinterColumns") or ())
    except ValueError:
        return table.custom_columns(())


def _selectable(versions: Sequence[Version]) -> dict[str, Callable[[Object], str]]:
    found: dict[str, Callable[[Object], str]] = {}
    for version in versions:
        for stated in version.get("selectableFields") or ():
            text = str(stated["jsonPath"])
            found[text.removeprefix(".")] = _selected(JSONPath(text))
    return found


def _selected(path: JSONPath) -> Callable[[Object], str]:
    def value(obj: Object) -> str:
        found = path.find(obj)
        if not found or found[0] is None:
            return ""
        if isinstance(found[0], bool):
            return "true" if found[0] else "false"
        return str(found[0])

    return value


# -- subresources --


def _subresources(resource: Resource, versions: Sequence[Version]) -> dict[str, Subresource]:
    found: dict[str, Subresource] = {}
    verbs = ("get", "patch", "update")
    for version in versions:
        stated = version.get("subresources") or {}
        if "status" in stated:
            found["status"] = Subresource("status", resource.kind, verbs)
        if "scale" in stated:
            found["scale"] = Subresource("scale", "Scale", verbs, "autoscaling", "v1")
    return found


def scale_paths(crd: Object, version: str) -> Mapping[str, str]:
    """``specReplicasPath``, ``statusReplicasPath``, ``labelSelectorPath`` of a version; empty where it has no scale."""
    for each in crd["spec"]["versions"]:
        if each["name"] == version:
            found: Mapping[str, str] = (each.get("subresources") or {}).get("scale") or {}
            return found
    return {}
