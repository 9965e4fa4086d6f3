"""Types of expressions from schemas: what is known of an object before there is one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sublet.machinery.cel import types
from sublet.machinery.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, Field, Type
from sublet.machinery.names import CEL_WORDS
from sublet.machinery.schema import Schema

_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_FORMATS: Mapping[str, Type] = {
    "byte": BYTES, "date": TIMESTAMP, "date-time": TIMESTAMP, "datetime": TIMESTAMP, "duration": DURATION,
}  # fmt: skip
_SCALARS: Mapping[str, Type] = {"boolean": BOOL, "integer": INT, "number": DOUBLE}


def escape(name: str) -> str:
    """A property's name as rules write it; empty where they cannot."""
    if name in CEL_WORDS:
        return f"__{name}__"
    escaped = re.sub(r"__|[.\-/]", lambda match: _ESCAPES[match.group()], name)
    return escaped if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", escaped) else ""


def of_schema(schema: Schema, name: str) -> Type | None:
    """The type of a part of a schema, made level by level as it is asked for; None where the schema does not say.

    ``name`` names object types, which differ even where they look alike.
    """
    if schema.int_or_string:
        return DYN
    match schema.type:
        case "array":
            item = None if schema.items is None else of_schema(schema.items, f"{name}.@idx")
            return None if item is None else types.list_of(item)
        case "object":
            if schema.additional is None or schema.properties:
                return _object(schema, name)
            value = of_schema(schema.additional, f"{name}.@elem")
            return None if value is None else types.map_of(STRING, value)
        case "string":
            return _FORMATS.get(schema.format, STRING)
        case kind:
            return _SCALARS.get(kind)


def _object(schema: Schema, name: str) -> Type:
    def fields() -> Mapping[str, Field]:
        return {
            escaped: Field(kind, key)
            for key, child in schema.properties.items()
            if (escaped := escape(key)) and (kind := of_schema(child, f"{name}.{key}")) is not None
        }

    return types.object_type(name, fields)
