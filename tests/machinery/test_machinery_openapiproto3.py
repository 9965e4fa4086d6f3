"""The protobuf form of an OpenAPI v3 document holds what the JSON form says, as an independent reader finds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_reader import BOOL, DOUBLE, INT64, MANY, ONE, STRING, has_unknown, read

from sublet.machinery import openapiproto3

# The parts of gnostic's openapi.v3 that Kubernetes' documents use.
GNOSTIC = {
    "Any": [("yaml", 2, STRING, ONE)],
    "NamedAny": [("name", 1, STRING, ONE), ("value", 2, "Any", ONE)],
    "Info": [("title", 1, STRING, ONE), ("version", 6, STRING, ONE)],
    "Document": [
        ("openapi", 1, STRING, ONE),
        ("info", 2, "Info", ONE),
        ("paths", 4, "Paths", ONE),
        ("components", 5, "Components", ONE),
        ("security", 6, "SecurityRequirement", MANY),
    ],
    "Paths": [("path", 1, "NamedPathItem", MANY)],
    "NamedPathItem": [("name", 1, STRING, ONE), ("value", 2, "PathItem", ONE)],
    "PathItem": [
        ("get", 4, "Operation", ONE), ("put", 5, "Operation", ONE), ("post", 6, "Operation", ONE),
        ("delete", 7, "Operation", ONE), ("options", 8, "Operation", ONE), ("head", 9, "Operation", ONE),
        ("patch", 10, "Operation", ONE), ("parameters", 13, "ParameterOrReference", MANY),
    ],
    "Operation": [
        ("tags", 1, STRING, MANY),
        ("description", 3, STRING, ONE),
        ("operation_id", 5, STRING, ONE),
        ("parameters", 6, "ParameterOrReference", MANY),
        ("request_body", 7, "RequestBodyOrReference", ONE),
        ("responses", 8, "Responses", ONE),
        ("specification_extension", 13, "NamedAny", MANY),
    ],
    "ParameterOrReference": [("parameter", 1, "Parameter", ONE), ("reference", 2, "Reference", ONE)],
    "Reference": [("_ref", 1, STRING, ONE)],
    "Parameter": [
        ("name", 1, STRING, ONE), ("in", 2, STRING, ONE), ("description", 3, STRING, ONE), ("required", 4, BOOL, ONE),
        ("schema", 10, "SchemaOrReference", ONE),
    ],
    "RequestBodyOrReference": [("request_body", 1, "RequestBody", ONE)],
    "RequestBody": [("description", 1, STRING, ONE), ("content", 2, "MediaTypes", ONE), ("required", 3, BOOL, ONE)],
    "MediaTypes": [("additional_properties", 1, "NamedMediaType", MANY)],
    "NamedMediaType": [("name", 1, STRING, ONE), ("value", 2, "MediaType", ONE)],
    "MediaType": [("schema", 1, "SchemaOrReference", ONE)],
    "Responses": [("default", 1, "ResponseOrReference", ONE), ("response_or_reference", 2, "NamedResponse", MANY)],
    "NamedResponse": [("name", 1, STRING, ONE), ("value", 2, "ResponseOrReference", ONE)],
    "ResponseOrReference": [("response", 1, "Response", ONE)],
    "Response": [("description", 1, STRING, ONE), ("content", 3, "MediaTypes", ONE)],
    "Components": [("schemas", 1, "Schemas", ONE), ("security_schemes", 7, "SecuritySchemes", ONE)],
    "Schemas": [("additional_properties", 1, "NamedSchema", MANY)],
    "NamedSchema": [("name", 1, STRING, ONE), ("value", 2, "SchemaOrReference", ONE)],
    "SchemaOrReference": [("schema", 1, "Schema", ONE), ("reference", 2, "Reference", ONE)],
    "Schema": [
        ("nullable", 1, BOOL, ONE),
        ("maximum", 11, DOUBLE, ONE),
        ("minimum", 13, DOUBLE, ONE),
        ("max_length", 15, INT64, ONE),
        ("unique_items", 20, BOOL, ONE),
        ("required", 23, STRING, MANY),
        ("enum", 24, "Any", MANY),
        ("type", 25, STRING, ONE),
        ("all_of", 26, "SchemaOrReference", MANY),
        ("one_of", 27, "SchemaOrReference", MANY),
        ("any_of", 28, "SchemaOrReference", MANY),
        ("not", 29, "Schema", ONE),
        ("items", 30, "ItemsItem", ONE),
        ("properties", 31, "Schemas", ONE),
        ("additional_properties", 32, "AdditionalPropertiesItem", ONE),
        ("default", 33, "DefaultType", ONE),
        ("description", 34, STRING, ONE),
        ("format", 35, STRING, ONE),
        ("specification_extension", 36, "NamedAny", MANY),
    ],
    "ItemsItem": [("schema_or_reference", 1, "SchemaOrReference", MANY)],
    "AdditionalPropertiesItem": [("schema_or_reference", 1, "SchemaOrReference", ONE), ("boolean", 2, BOOL, ONE)],
    "DefaultType": [("number", 1, DOUBLE, ONE), ("boolean", 2, BOOL, ONE), ("string", 3, STRING, ONE)],
    "SecuritySchemes": [("additional_properties", 1, "NamedSecurityScheme", MANY)],
    "NamedSecurityScheme": [("name", 1, STRING, ONE), ("value", 2, "SecuritySchemeOrReference", ONE)],
    "SecuritySchemeOrReference": [("security_scheme", 1, "SecurityScheme", ONE)],
    "SecurityScheme": [
        ("type", 1, STRING, ONE), ("description", 2, STRING, ONE), ("name", 3, STRING, ONE), ("in", 4, STRING, ONE),
    ],
    "SecurityRequirement": [("additional_properties", 1, "NamedStringArray", MANY)],
    "NamedStringArray": [("name", 1, STRING, ONE), ("value", 2, "StringArray", ONE)],
    "StringArray": [("value", 1, STRING, MANY)],
}  # fmt: skip


def schema(document: Any) -> Any:
    made = openapiproto3.encode({"openapi": "3.0.0", "components": {"schemas": {"a": document}}})
    found = read(GNOSTIC, made)
    assert not has_unknown(found)
    return found.components.schemas.additional_properties[0].value


def test_a_document_is_readable() -> None:
    pod = {"$ref": "#/components/schemas/Pod"}
    operation = {
        "tags": ["core_v1"],
        "description": "create",
        "operationId": "createPod",
        "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": True}}],
        "requestBody": {"content": {"*/*": {"schema": pod}}, "required": True},
        "responses": {"201": {"description": "Created", "content": {"application/json": {"schema": pod}}}},
        "x-kubernetes-action": "post",
    }
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": {"/api/v1/pods": {"post": operation, "parameters": [{"$ref": "#/components/parameters/x"}]}},
        "components": {
            "schemas": {"Pod": {"type": "object"}},
            "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        },
        "security": [{"BearerToken": []}],
    }
    found = read(GNOSTIC, openapiproto3.encode(document))
    assert not has_unknown(found)
    assert (found.openapi, found.info.version) == ("3.0.0", "v1.36.2")
    (path,) = found.paths.path
    post = path.value.post
    assert (path.name, post.operation_id, list(post.tags)) == ("/api/v1/pods", "createPod", ["core_v1"])
    assert post.parameters[0].parameter.schema.schema.unique_items
    (body,) = post.request_body.request_body.content.additional_properties
    assert (body.name, body.value.schema.reference._ref) == ("*/*", pod["$ref"])
    (answer,) = post.responses.response_or_reference
    assert answer.name == "201" and answer.value.response.description == "Created"
    assert json.loads(post.specification_extension[0].value.yaml) == "post"
    assert path.value.parameters[0].reference._ref == "#/components/parameters/x"
    (scheme,) = found.components.security_schemes.additional_properties
    assert scheme.value.security_scheme.name == "authorization"
    assert found.security[0].additional_properties[0].name == "BearerToken"


def test_schemas_say_all_that_version_3_can() -> None:
    found = schema(
        {
            "type": "object",
            "description": "d",
            "required": ["a"],
            "properties": {
                "a": {"allOf": [{"$ref": "#/components/schemas/b"}], "default": {}},
                "b": {"oneOf": [{"type": "integer"}, {"type": "string"}], "nullable": True},
                "c": {"type": "array", "items": {"type": "string", "maxLength": 3}},
                "d": {"not": {"anyOf": [{"minimum": 1.5}]}},
            },
            "additionalProperties": False,
            "x-kubernetes-map-type": "atomic",
        }
    ).schema
    properties = {each.name: each.value.schema for each in found.properties.additional_properties}
    assert properties["a"].all_of[0].reference._ref == "#/components/schemas/b"
    assert [each.schema.type for each in properties["b"].one_of] == ["integer", "string"]
    assert properties["b"].nullable
    assert properties["c"].items.schema_or_reference[0].schema.max_length == 3
    assert getattr(properties["d"], "not").any_of[0].schema.minimum == 1.5
    assert found.HasField("additional_properties") and not found.additional_properties.boolean
    assert found.specification_extension[0].name == "x-kubernetes-map-type"


@pytest.mark.parametrize(
    ("default", "field", "value"),
    [("TCP", "string", "TCP"), (0, "number", 0), (1.5, "number", 1.5), (True, "boolean", True), (False, "boolean", False)],
)  # fmt: skip
def test_scalar_defaults_keep_their_type(default: Any, field: str, value: Any) -> None:
    assert getattr(schema({"default": default}).schema.default, field) == value


def test_a_default_of_another_type_is_there_without_a_value() -> None:
    found = schema({"type": "object", "default": {}}).schema
    assert found.HasField("default") and found.default.ListFields() == []


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(ValueError, match="has no field 'servers'"):
        openapiproto3.encode({"servers": []})
