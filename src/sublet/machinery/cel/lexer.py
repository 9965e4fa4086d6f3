"""From the text of an expression to its tokens (the CEL specification's lexical grammar)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from sublet.machinery.cel.errors import CompileError, Issue

MAX_CODE_POINTS = 100_000
_INT_MAX, _UINT_MAX = 2**63 - 1, 2**64 - 1

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<string>[bB]?[rR]?(?:\"\"\"|\'\'\'|\"|\'))
  | (?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
  | (?P<int>(?:0x[0-9a-fA-F]+|\d+)[uU]?)
  | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<quoted>`[_a-zA-Z0-9\-./ ]+`)
  | (?P<op>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.ASCII,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
           "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}  # fmt: skip
RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: ident, quoted, op, int, uint, float, string, bytes, end."""

    kind: str
    text: str
    offset: int
    value: Any = None


def _fail(source: str, offset: int, message: str) -> NoReturn:
    raise CompileError(source, [Issue(min(offset, len(source)), message)])


def tokens(source: str) -> list[Token]:
    """All tokens, ended by one of kind ``end``. Raises ``CompileError``."""
    if len(source) > MAX_CODE_POINTS:
        raise CompileError(
            source[:80],
            [Issue(0, f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_CODE_POINTS}")],
        )  # fmt: skip
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            _fail(source, at, f"Syntax error: token recognition error at: '{source[at]}'")
        kind, text = str(match.lastgroup), match.group()
        if kind == "space":
            at = match.end()
            continue
        if kind == "string":
            token, at = _string(source, at, text)
            found.append(token)
            continue
        found.append(_plain(source, kind, text, at))
        at = match.end()
    found.append(Token("end", "<EOF>", len(source)))
    return found


def _plain(source: str, kind: str, text: str, at: int) -> Token:
    if kind == "int":
        unsigned = text[-1] in "uU"
        digits = text[:-1] if unsigned else text
        value = int(digits, 16) if digits[:2] == "0x" else int(digits) if len(digits) < 40 else 2**70
        # One more than the greatest int is let through for "-9223372036854775808".
        if value > (_UINT_MAX if unsigned else _INT_MAX + 1):
            _fail(source, at, f"invalid {'uint' if unsigned else 'int'} literal")
        return Token("uint" if unsigned else "int", text, at, value)
    if kind == "float":
        return Token("float", text, at, float(text))
    if kind == "quoted":
        return Token("quoted", text, at, text[1:-1])
    return Token(kind, text, at)


def _string(source: str, at: int, opening: str) -> tuple[Token, int]:
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    start = at + len(opening)
    raw, binary = "r" in prefix, "b" in prefix
    end = start
    while True:
        if end >= len(source) or (len(quote) == 1 and source[end] in "\r\n"):
            _fail(source, at, f"Syntax error: token recognition error at: '{source[at:end]}'")
        if source.startswith(quote, end):
            break
        end += 2 if source[end] == "\\" and not raw else 1
    body = source[start:end]
    after = end + len(quote)
    if binary:
        data = body.encode() if raw else _unescape_bytes(source, at, body)
        return Token("bytes", source[at:after], at, data), after
    value = body if raw else _unescape(source, at, body)
    return Token("string", source[at:after], at, value), after


def _escapes(source: str, at: int, body: str) -> list[tuple[str, int]]:
    """(text, -1) of plain parts and ("x"|"u", number) of escapes, in order."""
    parts: list[tuple[str, int]] = []
    i = 0
    while i < len(body):
        if body[i] != "\\":
            j = body.find("\\", i)
            j = len(body) if j < 0 else j
            parts.append((body[i:j], -1))
            i = j
            continue
        c = body[i + 1 : i + 2]
        width = {"x": 2, "X": 2, "u": 4, "U": 8}.get(c)
        if c in _SIMPLE and c:
            parts.append((_SIMPLE[c], -1))
            i += 2
        elif width is not None and re.fullmatch(r"[0-9a-fA-F]+", body[i + 2 : i + 2 + width] or "!"):
            digits = body[i + 2 : i + 2 + width]
            if len(digits) != width:
                _fail(source, at, "Syntax error: invalid escape sequence")
            parts.append(("x" if c in "xX" else "u", int(digits, 16)))
            i += 2 + width
        elif re.fullmatch(r"[0-3][0-7]{2}", body[i + 1 : i + 4]):
            parts.append(("x", int(body[i + 1 : i + 4], 8)))
            i += 4
        else:
            _fail(source, at, "Syntax error: invalid escape sequence")
    return parts


def _unescape(source: str, at: int, body: str) -> str:
    if "\\" not in body:
        return body
    out = []
    for text, code in _escapes(source, at, body):
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            _fail(source, at, "Syntax error: invalid unicode code point")
        out.append(text if code < 0 else chr(code))
    return "".join(out)


def _unescape_bytes(source: str, at: int, body: str) -> bytes:
    out = b""
    for text, code in _escapes(source, at, body):
        if code < 0:
            out += text.encode()
        elif text == "x":
            out += bytes([code])
        else:
            _fail(source, at, "Syntax error: unicode escapes are not allowed in bytes")
    return out
