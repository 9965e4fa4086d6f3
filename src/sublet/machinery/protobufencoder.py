"""Objects to protobuf messages, by functions that are made once per message type.

Lists of hundreds of objects go out in this form, so what can be known of a field beforehand (its tag, what its value
is written with) is kept in a closure.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from sublet.machinery import wire
from sublet.machinery.protobuftable import Field, Message, Table

Encode = Callable[[Any], bytes]
Special = Callable[[Any, Message], bytes]

_SHORT = tuple(bytes((length,)) for length in range(128))
"""Lengths that take one byte."""


class Encoder:
    """Encodes by one table; ``special`` has a function per special form."""

    def __init__(self, table: Table, special: Mapping[str, Special]) -> None:
        self._table = table
        self._special = special
        self._made: dict[str, Encode] = {}

    def encode(self, name: str, obj: Any) -> bytes:
        """The fields of one message, without an envelope. Raises TypeError, AttributeError, KeyError or ValueError for
        an object that does not fit."""
        return (self._made.get(name) or self._make(name))(obj)

    def _make(self, name: str) -> Encode:
        message = self._table.message(name)
        made = self._made[name] = self._written_by(message)
        return made

    def _written_by(self, message: Message) -> Encode:
        if message.form:
            special = self._special[message.form]
            return lambda obj: special(obj, message)
        if any(field.inline for field in message.fields):
            return _mixed(
                [
                    (field.name, self._inline(field) if field.inline else self._field(field), field.inline)
                    for field in message.fields
                ]
            )
        return _plain([(field.name, self._field(field)) for field in message.fields])

    def _inline(self, field: Field) -> Encode:
        return self._nested(field.number, field.type)

    def _field(self, field: Field) -> Encode:
        if field.is_map:
            return self._map(field)
        one = self._one(field.number, field.type)
        if not field.repeated:
            return one
        return lambda values: b"".join([one(value) for value in values])

    def _map(self, field: Field) -> Encode:
        tag, key_of, value_of = wire.tag(field.number, wire.BYTES), _text(1), self._one(2, field.type)

        def write(value: Any) -> bytes:
            return b"".join([_sized(tag, key_of(key) + value_of(value[key])) for key in sorted(value)])

        return write

    def _one(self, number: int, type_: str) -> Encode:
        """What writes one value, tag included."""
        match type_:
            case "string":
                return _text(number)
            case "int32" | "int64":
                tag = wire.tag(number, wire.VARINT)
                return lambda value: tag + wire.varint(int(value))
            case "bool":
                true, false = wire.varint_field(number, 1), wire.varint_field(number, 0)
                return lambda value: true if value else false
            case "bytes":
                return lambda value: wire.bytes_field(number, base64.b64decode(value))
            case "double":
                tag = wire.tag(number, wire.FIXED64)
                return lambda value: tag + wire.double(float(value))
        return self._nested(number, type_)

    def _nested(self, number: int, type_: str) -> Encode:
        tag, made = wire.tag(number, wire.BYTES), self._made

        def write(value: Any) -> bytes:
            if value is None:
                return tag + b"\0"
            return _sized(tag, (made.get(type_) or self._make(type_))(value))

        return write


def _plain(fields: list[tuple[str, Encode]]) -> Encode:
    def encode(obj: Any) -> bytes:
        get = obj.get
        return b"".join([write(value) for name, write in fields if (value := get(name)) is not None])

    return encode


def _mixed(fields: list[tuple[str, Encode, bool]]) -> Encode:
    def encode(obj: Any) -> bytes:
        parts = [
            write(value)
            for name, write, inline in fields
            if (value := obj if inline else obj.get(name)) is not None
        ]
        return b"".join(parts)

    return encode


def _sized(tag: bytes, data: bytes) -> bytes:
    size = len(data)
    return tag + (_SHORT[size] if size < 128 else wire.varint(size)) + data


def _text(number: int) -> Encode:
    tag = wire.tag(number, wire.BYTES)

    def write(value: Any) -> bytes:
        data: bytes = value.encode()
        size = len(data)
        return tag + (_SHORT[size] if size < 128 else wire.varint(size)) + data

    return write
