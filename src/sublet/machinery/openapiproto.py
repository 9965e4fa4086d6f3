"""An OpenAPI v2 document in gnostic's protobuf form, which kubectl up to 1.26 and Helm ask for.

Source: field numbers of the public ``openapi.v2`` messages (gnostic's OpenAPIv2.proto).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sublet.machinery import wire
from sublet.machinery.codec import encode_json

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

Document = Mapping[str, Any]
_Fields = dict[str, tuple[int, str]]

# JSON key -> (field number, how its value is written); extensions (x-…) go to the field "x-".
_LIMITS = (
    "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern",
    "maxItems", "minItems", "uniqueItems", "enum", "multipleOf",
)  # fmt: skip
_LIMIT_FORMS = {
    "maximum": "double", "exclusiveMaximum": "bool", "minimum": "double", "exclusiveMinimum": "bool",
    "maxLength": "int", "minLength": "int", "pattern": "string", "maxItems": "int", "minItems": "int",
    "uniqueItems": "bool", "enum": "anys", "multipleOf": "double",
}  # fmt: skip


def _primitive(start: int, extension: int) -> _Fields:
    """type, format, items, collectionFormat, default and the limits, numbered from ``start``."""
    found: _Fields = {
        "type": (start, "string"),
        "format": (start + 1, "string"),
        "items": (start + 2, "PrimitivesItems"),
        "collectionFormat": (start + 3, "string"),
        "default": (start + 4, "any"),
        "x-": (extension, "named any"),
    }
    return found | {name: (start + 5 + i, _LIMIT_FORMS[name]) for i, name in enumerate(_LIMITS)}


_PLACE: _Fields = {
    "required": (1, "bool"),
    "in": (2, "string"),
    "description": (3, "string"),
    "name": (4, "string"),
}

_MESSAGES: dict[str, _Fields] = {
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
    return _message("Document", document)


def _message(name: str, value: Document) -> bytes:
    special = _SPECIAL.get(name)
    if special is not None:
        return special(value)
    fields = _MESSAGES[name]
    parts: list[bytes] = []
    for key, child in value.items():
        found = fields.get(key)
        if found is None:
            if name == "Schema" and key in _BEYOND_V2:
                continue
            if not key.startswith("x-") or "x-" not in fields:
                raise ValueError(f"OpenAPI: {name} has no field {key!r} in protobuf")
            parts.append(wire.bytes_field(fields["x-"][0], _named(key, _any(child))))
        elif child is not None:
            parts.append(_field(found[0], found[1], child))
    return b"".join(parts)


def _field(number: int, form: str, value: Any) -> bytes:
    match form:
        case "string":
            return wire.string_field(number, value)
        case "bool" | "int":
            return wire.varint_field(number, int(value))
        case "double":
            return wire.tag(number, wire.FIXED64) + wire.double(float(value))
        case "strings":
            return b"".join(wire.string_field(number, item) for item in value)
        case "any":
            return wire.bytes_field(number, _any(value))
        case "anys":
            return b"".join(wire.bytes_field(number, _any(item)) for item in value)
    kind, _, name = form.partition(" ")
    if kind == "list":
        return b"".join(wire.bytes_field(number, _message(name, item)) for item in value)
    if kind == "map":
        return wire.bytes_field(number, b"".join(_entries(1, name, value)))
    return wire.bytes_field(number, _message(form, value))


def _entries(number: int, name: str, values: Mapping[str, Any]) -> Iterator[bytes]:
    for key, value in values.items():
        body = _any(value) if name == "any" else _message(name, value)
        yield wire.bytes_field(number, _named(key, body))


def _named(key: str, body: bytes) -> bytes:
    return wire.string_field(1, key) + wire.bytes_field(2, body)


def _any(value: Any) -> bytes:
    """Readers parse the text as YAML, of which JSON is a part."""
    return wire.bytes_field(2, encode_json(value) + b"\n")


def _with_extensions(number: int, extension: int, name: str) -> Callable[[Document], bytes]:
    """A map whose keys are either entries or extensions."""

    def write(values: Document) -> bytes:
        plain = {key: value for key, value in values.items() if not key.startswith("x-")}
        extra = {key: value for key, value in values.items() if key.startswith("x-")}
        return b"".join([*_entries(extension, "any", extra), *_entries(number, name, plain)])

    return write


def _parameter(value: Document) -> bytes:
    if value.get("in") == "body":
        return wire.bytes_field(1, _message("BodyParameter", value))
    place = value.get("in", "")
    if place not in _PARAMETER_PLACES:
        raise ValueError(f"OpenAPI: a parameter cannot be in {place!r}")
    return wire.bytes_field(2, wire.bytes_field(_PARAMETER_PLACES[place], _message(place, value)))


def _or_reference(name: str) -> Callable[[Document], bytes]:
    def write(value: Document) -> bytes:
        if "$ref" in value:
            return wire.bytes_field(2, _message("JsonReference", value))
        return wire.bytes_field(1, _message(name, value))

    return write


def _additional(value: Any) -> bytes:
    if isinstance(value, bool):
        return wire.varint_field(2, int(value))
    return wire.bytes_field(1, _message("Schema", value))


def _items(value: Any) -> bytes:
    schemas: Sequence[Any] = value if isinstance(value, list) else [value]
    return b"".join(wire.bytes_field(1, _message("Schema", schema)) for schema in schemas)


def _types(value: Any) -> bytes:
    names: Sequence[str] = value if isinstance(value, list) else [value]
    return b"".join(wire.string_field(1, name) for name in names)


def _security(value: Document) -> bytes:
    kind = value.get("type", "")
    if kind not in _SECURITY_TYPES:
        raise ValueError(f"OpenAPI: security of type {kind!r} has no place in this document")
    return wire.bytes_field(_SECURITY_TYPES[kind], _message(kind, value))


def _requirement(value: Document) -> bytes:
    return b"".join(wire.bytes_field(1, _named(key, _types(list(scopes)))) for key, scopes in value.items())


_SPECIAL: dict[str, Callable[[Any], bytes]] = {
    "Paths": _with_extensions(2, 1, "PathItem"),
    "Responses": _with_extensions(1, 2, "ResponseValue"),
    "ResponseValue": _or_reference("Response"),
    "ParametersItem": _or_reference("Parameter"),
    "Parameter": _parameter,
    "SchemaItem": lambda value: wire.bytes_field(1, _message("Schema", value)),
    "AdditionalProperties": _additional,
    "ItemsItem": _items,
    "TypeItem": _types,
    "SecurityDefinition": _security,
    "SecurityRequirement": _requirement,
}
