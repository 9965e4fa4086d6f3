"""Protobuf as Go's generated code writes it: fields that are no pointers are always there, whatever their value."""

from __future__ import annotations

from typing import Any

from sublet.kinds import protobuf
from sublet.machinery import zeros
from sublet.machinery.kind import Object

_EMPTY: dict[str, Any] = {"string": "", "int32": 0, "int64": 0, "bool": False, "bytes": ""}


def encode(obj: Object) -> bytes:
    """An object with its envelope, zeros written out."""
    codec = protobuf.codec()
    name = codec.table.name_of(obj.get("apiVersion", ""), obj["kind"])
    assert name is not None
    return codec.encode_object(_filled(name, obj))


def _filled(name: str, obj: Any) -> Any:
    message = protobuf.codec().table.message(name)
    if message.form or not isinstance(obj, dict):
        return obj
    made = dict(obj)
    for field in message.fields:
        value = obj.get(field.name)
        if field.inline:
            made |= _filled(field.type, made)
        elif field.type in _EMPTY:
            if not (field.repeated or field.is_map or zeros.is_pointer(name, field.name)):
                made.setdefault(field.name, _EMPTY[field.type])
        elif field.is_map and value:
            made[field.name] = {key: _filled(field.type, item) for key, item in value.items()}
        elif field.repeated and value:
            made[field.name] = [_filled(field.type, item) for item in value]
        elif isinstance(value, dict):
            made[field.name] = _filled(field.type, value)
    return made
