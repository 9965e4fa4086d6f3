"""Objects to bytes and back: JSON and YAML. Protobuf has a module of its own."""

from __future__ import annotations

from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class DecodeError(ValueError):
    """The bytes are not the format they claim to be; ``str()`` says where."""


def encode_json(value: Any) -> bytes:
    """Compact UTF-8 JSON, keys in insertion order."""
    return _encoder.encode(value)


def decode_json(data: bytes | str) -> Any:
    """Raises :class:`DecodeError`."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(str(error)) from None
