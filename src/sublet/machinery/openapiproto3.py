"""An OpenAPI v3 document in gnostic's protobuf form, which Go clients may ask for instead of JSON.

Source: field numbers of the public ``openapi.v3`` messages (gnostic's OpenAPIv3.proto).
"""

from __future__ import annotations

from typing import Any

from sublet.machinery import wire
from sublet.machinery.openapiwriter import (
    Document,
    Fields,
    Special,
    Writer,
    or_reference,
    requirement,
    with_extensions,
)

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"

_MESSAGES: dict[str, Fields] = {
    "Document": {
        "openapi": (1, "string"), "info": (2, "Info"), "paths": (4, "Paths"), "components": (5, "Components"),
        "security": (6, "list SecurityRequirement"), "tags": (7, "list Tag"), "externalDocs": (8, "ExternalDocs"),
        "x-": (9, "named any"),
    },
    "Info": {
        "title": (1, "string"), "description": (2, "string"), "termsOfService": (3, "string"), "contact": (4, "Contact"),
        "license": (5, "License"), "version": (6, "string"), "x-": (7, "named any"), "summary": (8, "string"),
    },
    "Contact": {"name": (1, "string"), "url": (2, "string"), "email": (3, "string"), "x-": (4, "named any")},
    "License": {"name": (1, "string"), "url": (2, "string"), "x-": (3, "named any")},
    "Tag": {
        "name": (1, "string"), "description": (2, "string"), "externalDocs": (3, "ExternalDocs"), "x-": (4, "named any"),
    },
    "ExternalDocs": {"description": (1, "string"), "url": (2, "string"), "x-": (3, "named any")},
    "Reference": {"$ref": (1, "string"), "summary": (2, "string"), "description": (3, "string")},
    "PathItem": {
        "$ref": (1, "string"), "summary": (2, "string"), "description": (3, "string"), "get": (4, "Operation"),
        "put": (5, "Operation"), "post": (6, "Operation"), "delete": (7, "Operation"), "options": (8, "Operation"),
        "head": (9, "Operation"), "patch": (10, "Operation"), "trace": (11, "Operation"),
        "parameters": (13, "list ParameterOrReference"), "x-": (14, "named any"),
    },
    "Operation": {
        "tags": (1, "strings"), "summary": (2, "string"), "description": (3, "string"),
        "externalDocs": (4, "ExternalDocs"), "operationId": (5, "string"),
        "parameters": (6, "list ParameterOrReference"), "requestBody": (7, "RequestBodyOrReference"),
        "responses": (8, "Responses"), "deprecated": (10, "bool"), "security": (11, "list SecurityRequirement"),
        "x-": (13, "named any"),
    },
    "Parameter": {
        "name": (1, "string"), "in": (2, "string"), "description": (3, "string"), "required": (4, "bool"),
        "deprecated": (5, "bool"), "allowEmptyValue": (6, "bool"), "style": (7, "string"), "explode": (8, "bool"),
        "allowReserved": (9, "bool"), "schema": (10, "SchemaOrReference"), "example": (11, "any"),
        "content": (13, "map MediaType"), "x-": (14, "named any"),
    },
    "RequestBody": {
        "description": (1, "string"), "content": (2, "map MediaType"), "required": (3, "bool"), "x-": (4, "named any"),
    },
    "Response": {"description": (1, "string"), "content": (3, "map MediaType"), "x-": (5, "named any")},
    "MediaType": {"schema": (1, "SchemaOrReference"), "example": (2, "any"), "x-": (5, "named any")},
    "Components": {
        "schemas": (1, "map SchemaOrReference"), "parameters": (3, "map ParameterOrReference"),
        "securitySchemes": (7, "map SecuritySchemeOrReference"), "x-": (10, "named any"),
    },
    "SecurityScheme": {
        "type": (1, "string"), "description": (2, "string"), "name": (3, "string"), "in": (4, "string"),
        "scheme": (5, "string"), "bearerFormat": (6, "string"), "openIdConnectUrl": (8, "string"), "x-": (9, "named any"),
    },
    "Schema": {
        "nullable": (1, "bool"), "readOnly": (3, "bool"), "writeOnly": (4, "bool"), "externalDocs": (6, "ExternalDocs"),
        "example": (7, "any"), "deprecated": (8, "bool"), "title": (9, "string"), "multipleOf": (10, "double"),
        "maximum": (11, "double"), "exclusiveMaximum": (12, "bool"), "minimum": (13, "double"),
        "exclusiveMinimum": (14, "bool"), "maxLength": (15, "int"), "minLength": (16, "int"), "pattern": (17, "string"),
        "maxItems": (18, "int"), "minItems": (19, "int"), "uniqueItems": (20, "bool"), "maxProperties": (21, "int"),
        "minProperties": (22, "int"), "required": (23, "strings"), "enum": (24, "anys"), "type": (25, "string"),
        "allOf": (26, "list SchemaOrReference"), "oneOf": (27, "list SchemaOrReference"),
        "anyOf": (28, "list SchemaOrReference"), "not": (29, "Schema"), "items": (30, "ItemsItem"),
        "properties": (31, "map SchemaOrReference"), "additionalProperties": (32, "AdditionalProperties"),
        "default": (33, "Default"), "description": (34, "string"), "format": (35, "string"), "x-": (36, "named any"),
    },
}  # fmt: skip


def encode(document: Document) -> bytes:
    """The bytes of an ``openapi.v3.Document``. Long work for a large group: run it off the loop.

    Raises ``ValueError`` for what Kubernetes' documents never hold (servers, links, callbacks, OAuth).
    """
    return _WRITER.message("Document", document)


def _additional(writer: Writer, value: Any) -> bytes:
    if isinstance(value, bool):
        return wire.varint_field(2, int(value))
    return wire.bytes_field(1, writer.message("SchemaOrReference", value))


def _default(_writer: Writer, value: Any) -> bytes:
    """A number, a truth value or a text; the form has no place for other defaults, and an empty message says so."""
    if isinstance(value, bool):
        return wire.varint_field(2, int(value))
    if isinstance(value, (int, float)):
        return wire.tag(1, wire.FIXED64) + wire.double(float(value))
    return wire.string_field(3, value) if isinstance(value, str) else b""


def _responses(writer: Writer, value: Document) -> bytes:
    codes = {code: answer for code, answer in value.items() if code != "default"}
    head = b""
    if "default" in value:
        head = wire.bytes_field(1, writer.message("ResponseOrReference", value["default"]))
    return head + with_extensions(2, 3, "ResponseOrReference")(writer, codes)


_SPECIAL: dict[str, Special] = {
    "Paths": with_extensions(1, 2, "PathItem"),
    "Responses": _responses,
    "ResponseOrReference": or_reference("Response", "Reference"),
    "ParameterOrReference": or_reference("Parameter", "Reference"),
    "RequestBodyOrReference": or_reference("RequestBody", "Reference"),
    "SchemaOrReference": or_reference("Schema", "Reference"),
    "SecuritySchemeOrReference": or_reference("SecurityScheme", "Reference"),
    "AdditionalProperties": _additional,
    "Default": _default,
    "ItemsItem": lambda writer, value: wire.bytes_field(1, writer.message("SchemaOrReference", value)),
    "SecurityRequirement": requirement,
}
_WRITER = Writer(_MESSAGES, _SPECIAL, {})
