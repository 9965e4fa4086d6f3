"""An independent reader of gnostic's protobuf forms: Google's library, told the messages by a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STRING, BOOL, INT64, DOUBLE, MESSAGE = 9, 8, 3, 1, 11
ONE, MANY = 1, 3

Fields = Sequence[tuple[str, int, Any, int]]
"""(name, number, scalar type or message name, label)."""


def read(messages: Mapping[str, Fields], data: bytes) -> Any:
    """The message ``Document`` of the table, from its bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="o.proto", package="o", syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            if isinstance(kind, str):
                message.field.add(
                    name=field, number=number, type=MESSAGE, label=label, type_name=f".o.{kind}"
                )
            else:
                message.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("o.Document")).FromString(data)


def has_unknown(message: Any) -> bool:
    """Whether a reader that knows only the table's fields was sent others."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    if len(UnknownFieldSet(message)):
        return True
    return any(
        has_unknown(child)
        for field, value in message.ListFields()
        if field.type == MESSAGE
        for child in (value if not hasattr(value, "ListFields") else [value])
    )
