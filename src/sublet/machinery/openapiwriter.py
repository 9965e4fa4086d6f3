"""Gnostic's protobuf forms of OpenAPI documents: a writer that tables of messages drive (``openapiproto``, ``openapiproto3``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sublet.machinery import wire
from sublet.machinery.codec import decode_json, encode_json

Document = Mapping[str, Any]
Fields = dict[str, tuple[int, str]]
"""JSON key -> (field number, how its value is written); extensions (``x-…``) go to the field ``x-``."""
Special = Callable[["Writer", Any], bytes]


class Encoded(msgspec.Struct, frozen=True):
    """A message that stands in a document in its protobuf form."""

    message: bytes


class Writer:
    """Writes messages as tables say: ``messages`` by their fields, ``special`` ones by a function of their own.

    ``left_out``: message -> keys that JSON may hold and the protobuf form cannot.
    """

    def __init__(
        self,
        messages: Mapping[str, Fields],
        special: Mapping[str, Special],
        left_out: Mapping[str, frozenset[str]],
    ) -> None:
        self._messages = messages
        self._special = special
        self._left_out = left_out

    def message(self, name: str, value: Any) -> bytes:
        """The fields of one message. Raises ``ValueError`` for a key it has no field for."""
        special = self._special.get(name)
        if special is not None:
            return special(self, value)
        fields = self._messages[name]
        parts: list[bytes] = []
        for key, child in value.items():
            found = fields.get(key)
            if found is None:
                if key in self._left_out.get(name, ()):
                    continue
                if not key.startswith("x-") or "x-" not in fields:
                    raise ValueError(f"OpenAPI: {name} has no field {key!r} in protobuf")
                parts.append(wire.bytes_field(fields["x-"][0], named(key, anything(child))))
            elif child is not None:
                parts.append(self._field(found[0], found[1], child))
        return b"".join(parts)

    def _field(self, number: int, form: str, value: Any) -> bytes:
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
                return wire.bytes_field(number, anything(value))
            case "anys":
                return b"".join(wire.bytes_field(number, anything(item)) for item in value)
        kind, _, name = form.partition(" ")
        if kind == "list":
            return b"".join(wire.bytes_field(number, self.message(name, item)) for item in value)
        if kind == "map":
            return wire.bytes_field(number, b"".join(self.entries(1, name, value)))
        return wire.bytes_field(number, self.message(form, value))

    def entries(self, number: int, name: str, values: Document) -> Iterator[bytes]:
        """The entries of a map of messages, or of anything (``any``).

        A message may be there in bytes already (:class:`Encoded`); JSON text is decoded for itself.
        """
        for key, value in values.items():
            if isinstance(value, Encoded):
                body = value.message
            elif isinstance(value, msgspec.Raw):
                body = self.message(name, decode_json(memoryview(value)))
            else:
                body = anything(value) if name == "any" else self.message(name, value)
            yield wire.bytes_field(number, named(key, body))


def named(key: str, body: bytes) -> bytes:
    return wire.string_field(1, key) + wire.bytes_field(2, body)


def anything(value: Any) -> bytes:
    """Readers parse the text as YAML, of which JSON is a part."""
    return wire.bytes_field(2, encode_json(value) + b"\n")


def with_extensions(number: int, extension: int, name: str) -> Special:
    """A map whose keys are either entries or extensions."""

    def write(writer: Writer, values: Document) -> bytes:
        plain = {key: value for key, value in values.items() if not key.startswith("x-")}
        extra = {key: value for key, value in values.items() if key.startswith("x-")}
        return b"".join([*writer.entries(extension, "any", extra), *writer.entries(number, name, plain)])

    return write


def or_reference(name: str, reference: str) -> Special:
    """Either the message (field 1) or a reference to one (field 2)."""

    def write(writer: Writer, value: Document) -> bytes:
        if "$ref" in value:
            return wire.bytes_field(2, writer.message(reference, value))
        return wire.bytes_field(1, writer.message(name, value))

    return write


def strings(_writer: Writer, value: str | Sequence[str]) -> bytes:
    """One text or several, each as field 1."""
    names: Sequence[str] = [value] if isinstance(value, str) else value
    return b"".join(wire.string_field(1, name) for name in names)


def requirement(_writer: Writer, value: Document) -> bytes:
    """A security requirement: scheme -> scopes."""
    return b"".join(
        wire.bytes_field(1, named(key, strings(_writer, list(scopes)))) for key, scopes in value.items()
    )
