"""From a CustomResourceDefinition to the Kind that serves its objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sublet.apiserver import crd_schema, crd_values, objectmeta
from sublet.apiserver.celmetrics import CelMetrics
from sublet.apiserver.conversion import Converter, CustomKind, Errors, Rules
from sublet.apiserver.crd_definition import Definition, PerVersion, Stated
from sublet.kinds import schemas as builtin_schemas
from sublet.machinery import codec, strict, table
from sublet.machinery.gotext import settle_numbers
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


def build(
    definition: Definition, minor: str, converter: Converter | None = None, metrics: CelMetrics | None = None
) -> CustomKind:
    """The kind, stored in the definition's storage version.

    ``minor`` says which Kubernetes' ObjectMeta its objects have, ``converter`` who converts between its versions
    where a webhook does, ``metrics`` who is told how long its rules take.
    """
    crd, stated = definition.object, definition.schemas
    spec = crd["spec"]
    versions: Sequence[Version] = spec["versions"]
    storage = next(v for v in versions if v.get("storage"))
    stored = stated[storage["name"]]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    typed = PerVersion(stated, lambda version: _with_metadata(stated[version], minor))
    resource = _resource(spec, storage["name"])
    default = _defaulting(stored)
    columns, cells = _columns(storage)
    kind = CustomKind(
        resource,
        singular=names.get("singular") or resource.kind.lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=_subresources(resource, versions),
        subresources_of={v["name"]: _subresources(resource, [v]) for v in versions},
        also_served=tuple(
            _served(_resource(spec, v["name"]), resource, stated[v["name"]], stored)
            for v in versions
            if v is not storage
        ),
        schema=lambda _minor: typed[storage["name"]],
        default=default,
        reset={"": ("status",)},
        only={"status": ("status",)},
        unconditional_update=False,
        generation=True,
        canonicalize=settle_numbers,
        columns=columns,
        cells=cells,
        selectable=_selectable(versions),
        storage_tag=f"{storage['name']} {stored.digest}",
        schemas=typed,
        stated=lambda version: stated[version].document,
        digests=definition.digests,
        selectable_paths={v["name"]: tuple(_selectable([v])) for v in versions},
        errors=_validation(stated, versions),
        rules=_rules(stated, metrics or CelMetrics()),
        renew=_renewing(stored, default),
        stated_list_kind=names.get("listKind") or "",
        converter=converter,
        pruning={name: _pruning(each) for name, each in stated.items()},
        finishing={name: _renewing(each, _defaulting(each)) for name, each in stated.items()},
        terminating=bool(crd["metadata"].get("deletionTimestamp")),
        deprecations=_deprecations(resource, versions),
        warnings=objectmeta.finalizer_warnings,
    )
    return replace(kind, tables=_tables(kind, versions))


def _resource(spec: Mapping[str, Any], version: str) -> Resource:
    names = spec["names"]
    return Resource(spec["group"], version, names["plural"], names["kind"], spec["scope"] == "Namespaced")


def _with_metadata(stated: Stated, minor: str) -> Schema:
    """The schema with the parts that every object has, as merging and field management need it."""
    config_map = builtin_schemas.definition(minor, "", "v1", "ConfigMap")
    if config_map is None:
        raise LookupError(f"there is no ConfigMap in the schemas of Kubernetes {minor}")
    parts = {name: config_map.document["properties"][name] for name in _FIXED}
    document = stated.schema.document
    if stated.embedded:
        document = _with_parts(document, parts)
    return Schema(
        {**document, "properties": {**document.get("properties", {}), **parts}}, config_map.definitions
    )


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


def _defaulting(stated: Stated) -> Callable[[Object], None]:
    def default(obj: Object) -> None:
        kept = {key: obj.pop(key) for key in _FIXED if key in obj}
        crd_schema.default(obj, stated.schema)
        for key in _FIXED:
            obj.pop(key, None)
        rest = dict(obj)
        obj.clear()
        obj.update(kept)
        obj.update(rest)

    return default


def _pruning(stated: Stated) -> Callable[[Object], None]:
    def prune(obj: Object) -> None:
        strict.prune(obj, stated.schema)

    return prune


def _renewing(stated: Stated, default: Callable[[Object], None]) -> Callable[[Object], None]:
    def renew(obj: Object) -> None:
        strict.prune(obj, stated.schema)
        default(obj)

    return renew


def _validation(stated: Mapping[str, Stated], versions: Sequence[Version]) -> Errors:
    paths = {v["name"]: (v.get("subresources") or {}).get("scale") or {} for v in versions}

    def errors(version: str, new: Object, old: Object | None, subresource: str) -> Sequence[FieldError]:
        found = stated.get(version)
        if found is None:
            return ()
        schema, scale = found.schema, paths.get(version) or {}
        if subresource == "status":
            lists = _list_errors(new, old, schema) if found.keyed else ()
            return [*_status_errors(new, old, schema, scale), *lists]
        return [
            *crd_values.validate(new, schema, crd_values.NEW if old is None else old),
            *crd_schema.scale_errors(new, scale, status_only=False),
            *(_embedded_errors(new, schema) if found.embedded else ()),
            *(_list_errors(new, old, schema) if found.keyed else ()),
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


def _rules(stated: Mapping[str, Stated], metrics: CelMetrics) -> Rules:
    """Compiled for each version when its first object is written."""
    compiled: dict[str, Any] = {}

    async def rules(
        version: str, new: Object, old: Object | None, found: Sequence[FieldError], warnings: list[str]
    ) -> Sequence[FieldError]:
        if version not in stated or not stated[version].rules:
            return ()
        root = compiled.get(version)
        if root is None and version not in compiled:
            from sublet.apiserver import crd_cel

            # A long schema takes its time: another request may compile it as well, to the same end.
            with metrics.timed(metrics.compilation):
                root = await asyncio.to_thread(crd_cel.compile_schema, stated[version].schema.document)
            compiled[version] = root
        if root is None:
            return ()
        from sublet.apiserver import crd_cel

        with metrics.timed(metrics.evaluation):
            return await crd_cel.validate(root, new, old, found, warnings)

    return rules


# -- versions --


def _relabelled(obj: Object, to: Resource) -> Object:
    fresh: Object = codec.decode_json(codec.encode_json(obj))
    fresh["apiVersion"] = to.api_version
    return fresh


def _served(served: Resource, stored: Resource, stated: Stated, stated_stored: Stated) -> Served:
    default = _defaulting(stated)

    def from_stored(obj: Object) -> Object:
        converted = _relabelled(obj, served)
        strict.prune(converted, stated.schema)  # reading defaults in the stored version alone
        return converted

    def to_stored(obj: Object) -> Object:
        default(obj)
        converted = _relabelled(obj, stored)
        strict.prune(converted, stated_stored.schema)
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
