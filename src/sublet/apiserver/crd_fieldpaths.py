"""Paths to fields of a structural schema: ``.spec.color``, ``.data['a.b']`` (of selectable fields and of rules)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]']+(?:'[^.\[\]']*)*|'")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}

Document = Mapping[str, Any]


def resolve(path: str, schema: Document, *, brackets: bool = True) -> tuple[str, Document]:
    """(the path as field errors write it, the schema it leads to). Raises ``ValueError`` with upstream's reason.

    ``brackets``: ``['name']`` may stand for ``.name`` and for keys of maps.
    """
    tokens = _TOKEN.findall(path)
    shown, at = "", 0
    while at < len(tokens):
        opening = tokens[at]
        if opening == "[" and not brackets:
            raise ValueError("array notation is not allowed")
        if opening not in (".", "["):
            raise ValueError(f"expected [ or . but got: {opening}")
        name = _token(tokens, at + 1)
        at += 2
        if opening == "[":
            name = _unquoted(name)
            closing = _token(tokens, at)
            at += 1
        below, schema = _step(name, schema)
        shown += below
        if opening == "[" and closing != "]":
            raise ValueError(f"expected ] but got {closing}")
    return shown.removeprefix("."), schema


def _token(tokens: Sequence[str], at: int) -> str:
    if at >= len(tokens):
        raise ValueError("unexpected end of JSON path")
    return tokens[at]


def _unquoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise ValueError(f"expected single quoted string but got {token}")

    def plain(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise ValueError(f"invalid string literal: invalid escape char {match[0]}")
        return _ESCAPES[match[1]]

    return _ESCAPED.sub(plain, token[1:-1])


def _step(name: str, schema: Document) -> tuple[str, Document]:
    properties = schema.get("properties")
    if properties:
        if name not in properties:
            raise ValueError("does not refer to a valid field")
        return f".{name}", properties[name]
    additional = schema.get("additionalProperties")
    if additional in (None, False):
        raise ValueError("does not refer to a valid field")
    return f"[{name}]", additional if isinstance(additional, dict) else {}
