"""Protobuf as Go's generated code writes it: fields that are no pointers are always there, whatever their value."""

from __future__ import annotations

from typing import Any

from sublet.kinds import protobuf
from sublet.machinery import zeros
from sublet.machinery.protobuf import Codec

_EMPTY: dict[str, Any] = {"string": "", "int32": 0, "int64": 0, "bool": False, "bytes": ""}


class AsGo(Codec):
    """Writes zeros too; reads as every codec."""

    def __init__(self) -> None:
        super().__init__(protobuf.codec().table)

    def encode(self, name: str, obj: Any) -> bytes:
        message = self.table.message(name)
        if not message.form and isinstance(obj, dict):
            written = {
                field.name: _EMPTY[field.type]
                for field in message.fields
                if field.type in _EMPTY
                and not field.repeated
                and not field.is_map
                and not zeros.is_pointer(name, field.name)
            }
            obj = written | obj
        return super().encode(name, obj)
