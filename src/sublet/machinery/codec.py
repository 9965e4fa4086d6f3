"""Objects to bytes and back: JSON and YAML (whose rules are in ``yamlcodec``). Protobuf has a module of its own."""

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


def go_json(value: Any) -> str:
    """Compact JSON as Go's encoder writes it: keys sorted, what HTML gives a meaning escaped."""
    text: str = msgspec.json.encode(value, order="sorted").decode()
    for char in "<>&\u2028\u2029":
        if char in text:
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def decode_json(data: bytes | memoryview | str) -> Any:
    """Raises :class:`DecodeError`."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(str(error)) from None
    except RecursionError:
        raise DecodeError("exceeded max depth") from None


def copied(value: Any) -> Any:
    """A deep copy of a JSON value: several times faster than ``copy.deepcopy``."""
    return _decoder.decode(_encoder.encode(value))


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: unlike Python's, ``true`` is not 1."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other and isinstance(one, bool) == isinstance(other, bool))


def decode_yaml(data: bytes | str, duplicates: list[str] | None = None) -> Any:
    """The one document of a YAML (or JSON) text, as JSON values; ``None`` when there is none.

    Keys given twice are appended to ``duplicates`` as ``line 9: key "foo" already set in map``; the last one counts.
    Raises :class:`DecodeError`, ``error converting YAML to JSON: yaml: line N: …``.
    """
    from sublet.machinery import yamlcodec

    return yamlcodec.decode(data, duplicates)


def decode_yaml_file(data: bytes | str) -> Any:
    """Like :func:`decode_yaml`, for files of people: errors name the line that their editor shows.

    API servers' errors count lines as Go's decoder does, from 0 in most cases.
    """
    from sublet.machinery import yamlcodec

    return yamlcodec.decode(data, None, exact=True)


def decode_yaml_documents(data: bytes | str) -> list[Any]:
    """The documents of a file, without the empty ones. Raises :class:`DecodeError`."""
    from sublet.machinery import yamlcodec

    return yamlcodec.decode_documents(data)


def encode_yaml(value: Any) -> bytes:
    """Block style, keys sorted, as Kubernetes' own tools print it."""
    from sublet.machinery import yamlcodec

    return yamlcodec.encode(value)
