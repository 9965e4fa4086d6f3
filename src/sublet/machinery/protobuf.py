"""Kubernetes' protobuf form of built-in kinds: ``k8s\\0`` and a ``runtime.Unknown`` around the object.

Objects are the same JSON-shaped dicts as everywhere; the table says how they lie on the wire. Source:
reference/kubernetes-api.md B.4; apimachinery's protobuf serializer.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from sublet.machinery import durations, objects, quantity, wire
from sublet.machinery.codec import DecodeError, decode_json, encode_json
from sublet.machinery.kind import Object
from sublet.machinery.protobufencoder import Encoder
from sublet.machinery.protobuftable import META, SCALARS, Field, Message, Table

MAGIC = b"k8s\x00"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"


class NoProtobufError(ValueError):
    """The kind has no protobuf form (custom resources, Tables)."""


class Codec:
    """Encodes and decodes by one table.

    ``every_zero``: what is decoded keeps all zeros on the wire, for readers whose schema says which of them count.
    """

    def __init__(self, table: Table, *, every_zero: bool = False) -> None:
        self.table = table
        self._every_zero = every_zero
        encode_special: dict[str, Callable[[Any, Message], bytes]] = {
            "quantity": lambda value, _: wire.string_field(1, quantity.parse(value).canonical()),
            "int_or_string": _encode_int_or_string,
            "time": lambda value, _: _encode_time(value),
            "micro_time": lambda value, _: _encode_time(value),
            "duration": lambda value, _: wire.varint_field(1, parse_duration(value)),
            "fields": lambda value, _: wire.bytes_field(1, encode_json(value)),
            "json": lambda value, _: wire.bytes_field(1, encode_json(value)),
            "items": lambda value, _: b"".join(wire.string_field(1, item) for item in value),
            "raw": lambda value, _: wire.bytes_field(1, encode_json(value)) if value is not None else b"",
            "or_array": self._encode_or_array,
            "or_bool": self._encode_or_bool,
            "or_string_array": self._encode_or_string_array,
        }
        self._encoder = Encoder(table, encode_special)
        self._decode_special: dict[str, Callable[[bytes, Message], Any]] = {
            "quantity": lambda data, _: _text(data, 1) or "0",
            "int_or_string": _decode_int_or_string,
            "time": lambda data, _: _decode_time(data, False),
            "micro_time": lambda data, _: _decode_time(data, True),
            "duration": lambda data, _: durations.text(_number(data, 1)),
            "fields": lambda data, _: decode_json(_bytes(data, 1) or b"{}"),
            "json": lambda data, _: decode_json(_bytes(data, 1) or b"null"),
            "items": lambda data, _: [_utf8(value) for n, _t, _v, value in wire.fields(data) if n == 1],
            "raw": lambda data, _: self._decode_raw(_bytes(data, 1)),
            "or_array": self._decode_or_array,
            "or_bool": self._decode_or_bool,
            "or_string_array": self._decode_or_string_array,
        }

    # -- objects and frames --

    def supports(self, api_version: str, kind: str) -> bool:
        return self.table.name_of(api_version, kind) is not None

    def encode_object(self, obj: Object) -> bytes:
        """An object (or list, Status, options) with its envelope. Raises :class:`NoProtobufError`."""
        return self.envelope(obj.get("apiVersion", ""), obj.get("kind", ""), self.message(obj))

    def envelope(self, api_version: str, kind: str, *raw: bytes) -> bytes:
        """``raw``: an object's message, in one or more parts; each is copied once."""
        type_meta = wire.string_field(1, api_version) + wire.string_field(2, kind)
        head = MAGIC + wire.bytes_field(1, type_meta) + wire.tag(2, wire.BYTES)
        size = wire.varint(sum(map(len, raw)))
        return b"".join((head, size, *raw, wire.string_field(3, ""), wire.string_field(4, "")))

    def before_items(self, api_version: str, kind: str) -> Callable[[bytes], bytes]:
        """What stands before an item's message in a kind of list: its tag and length."""
        message = self.table.message(self.table.name_of(api_version, kind) or "")
        number = next((field.number for field in message.fields if field.name == "items"), 2)
        tag = wire.tag(number, wire.BYTES)
        return lambda item: tag + wire.varint(len(item))

    def message(self, obj: Object) -> bytes:
        """An object (or list, Status, options) without its envelope. Raises :class:`NoProtobufError`."""
        api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
        name = self.table.name_of(api_version, kind)
        if name is None:
            raise NoProtobufError(f"{kind} in {api_version} has no protobuf form")
        try:
            if name.endswith(".v1.List") and "items" in obj:
                return self._encode_list(obj)
            return self.encode(name, obj)
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"{kind} in {api_version} does not fit its protobuf form: {error}") from error

    def _encode_list(self, obj: Object) -> bytes:
        """A list of objects of any kinds: each is encoded with its own envelope."""
        parts = [wire.bytes_field(1, self.encode(f"{META}.ListMeta", obj.get("metadata") or {}))]
        for item in obj["items"]:
            parts.append(wire.bytes_field(2, wire.bytes_field(1, self.encode_object(item))))
        return b"".join(parts)

    def decode_object(self, data: bytes) -> Object:
        """The object in an envelope, apiVersion and kind first. Raises :class:`DecodeError`."""
        if not data.startswith(MAGIC):
            raise DecodeError(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
            )
        api_version = kind = ""
        raw = b""
        for number, _type, _value, body in wire.fields(data[len(MAGIC) :]):
            if number == 1:
                api_version, kind = _text(body, 1), _text(body, 2)
            elif number == 2:
                raw = body
            elif number == 3 and body:
                raise DecodeError(f"protobuf: the content encoding {_utf8(body)!r} is not supported")
        name = self.table.name_of(api_version, kind)
        if name is None:
            raise DecodeError(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
        obj: Object = {"apiVersion": api_version, "kind": kind}
        obj.update(self.decode(name, raw))
        if kind.endswith("List") and any(field.name == "items" for field in self.table.message(name).fields):
            obj.setdefault("items", [])
        return obj

    def watch_frame(self, kind: str, encoded: bytes) -> bytes:
        """One event of a protobuf watch: its length (4 bytes, big endian) and a WatchEvent.

        ``kind`` is ``ADDED`` and so on, ``encoded`` the object from :meth:`encode_object`.
        """
        event = wire.string_field(1, kind) + wire.bytes_field(2, wire.bytes_field(1, encoded))
        return len(event).to_bytes(4, "big") + event

    def decode_watch_frame(self, frame: bytes) -> tuple[str, Object]:
        """(type, object) of a frame without its length."""
        kind, encoded = "", b""
        for number, _type, _value, body in wire.fields(frame):
            if number == 1:
                kind = _utf8(body)
            elif number == 2:
                encoded = _bytes(body, 1)
        return kind, self.decode_object(encoded)

    # -- messages --

    def encode(self, name: str, obj: Any) -> bytes:
        """The fields of one message, without an envelope."""
        return self._encoder.encode(name, obj)

    def decode(self, name: str, data: bytes) -> Any:
        """The JSON value of one message; zeros that mean "not set" are left out, unless all are asked for."""
        message = self.table.message(name)
        if message.form:
            return self._decode_special[message.form](data, message)
        obj: Object = {}
        # Schemas within schemas have no type there, so nobody after this drops their zeros.
        every_zero = self._every_zero and not name.endswith(".JSONSchemaProps")
        for number, wire_type, value, body in wire.fields(data):
            field = message.by_number.get(number)
            if field is None:
                continue  # a newer client's field
            if field.inline:
                obj |= self.decode(field.type, body)
            elif field.is_map:
                key, item = self._entry(field, body)
                obj.setdefault(field.name, {})[key] = item
            elif field.repeated:
                obj.setdefault(field.name, []).extend(self._items(field, wire_type, value, body))
            else:
                item = self._scalar(field, wire_type, value, body)
                zero = not item and field.type in SCALARS and not (every_zero or field.keep_zero)
                if item is not None and not zero:
                    obj[field.name] = item
                else:
                    obj.pop(field.name, None)
        return obj

    def _entry(self, field: Field, body: bytes) -> tuple[str, Any]:
        key = ""
        item: Any = "" if field.type in ("string", "bytes") else None
        for number, wire_type, value, inner in wire.fields(body):
            if number == 1:
                key = _utf8(inner)
            elif number == 2:
                item = self._scalar(field, wire_type, value, inner)
        if item is None and field.type not in SCALARS:
            item = self.decode(field.type, b"")
        return key, item

    def _items(self, field: Field, wire_type: int, value: int, body: bytes) -> list[Any]:
        if wire_type == wire.BYTES and field.type in ("int32", "int64", "bool"):
            items, at = [], 0
            while at < len(body):
                number, at = wire.read_varint(body, at)
                items.append(self._scalar(field, wire.VARINT, number, b""))
            return items
        return [self._scalar(field, wire_type, value, body)]

    def _scalar(self, field: Field, wire_type: int, value: int, body: bytes) -> Any:
        expected = {"int32": wire.VARINT, "int64": wire.VARINT, "bool": wire.VARINT, "double": wire.FIXED64}
        if wire_type != expected.get(field.type, wire.BYTES):
            raise DecodeError(f"protobuf: field {field.name} has wire type {wire_type}")
        match field.type:
            case "string":
                return _utf8(body)
            case "int32" | "int64":
                return wire.signed(value)
            case "bool":
                return bool(value)
            case "bytes":
                return base64.b64encode(body).decode()
            case "double":
                number = wire.read_double(body)
                return int(number) if number.is_integer() else number
        return self.decode(field.type, body)

    # -- special forms --

    def _decode_raw(self, raw: bytes) -> Any:
        if not raw:
            return None
        return self.decode_object(raw) if raw.startswith(MAGIC) else decode_json(raw)

    def _props(self, message: Message) -> str:
        return message.name.rpartition(".")[0] + ".JSONSchemaProps"

    def _encode_or_array(self, value: Any, message: Message) -> bytes:
        props = self._props(message)
        if isinstance(value, list):
            return b"".join(wire.bytes_field(2, self.encode(props, item)) for item in value)
        return wire.bytes_field(1, self.encode(props, value))

    def _decode_or_array(self, data: bytes, message: Message) -> Any:
        props = self._props(message)
        found = [(number, self.decode(props, body)) for number, _t, _v, body in wire.fields(data)]
        single = next((value for number, value in found if number == 1), None)
        return single if single is not None else [value for number, value in found if number == 2]

    def _encode_or_bool(self, value: Any, message: Message) -> bytes:
        if isinstance(value, bool):
            return wire.varint_field(1, int(value))
        return wire.varint_field(1, 1) + wire.bytes_field(2, self.encode(self._props(message), value))

    def _decode_or_bool(self, data: bytes, message: Message) -> Any:
        allows = False
        for number, _type, value, body in wire.fields(data):
            if number == 2:
                return self.decode(self._props(message), body)
            allows = bool(value)
        return allows

    def _encode_or_string_array(self, value: Any, message: Message) -> bytes:
        if isinstance(value, list):
            return b"".join(wire.string_field(2, item) for item in value)
        return wire.bytes_field(1, self.encode(self._props(message), value))

    def _decode_or_string_array(self, data: bytes, message: Message) -> Any:
        items = []
        for number, _type, _value, body in wire.fields(data):
            if number == 1:
                return self.decode(self._props(message), body)
            items.append(_utf8(body))
        return items


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DecodeError("protobuf: a string is not UTF-8") from None


def _bytes(data: bytes, number: int) -> bytes:
    return next((body for n, _t, _v, body in wire.fields(data) if n == number), b"")


def _text(data: bytes, number: int) -> str:
    return _utf8(_bytes(data, number))


def _number(data: bytes, number: int) -> int:
    return next((wire.signed(value) for n, _t, value, _b in wire.fields(data) if n == number), 0)


def _encode_int_or_string(value: Any, _message: Message) -> bytes:
    if isinstance(value, str):
        return wire.varint_field(1, 1) + wire.varint_field(2, 0) + wire.string_field(3, value)
    return wire.varint_field(1, 0) + wire.varint_field(2, value) + wire.string_field(3, "")


def _decode_int_or_string(data: bytes, _message: Message) -> Any:
    return _text(data, 3) if _number(data, 1) == 1 else _number(data, 2)


def _encode_time(value: str) -> bytes:
    if "." not in value:
        return wire.varint_field(1, int(objects.parse_time(value))) + wire.varint_field(2, 0)
    whole = int(objects.parse_time(re.sub(r"\.[0-9]+", "", value)))
    fraction = re.search(r"\.([0-9]+)", value)
    nanos = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return wire.varint_field(1, whole) + wire.varint_field(2, nanos)


def _decode_time(data: bytes, micro: bool) -> str | None:
    """None for the zero time, which is an empty message."""
    if not data:
        return None
    seconds, nanos = _number(data, 1), _number(data, 2)
    if micro:
        return f"{objects.rfc3339(seconds)[:-1]}.{nanos // 1000:06d}Z"
    return objects.rfc3339(seconds)


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_duration_part = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration such as ``1h15m30.5s``. Raises ``ValueError``."""
    bare = text.lstrip("+-")
    if bare == "0":
        return 0
    parts = _duration_part.findall(bare)
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(int(quantity.parse(number).nano * _UNITS[unit]) // 10**9 for number, unit in parts)
    return -total if text.startswith("-") else total
