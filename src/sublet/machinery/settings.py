"""Configuration documents into typed settings: strict, naming the nearest valid key.

Each room states its settings as a frozen :class:`msgspec.Struct`; its fields are the keys, written in camelCase in the document.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class ConfigurationError(ValueError):
    """A key or value that cannot be; ``str()`` names the path, what is wrong and the way out."""


def camel_case(name: str) -> str:
    """``extra_sans`` -> ``extraSans``. A field's ``name`` overrides it."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def keys(kind: Any) -> Mapping[str, tuple[str, Any]]:
    """Document key -> (field name, field type) of a settings class."""
    return {
        camel_case(field.name) if field.encode_name == field.name else field.encode_name: (
            field.name,
            field.type,
        )
        for field in msgspec.structs.fields(kind)
    }


def parse(kind: type[T], document: Any, path: str = "") -> T:
    """The settings a document states; absent keys keep their defaults.

    Raises :class:`ConfigurationError` for unknown keys and values of a wrong type.
    """
    if document is None:
        document = {}
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{path or 'the configuration'} must be a mapping, not {_shown(document)}")
    known = keys(kind)
    values: dict[str, Any] = {}
    for key, value in document.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise unknown_key(where, str(key), list(known))
        name, hint = known[key]
        values[name] = _value(hint, value, where)
    return kind(**values)


def unknown_key(where: str, key: str, known: list[str]) -> ConfigurationError:
    import difflib

    nearest = difflib.get_close_matches(key, known, 1, 0.5)
    parent = where.rpartition(".")[0]
    hint = f"did you mean {parent + '.' if parent else ''}{nearest[0]}?" if nearest else ""
    listed = f"known keys there: {', '.join(sorted(known))}" if known else "no key is known there"
    return ConfigurationError(f"unknown key {where}: {hint or listed}")


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(hint, value, where)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            listed = ", ".join(str(c).lower() if isinstance(c, bool) else str(c) for c in choices)
            raise ConfigurationError(f"{where} must be one of {listed}, not {_shown(value)}")
        return value
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return parse(hint, value, where)
    if hint is Any:
        return value
    return _plain(origin or hint, typing.get_args(hint), value, where)


def _union(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint)
    if value is None and type(None) in options:
        return None
    first: ConfigurationError | None = None
    for option in options:
        if option is type(None):
            continue
        try:
            return _value(option, value, where)
        except ConfigurationError as error:
            first = first or error
    raise first or ConfigurationError(f"{where} must not be {_shown(value)}")


_NAMES = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}


def _plain(kind: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if kind in (list, tuple) or kind is typing.Sequence:
        if not isinstance(value, list):
            raise ConfigurationError(f"{where} must be a list, not {_shown(value)}")
        items = [_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if kind is tuple else items
    if kind in (dict, typing.Mapping, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{where} must be a mapping, not {_shown(value)}")
        return {str(k): _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigurationError(f"{where} must be {_NAMES.get(kind, kind)}, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def to_document(settings: Any) -> dict[str, Any]:
    """The document of a settings value, defaults included."""
    document = {}
    for key, (name, _) in keys(type(settings)).items():
        value = getattr(settings, name)
        document[key] = _plain_value(value)
    return document


def _plain_value(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return to_document(value)
    if isinstance(value, (list, tuple)):
        return [_plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return {k: _plain_value(v) for k, v in value.items()}
    return value
