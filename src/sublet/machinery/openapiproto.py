"""An OpenAPI v2 document in gnostic's protobuf form, which kubectl up to 1.26 and Helm ask for.

Source: field numbers of the public ``openapi.v2`` messages (gnostic's OpenAPIv2.proto).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.machinery import wire
from sublet.machinery.openapiwriter import (
    Document,
    Fields,
    Special,
    Writer,
    or_reference,
    requirement,
    strings,
    with_extensions,
)

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

_LIMITS = (
    "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern",
    "maxItems", "minItems", "uniqueItems", "enum", "multipleOf",
)  # fmt: skip
_LIMIT_FORMS = {
    "maximum": "double", "exclusiveMaximum": "bool", "minimum": "double", "exclusiveMinimum": "bool",
    "maxLength": "int", "minLength": "int", "pattern": "string", "maxItems": "int", "minItems": "int",
    "uniqueItems": "bool", "enum": "anys", "multipleOf": "double",
}  # fmt: skip


def _primitive(start: int, extension: int) -> Fields:
    """type, format, items, collectionFormat, default and the limits, numbered from ``start``."""
    found: Fields = {
        "type": (start, "string"),
        "format": (start + 1, "string"),
        "items": (start + 2, "PrimitivesItems"),
        "collectionFormat": (start + 3, "string"),
        "default": (start + 4, "any"),
        "x-": (extension, "named any"),
    }
    return found | {name: (start + 5 + i, _LIMIT_FORMS[name]) for i, name in enumerate(_LIMITS)}


_PLACE: Fields = {
    "required": (1, "bool"),
    "in": (2, "string"),
    "description": (3, "string"),
    "name": (4, "string"),
}

_MESSAGES: dict[str, Fields] = {
    "Document": {
        "swagger": (1, "string"), "info": (2, "Info"), "host": (3, "string"), "basePath": (4, "string"),
        "schemes": (5, "strings"), "consumes": (6, "strings"), "produces": (7, "strings"), "paths": (8, "Paths"),
        "definitions": (9, "map Schema"), "parameters": (10, "map Parameter"), "responses": (11, "map Response"),
        "security": (12, "list SecurityRequirement"), "securityDefinitions": (13, "map SecurityDefinition"),
        "tags": (14, "list Tag"), "externalDocs": (15, "ExternalDocs"), "x-": (16, "named any"),
    },
    "Info": {
        "title": (1, "string"), "version": (2, "string"), "description": (3, "string"),
        "termsOfService": (4, "string"), "contact": (5, "Contact"), "license": (6, "License"), "x-": (7, "named any"),
    },
    "Contact": {"name": (1, "string"), "url": (2, "string"), "email": (3, "string"), "x-": (4, "named any")},
    "License": {"name": (1, "string"), "url": (2, "string"), "x-": (3, "named any")},
    "Tag": {
        "name": (1, "string"), "description": (2, "string"), "externalDocs": (3, "ExternalDocs"), "x-": (4, "named any"),
    },
    "ExternalDocs": {"description": (1, "string"), "url": (2, "string"), "x-": (3, "named any")},
    "PathItem": {
        "$ref": (1, "string"), "get": (2, "Operation"), "put": (3, "Operation"), "post": (4, "Operation"),
        "delete": (5, "Operation"), "options": (6, "Operation"), "head": (7, "Operation"), "patch": (8, "Operation"),
        "parameters": (9, "list ParametersItem"), "x-": (10, "named any"),
    },
    "Operation": {
        "tags": (1, "strings"), "summary": (2, "string"), "description": (3, "string"),
        "externalDocs": (4, "ExternalDocs"), "operationId": (5, "string"), "produces": (6, "strings"),
        "consumes": (7, "strings"), "parameters": (8, "list ParametersItem"), "responses": (9, "Responses"),
        "schemes": (10, "strings"), "deprecated": (11, "bool"), "security": (12, "list SecurityRequirement"),
        "x-": (13, "named any"),
    },
    "BodyParameter": {
        "description": (1, "string"), "name": (2, "string"), "in": (3, "string"), "required": (4, "bool"),
        "schema": (5, "Schema"), "x-": (6, "named any"),
    },
    "header": _PLACE | _primitive(5, 22),
    "path": _PLACE | _primitive(5, 22),
    "formData": _PLACE | {"allowEmptyValue": (5, "bool")} | _primitive(6, 23),
    "query": _PLACE | {"allowEmptyValue": (5, "bool")} | _primitive(6, 23),
    "PrimitivesItems": _primitive(1, 18),
    "Header": _primitive(1, 19) | {"description": (18, "string")},
    "JsonReference": {"$ref": (1, "string"), "description": (2, "string")},
    "Response": {
        "description": (1, "string"), "schema": (2, "SchemaItem"), "headers": (3, "map Header"),
        "examples": (4, "map any"), "x-": (5, "named any"),
    },
    "SchemaItem": {},
    "Schema": {
        "$ref": (1, "string"), "format": (2, "string"), "title": (3, "string"), "description": (4, "string"),
        "default": (5, "any"), "multipleOf": (6, "double"), "maximum": (7, "double"), "exclusiveMaximum": (8, "bool"),
        "minimum": (9, "double"), "exclusiveMinimum": (10, "bool"), "maxLength": (11, "int"), "minLength": (12, "int"),
        "pattern": (13, "string"), "maxItems": (14, "int"), "minItems": (15, "int"), "uniqueItems": (16, "bool"),
        "maxProperties": (17, "int"), "minProperties": (18, "int"), "required": (19, "strings"), "enum": (20, "anys"),
        "additionalProperties": (21, "AdditionalProperties"), "type": (22, "TypeItem"), "items": (23, "ItemsItem"),
        "allOf": (24, "list Schema"), "properties": (25, "map Schema"), "discriminator": (26, "string"),
        "readOnly": (27, "bool"), "externalDocs": (29, "ExternalDocs"), "example": (30, "any"), "x-": (31, "named any"),
    },
    "basic": {"type": (1, "string"), "description": (2, "string"), "x-": (3, "named any")},
    "apiKey": {
        "type": (1, "string"), "name": (2, "string"), "in": (3, "string"), "description": (4, "string"),
        "x-": (5, "named any"),
    },
}  # fmt: skip

_BEYOND_V2 = frozenset(("oneOf", "anyOf", "not", "nullable"))
"""What schemas of custom resources may say and OpenAPI v2 cannot: left out, as upstream does."""

_PARAMETER_PLACES = {"header": 1, "formData": 2, "query": 3, "path": 4}
_SECURITY_TYPES = {"basic": 1, "apiKey": 2}


def encode(document: Document) -> bytes:
    """The bytes of an ``openapi.v2.Document``. Long work for a whole API: run it off the loop.

    Raises ``ValueError`` for what Kubernetes' documents never hold (XML, files, OAuth).
    """
    return _WRITER.message("Document", document)


def encode_definition(schema: Document) -> bytes:
    """The bytes of an ``openapi.v2.Schema``."""
    return _WRITER.message("Schema", schema)


def _parameter(writer: Writer, value: Document) -> bytes:
    if value.get("in") == "body":
        return wire.bytes_field(1, writer.message("BodyParameter", value))
    place = value.get("in", "")
    if place not in _PARAMETER_PLACES:
        raise ValueError(f"OpenAPI: a parameter cannot be in {place!r}")
    return wire.bytes_field(2, wire.bytes_field(_PARAMETER_PLACES[place], writer.message(place, value)))


def _additional(writer: Writer, value: Any) -> bytes:
    if isinstance(value, bool):
        return wire.varint_field(2, int(value))
    return wire.bytes_field(1, writer.message("Schema", value))


def _items(writer: Writer, value: Any) -> bytes:
    schemas: Sequence[Any] = value if isinstance(value, list) else [value]
    return b"".join(wire.bytes_field(1, writer.message("Schema", schema)) for schema in schemas)


def _security(writer: Writer, value: Document) -> bytes:
    kind = value.get("type", "")
    if kind not in _SECURITY_TYPES:
        raise ValueError(f"OpenAPI: security of type {kind!r} has no place in this document")
    return wire.bytes_field(_SECURITY_TYPES[kind], writer.message(kind, value))


_SPECIAL: dict[str, Special] = {
    "Paths": with_extensions(2, 1, "PathItem"),
    "Responses": with_extensions(1, 2, "ResponseValue"),
    "ResponseValue": or_reference("Response", "JsonReference"),
    "ParametersItem": or_reference("Parameter", "JsonReference"),
    "Parameter": _parameter,
    "SchemaItem": lambda writer, value: wire.bytes_field(1, writer.message("Schema", value)),
    "AdditionalProperties": _additional,
    "ItemsItem": _items,
    "TypeItem": strings,
    "SecurityDefinition": _security,
    "SecurityRequirement": requirement,
}
_WRITER = Writer(_MESSAGES, _SPECIAL, {"Schema": _BEYOND_V2})
