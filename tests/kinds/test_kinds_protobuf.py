"""Every field of every built-in kind survives JSON -> protobuf -> JSON, zeros and absences included."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import goprotobuf
from sublet.kinds import catalog, protobuf, schemas
from sublet.machinery import strict, zeros
from sublet.machinery.kind import Object, Resource
from sublet.machinery.protobuf import Codec
from sublet.machinery.schema import Schema

RESOURCES = sorted(
    (served for kind in catalog.load().values() for served in kind.served()),
    key=lambda r: (r.group, r.plural, r.version),
)
CRD_SCHEMAS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_SCHEMA_LEAVES = {"type": "object", "description": "text", "x-kubernetes-preserve-unknown-fields": False}
Choose = Callable[[], bool]


def schema_of(resource: Resource) -> Schema:
    found = schemas.definition("1.36", resource.group, resource.version, resource.kind)
    assert found is not None
    return found


def value_of(schema: Schema, present: Choose, zero: Choose, above: tuple[str, ...] = ()) -> Any:
    """A value of a schema. ``present`` decides on each field of an object, ``zero`` on each scalar; None: no value."""
    if schema.name in above:
        return None  # schemas of schemas have no end
    if schema.name.endswith(".FieldsV1"):
        return {"f:spec": {"f:a": {}}}
    if schema.name == CRD_SCHEMAS:
        return _SCHEMA_LEAVES | {"properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    above = (*above, schema.name) if schema.name else above
    if schema.type == "array":
        assert schema.items is not None
        item = value_of(schema.items, present, zero, above)
        return None if item is None else [item, item]
    if schema.type == "object" and schema.properties:
        made = {k: value_of(c, present, zero, above) for k, c in schema.properties.items() if present()}
        return {key: value for key, value in made.items() if value is not None}
    if schema.type == "object" and schema.additional is not None:
        item = value_of(schema.additional, present, zero, above)
        return None if item is None else {"k": item, "": item}
    return scalar_of(schema, zero())


def scalar_of(schema: Schema, zero: bool) -> Any:
    if schema.name.endswith(".Quantity"):
        return "0" if zero else "100m"
    if schema.int_or_string:
        return 0 if zero else "25%"
    if schema.format == "date-time":
        return "2026-01-02T03:04:05.000006Z" if schema.name.endswith("MicroTime") else "2026-01-02T03:04:05Z"
    if schema.format == "byte":
        return "" if zero else "aGk="
    values: dict[str, tuple[Any, Any]] = {
        "string": ("", "text"), "integer": (0, 7), "number": (0, 1.5), "boolean": (False, True), "object": ({}, {}),
    }  # fmt: skip
    return values.get(schema.type, (1, {"a": [1, None]}))[0 if zero else 1]


def decoded(obj: Object, schema: Schema) -> Object:
    """As the API server takes it in."""
    result = strict.check(obj, schema)
    assert (result.errors, result.unknown) == ([], [])
    return obj


def made(resource: Resource, present: Choose, zero: Choose) -> Object:
    schema = schema_of(resource)
    obj: Object = value_of(schema, present, zero) | {
        "apiVersion": resource.api_version, "kind": resource.kind,
    }  # fmt: skip
    for template in (obj.get("spec") or {}).get("volumeClaimTemplates") or ():
        # Their type is no part of the protobuf form: defaults state it.
        template.pop("apiVersion", None), template.pop("kind", None)
    return decoded(obj, schema)


def survives(resource: Resource, obj: Object, writer: Codec) -> None:
    encoded = writer.encode_object(obj)
    assert decoded(protobuf.wire_codec().decode_object(encoded), schema_of(resource)) == obj


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.api_version}.{r.kind}")
def test_an_object_with_every_field_set_survives(resource: Resource) -> None:
    obj = made(resource, lambda: True, lambda: False)
    assert set(obj) == set(schema_of(resource).properties)
    survives(resource, obj, protobuf.codec())


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r.api_version}.{r.kind}")
def test_an_object_of_zeros_survives(resource: Resource) -> None:
    survives(resource, made(resource, lambda: True, lambda: True), protobuf.codec())


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(RESOURCES), st.integers(0, 2**32), st.sampled_from([0.3, 0.6, 0.9]))
def test_any_object_survives_also_as_go_writes_it(resource: Resource, seed: int, share: float) -> None:
    rng = random.Random(seed)
    obj = made(resource, lambda: rng.random() < share, lambda: rng.random() < 0.5)
    survives(resource, copy.deepcopy(obj), protobuf.codec())
    written = goprotobuf.encode(obj)
    read = decoded(protobuf.wire_codec().decode_object(written), schema_of(resource))
    assert without_required_zeros(read, schema_of(resource)) == without_required_zeros(
        obj, schema_of(resource)
    )


def without_required_zeros(value: Any, schema: Schema | None) -> Any:
    """Go writes what is required even where it was never set; nothing else may differ."""
    if isinstance(value, list):
        return [without_required_zeros(item, schema and schema.items) for item in value]
    if not isinstance(value, dict) or schema is None or not (schema.properties or schema.additional):
        return value
    return {
        key: without_required_zeros(child, schema.child(key))
        for key, child in value.items()
        if child not in ("", 0, False) or not (key in schema.required or zeros.is_written(schema.name, key))
    }
