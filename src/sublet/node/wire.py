"""Protocol buffers for dataclasses: the few wire types that CRI needs, without generated code.

A field's number is written beside its type, ``name: Annotated[str, 1] = ""``; the type decides the encoding: ``str``
and ``bytes``, ``int`` and ``bool`` (varint, also enums), a :class:`Message` or None, ``list`` of those, and
``dict[str, str]``. As proto3 has it, defaults are not sent and unknown fields are skipped.
Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Self, get_args, get_origin, get_type_hints

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a message of this type."""


class Message:
    """Base of all message dataclasses."""

    __slots__ = ()

    def encode(self) -> bytes:
        out = bytearray()
        for field in fields(type(self)):
            value = getattr(self, field.name)
            if field.repeated:
                _encode_repeated(out, field, value)
            elif field.kind == "map":
                for key, item in value.items():
                    entry = bytearray()
                    _encode_one(entry, 1, "str", key)
                    _encode_one(entry, 2, "str", item)
                    _encode_bytes(out, field.number, bytes(entry))
            elif value or (field.kind == "message" and value is not None):
                _encode_one(out, field.number, field.kind, value)
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises :class:`WireError`."""
        message = cls()
        by_number = {field.number: field for field in fields(cls)}
        position = 0
        while position < len(data):
            tag, position = _varint(data, position)
            raw: int | bytes
            raw, position = _value(data, position, tag & 7)
            if field := by_number.get(tag >> 3):
                _store(message, field, raw)
        return message


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    number: int
    kind: str
    """``str``, ``bytes``, ``int``, ``bool``, ``message`` or ``map``."""
    repeated: bool = False
    message: type[Message] | None = None


def fields(cls: type[Message]) -> tuple[Field, ...]:
    """The fields of a message class in the order of their numbers."""
    return _fields(cls)  # type: ignore[arg-type]  # a class is hashable, whatever its instances are


@cache
def _fields(cls: type[Message]) -> tuple[Field, ...]:
    found = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{cls.__name__}.{name} has no field number")
        inner, number = get_args(hint)
        repeated = get_origin(inner) is list
        if repeated:
            (inner,) = get_args(inner)
        if get_origin(inner) in (types.UnionType, typing.Union):
            inner = next(option for option in get_args(inner) if option is not type(None))
        if get_origin(inner) is dict:
            found.append(Field(name, number, "map"))
        elif issubclass(inner, Message):
            found.append(Field(name, number, "message", repeated, inner))
        else:
            found.append(Field(name, number, inner.__name__, repeated))
    return tuple(sorted(found, key=lambda field: field.number))


def _encode_repeated(out: bytearray, field: Field, values: list[Any]) -> None:
    if field.kind == "int" and values:
        packed = bytearray()
        for value in values:
            _encode_varint(packed, value)
        _encode_bytes(out, field.number, bytes(packed))
        return
    for value in values:
        _encode_one(out, field.number, field.kind, value)


def _encode_one(out: bytearray, number: int, kind: str, value: Any) -> None:
    if kind in ("int", "bool"):
        _encode_varint(out, number << 3 | _VARINT)
        _encode_varint(out, int(value))
    elif kind == "str":
        _encode_bytes(out, number, value.encode())
    elif kind == "bytes":
        _encode_bytes(out, number, value)
    else:
        _encode_bytes(out, number, value.encode())


def _encode_bytes(out: bytearray, number: int, data: bytes) -> None:
    _encode_varint(out, number << 3 | _BYTES)
    _encode_varint(out, len(data))
    out += data


def _encode_varint(out: bytearray, value: int) -> None:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise WireError("truncated or over-long number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _value(data: bytes, position: int, wire_type: int) -> tuple[int | bytes, int]:
    if wire_type == _VARINT:
        return _varint(data, position)
    if wire_type == _BYTES:
        size, position = _varint(data, position)
    elif wire_type == _FIXED64:
        size = 8
    elif wire_type == _FIXED32:
        size = 4
    else:
        raise WireError(f"unknown wire type {wire_type}")
    if position + size > len(data):
        raise WireError("truncated field")
    return data[position : position + size], position + size


def _store(message: Message, field: Field, raw: int | bytes) -> None:
    if field.kind == "map":
        entry = _MapEntry.decode(_as_bytes(field, raw))
        getattr(message, field.name)[entry.key] = entry.value
    elif field.repeated and field.kind == "int" and isinstance(raw, bytes):
        position = 0
        while position < len(raw):
            value, position = _varint(raw, position)
            getattr(message, field.name).append(_signed(value))
    elif field.repeated:
        getattr(message, field.name).append(_converted(field, raw))
    else:
        setattr(message, field.name, _converted(field, raw))


def _converted(field: Field, raw: int | bytes) -> Any:
    if field.kind in ("int", "bool"):
        if not isinstance(raw, int):
            raise WireError(f"{field.name} is no number")
        return bool(raw) if field.kind == "bool" else _signed(raw)
    data = _as_bytes(field, raw)
    if field.kind == "str":
        return data.decode(errors="replace")
    return data if field.message is None else field.message.decode(data)


def _as_bytes(field: Field, raw: int | bytes) -> bytes:
    if isinstance(raw, int):
        raise WireError(f"{field.name} is a number")
    return raw


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


@dataclass(slots=True)
class _MapEntry(Message):
    key: Annotated[str, 1] = ""
    value: Annotated[str, 2] = ""
