"""The protobuf form of an OpenAPI document holds what the JSON form says, as an independent reader finds."""

from __future__ import annotations

import json

import pytest
from openapi_reader import BOOL, DOUBLE, INT64, MANY, ONE, STRING, has_unknown, read

from sublet.machinery import openapiproto

# The parts of gnostic's openapi.v2 that the document below uses: message -> (field, number, type or message, label).
GNOSTIC = {
    "Any": [("yaml", 2, STRING, ONE)],
    "NamedAny": [("name", 1, STRING, ONE), ("value", 2, "Any", ONE)],
    "Info": [("title", 1, STRING, ONE), ("version", 2, STRING, ONE)],
    "Document": [
        ("swagger", 1, STRING, ONE),
        ("info", 2, "Info", ONE),
        ("paths", 8, "Paths", ONE),
        ("definitions", 9, "Definitions", ONE),
        ("security", 12, "SecurityRequirement", MANY),
        ("security_definitions", 13, "SecurityDefinitions", ONE),
        ("vendor_extension", 16, "NamedAny", MANY),
    ],
    "Definitions": [("additional_properties", 1, "NamedSchema", MANY)],
    "NamedSchema": [("name", 1, STRING, ONE), ("value", 2, "Schema", ONE)],
    "Properties": [("additional_properties", 1, "NamedSchema", MANY)],
    "TypeItem": [("value", 1, STRING, MANY)],
    "ItemsItem": [("schema", 1, "Schema", MANY)],
    "AdditionalPropertiesItem": [("schema", 1, "Schema", ONE), ("boolean", 2, BOOL, ONE)],
    "Schema": [
        ("_ref", 1, STRING, ONE),
        ("format", 2, STRING, ONE),
        ("description", 4, STRING, ONE),
        ("default", 5, "Any", ONE),
        ("maximum", 7, DOUBLE, ONE),
        ("min_items", 15, INT64, ONE),
        ("required", 19, STRING, MANY),
        ("enum", 20, "Any", MANY),
        ("additional_properties", 21, "AdditionalPropertiesItem", ONE),
        ("type", 22, "TypeItem", ONE),
        ("items", 23, "ItemsItem", ONE),
        ("properties", 25, "Properties", ONE),
        ("vendor_extension", 31, "NamedAny", MANY),
    ],
    "Paths": [("vendor_extension", 1, "NamedAny", MANY), ("path", 2, "NamedPathItem", MANY)],
    "NamedPathItem": [("name", 1, STRING, ONE), ("value", 2, "PathItem", ONE)],
    "PathItem": [("get", 2, "Operation", ONE), ("parameters", 9, "ParametersItem", MANY)],
    "Operation": [
        ("description", 3, STRING, ONE),
        ("operation_id", 5, STRING, ONE),
        ("consumes", 7, STRING, MANY),
        ("parameters", 8, "ParametersItem", MANY),
        ("responses", 9, "Responses", ONE),
        ("vendor_extension", 13, "NamedAny", MANY),
    ],
    "ParametersItem": [("parameter", 1, "Parameter", ONE), ("json_reference", 2, "JsonReference", ONE)],
    "JsonReference": [("_ref", 1, STRING, ONE)],
    "Parameter": [("body_parameter", 1, "BodyParameter", ONE), ("non_body_parameter", 2, "NonBodyParameter", ONE)],
    "BodyParameter": [("name", 2, STRING, ONE), ("in", 3, STRING, ONE), ("required", 4, BOOL, ONE), ("schema", 5, "Schema", ONE)],
    "NonBodyParameter": [("query", 3, "Query", ONE), ("path", 4, "PathParameter", ONE)],
    "Query": [("in", 2, STRING, ONE), ("name", 4, STRING, ONE), ("type", 6, STRING, ONE), ("unique_items", 20, BOOL, ONE)],
    "PathParameter": [("required", 1, BOOL, ONE), ("in", 2, STRING, ONE), ("unique_items", 19, BOOL, ONE), ("name", 4, STRING, ONE), ("type", 5, STRING, ONE)],
    "Responses": [("response_code", 1, "NamedResponseValue", MANY)],
    "NamedResponseValue": [("name", 1, STRING, ONE), ("value", 2, "ResponseValue", ONE)],
    "ResponseValue": [("response", 1, "Response", ONE)],
    "Response": [("description", 1, STRING, ONE), ("schema", 2, "SchemaItem", ONE)],
    "SchemaItem": [("schema", 1, "Schema", ONE)],
    "SecurityRequirement": [("additional_properties", 1, "NamedStringArray", MANY)],
    "NamedStringArray": [("name", 1, STRING, ONE), ("value", 2, "TypeItem", ONE)],
    "SecurityDefinitions": [("additional_properties", 1, "NamedSecurity", MANY)],
    "NamedSecurity": [("name", 1, STRING, ONE), ("value", 2, "SecurityItem", ONE)],
    "SecurityItem": [("api_key_security", 2, "ApiKey", ONE)],
    "ApiKey": [("type", 1, STRING, ONE), ("name", 2, STRING, ONE), ("in", 3, STRING, ONE)],
}  # fmt: skip

KIND = {"x-kubernetes-group-version-kind": [{"group": "", "kind": "Pod", "version": "v1"}]}
DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": "v1.36.0"},
    "paths": {
        "/api/v1/pods/{name}": {
            "get": {
                "description": "read",
                "operationId": "readPod",
                "consumes": ["*/*"],
                "parameters": [
                    {"name": "pretty", "in": "query", "type": "string", "uniqueItems": True},
                    {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pod"}},
                ],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Pod"}}},
                **KIND,
            },
            "parameters": [
                {"name": "name", "in": "path", "required": True, "type": "string", "uniqueItems": True},
                {"$ref": "#/parameters/x"},
            ],
        }
    },
    "definitions": {
        "Pod": {
            "type": "object",
            "description": "a pod",
            "required": ["a"],
            "properties": {
                "a": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "b": {
                    "type": "object",
                    "additionalProperties": {"format": "int32", "type": "integer", "maximum": 9},
                },
                "c": {"type": "string", "default": {"x": 1}, "enum": ["p", "q"]},
                "d": {"additionalProperties": False},
            },
            **KIND,
        }
    },
    "security": [{"BearerToken": []}],
    "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
    "x-top": 1,
}


@pytest.fixture(scope="module")
def document():
    return read(GNOSTIC, openapiproto.encode(DOCUMENT))


def test_nothing_is_sent_under_another_number(document):
    assert not has_unknown(document)


def test_definitions_are_readable(document):
    (named,) = document.definitions.additional_properties
    assert named.name == "Pod" and named.value.description == "a pod" and list(named.value.required) == ["a"]
    properties = {p.name: p.value for p in named.value.properties.additional_properties}
    assert list(properties["a"].type.value) == ["array"] and properties["a"].min_items == 2
    assert list(properties["a"].items.schema[0].type.value) == ["string"]
    assert properties["b"].additional_properties.schema.format == "int32"
    assert properties["b"].additional_properties.schema.maximum == 9
    assert json.loads(properties["c"].default.yaml) == {"x": 1}
    assert [json.loads(e.yaml) for e in properties["c"].enum] == ["p", "q"]
    assert (
        properties["d"].HasField("additional_properties")
        and not properties["d"].additional_properties.boolean
    )


def test_extensions_are_yaml_texts(document):
    (extension,) = document.definitions.additional_properties[0].value.vendor_extension
    assert extension.name == "x-kubernetes-group-version-kind"
    assert json.loads(extension.value.yaml) == KIND["x-kubernetes-group-version-kind"]
    assert document.vendor_extension[0].value.yaml == "1\n"


def test_operations_are_readable(document):
    (path,) = document.paths.path
    get = path.value.get
    assert (
        path.name == "/api/v1/pods/{name}" and get.operation_id == "readPod" and list(get.consumes) == ["*/*"]
    )
    assert get.parameters[0].parameter.non_body_parameter.query.name == "pretty"
    assert get.parameters[0].parameter.non_body_parameter.query.unique_items
    assert get.parameters[1].parameter.body_parameter.schema._ref == "#/definitions/Pod"
    (response,) = get.responses.response_code
    assert response.name == "200" and response.value.response.schema.schema._ref == "#/definitions/Pod"
    assert get.vendor_extension[0].name == "x-kubernetes-group-version-kind"
    first, second = path.value.parameters
    assert first.parameter.non_body_parameter.path.required and second.json_reference._ref == "#/parameters/x"


def test_security_is_readable(document):
    (item,) = document.security_definitions.additional_properties
    assert item.name == "BearerToken" and item.value.api_key_security.name == "authorization"
    assert document.security[0].additional_properties[0].name == "BearerToken"


def test_what_has_no_place_is_refused():
    with pytest.raises(ValueError, match="has no field 'id'"):
        openapiproto.encode({"definitions": {"a": {"id": "x"}}})
    with pytest.raises(ValueError, match="security of type 'oauth2'"):
        openapiproto.encode({"securityDefinitions": {"a": {"type": "oauth2"}}})


def test_what_version_2_cannot_say_is_left_out():
    schema = {"type": "string", "nullable": True, "anyOf": [{"type": "integer"}]}
    (named,) = read(
        GNOSTIC, openapiproto.encode({"definitions": {"a": schema}})
    ).definitions.additional_properties
    assert list(named.value.type.value) == ["string"] and not has_unknown(named)
