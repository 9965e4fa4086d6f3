"""Protocol buffers' wire format: tags, varints, lengths. Both codecs of this room are built on it.

Source: the published encoding of Protocol Buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sublet.machinery.codec import DecodeError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_double = struct.Struct("<d")


def varint(value: int) -> bytes:
    """Negative numbers take ten bytes, as int32 and int64 do."""
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def bytes_field(number: int, data: bytes) -> bytes:
    return tag(number, BYTES) + varint(len(data)) + data


def string_field(number: int, text: str) -> bytes:
    return bytes_field(number, text.encode())


def varint_field(number: int, value: int) -> bytes:
    return tag(number, VARINT) + varint(value)


def double(value: float) -> bytes:
    return _double.pack(value)


def read_double(data: bytes) -> float:
    return float(_double.unpack(data)[0])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it)."""
    value = shift = 0
    while True:
        try:
            byte = data[at]
        except IndexError:
            raise DecodeError("protobuf: the data ends within a number") from None
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise DecodeError("protobuf: a number is longer than ten bytes")


def signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(number, wire type, value of a varint, bytes of everything else) of each field in the data."""
    at, end = 0, len(data)
    while at < end:
        key, at = read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if not number:
            raise DecodeError("protobuf: a field has number 0")
        if wire_type == VARINT:
            value, at = read_varint(data, at)
            yield number, wire_type, value, b""
            continue
        if wire_type == BYTES:
            length, at = read_varint(data, at)
        elif wire_type in (FIXED64, FIXED32):
            length = 8 if wire_type == FIXED64 else 4
        else:
            raise DecodeError(f"protobuf: field {number} has the unknown wire type {wire_type}")
        if at + length > end:
            raise DecodeError(f"protobuf: the data ends within field {number}")
        yield number, wire_type, 0, data[at : at + length]
        at += length
