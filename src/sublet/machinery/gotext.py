"""Texts as Go writes them where Kubernetes shows them: values printed with ``%v``, and what is wrong with a JSON text.

Source: Go's fmt and encoding/json (scanner.go) packages.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_DEEPEST = 10_000
_LARGEST = (1 << 63) - 1
_WRITTEN_OUT = 1e21
_FINITE = 1 << 1023
_READ_WHOLE = 1 << 16
"""Texts up to this long are read byte by byte, which takes some milliseconds."""
_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_DIGIT_RUN = re.compile(rb"[0-9]*")
_ESCAPES = b'bfnrt\\/"'
_HEX = b"0123456789abcdefABCDEF"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_ENDED = "unexpected end of JSON input"


def shown(value: Any) -> str:
    """A JSON value printed with ``%v``: ``map[a:[1 x] b:<nil>]``, keys sorted, strings bare."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(shown, value)) + "]"
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """``%v`` of a finite float64: an exponent of at least two digits from a million on and below 1e-4."""
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    if 1e-4 <= abs(value) < 1e6:
        return str(int(value)) if value == int(value) else repr(value)
    digits, _, exponent = f"{value!r}".partition("e")
    if not exponent:
        digits, _, exponent = f"{value:e}".partition("e")
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits.removesuffix('.0')}e{int(exponent):+03d}"


def settle_numbers(value: Any) -> None:
    """Brings the numbers in a JSON value to what Go makes of them where no type is stated, in place.

    What is written as an integer and fits 64 bits is one; all else is a float64, which is written without a fraction
    or an exponent where it is whole and below 1e21.
    """
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    changed: list[tuple[Any, int | float]] = []
    for key, item in items:
        if isinstance(item, (dict, list)):
            settle_numbers(item)
        elif isinstance(item, float):
            if item.is_integer() and item and abs(item) < _WRITTEN_OUT:
                changed.append((key, _written_out(item)))
        elif isinstance(item, int) and not -_LARGEST - 1 <= item <= _LARGEST:
            read = float(item) if abs(item) < _FINITE else item
            changed.append((key, _written_out(read) if abs(read) < _WRITTEN_OUT else read))
    for key, item in changed:
        value[key] = item


def _written_out(whole: float) -> int:
    """The digits that tell it from all others, then zeros."""
    from decimal import Decimal  # rare

    return int(Decimal(repr(whole)))


def go_type(value: Any) -> str:
    """The Go type that a JSON value decodes to: ``string``, ``map[string]interface {}`` …"""
    types: dict[type, str] = {
        bool: "bool", int: "int64", float: "float64", str: "string", dict: "map[string]interface {}",
        list: "[]interface {}",
    }  # fmt: skip
    return types.get(type(value), "<nil>")


def json_error(data: bytes) -> str:
    """What Go's decoder says about a text that is no JSON; ``""`` where it is well-formed or nothing is known."""
    try:
        if len(data) > _READ_WHOLE:
            _located(data)
        else:
            _Scan(data).document()
    except _MalformedError as error:
        return str(error)
    return ""


class _MalformedError(Exception):
    pass


class _ConstantError(Exception):
    """NaN and the like, which is JSON to Python."""


def _located(data: bytes) -> None:
    """Looks at a long text: a much faster decoder finds the place, which is read from there on."""
    text, scan = data.decode("latin-1"), _Scan(data)
    try:
        _decoded(text)
    except json.JSONDecodeError as error:
        scan.at = error.pos
        scan.resume(error.msg, text)
    except RecursionError:  # not as deep as Go goes, unless it is at once
        try:
            _Scan(data[:_READ_WHOLE]).document()
        except _MalformedError as error:
            if str(error) != _ENDED:
                raise
    except _ConstantError:
        return


def _decoded(text: str) -> None:
    """Raises as the decoder does; what it would make of the numbers is not made."""

    def constant(_name: str) -> None:
        raise _ConstantError

    json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=constant).decode(text)


def _in_list(text: str, at: int) -> bool:
    """Whether the innermost container that is open at a place, after a value, is a list."""
    try:
        _decoded(f"{text[:at]}]")
    except json.JSONDecodeError as error:
        return error.pos > at
    return True


class _Scan:
    """One pass over a text. Nesting is kept in a list: a document may be deeper than Python recurses."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def refuse(self, where: str) -> _MalformedError:
        if self.at >= len(self.data):
            return _MalformedError(_ENDED)
        char = chr(self.data[self.at])
        quoted = {"'": r"'\''", '"': "'\"'"}.get(char)
        if quoted is None:
            quoted = repr(char) if char.isascii() else f"'{char}'"
        return _MalformedError(f"invalid character {quoted} {where}")

    def peek(self) -> int:
        """The next byte that is not space; -1 at the end."""
        data, at = self.data, self.at
        while at < len(data) and data[at] in _SPACE:
            at += 1
        self.at = at
        return data[at] if at < len(data) else -1

    def document(self) -> None:
        open_: list[int] = []
        while True:
            self._value(open_)
            while open_ and self._closed(open_):
                open_.pop()
            if not open_:
                break
        if self.peek() != -1:
            raise self.refuse("after top-level value")

    def resume(self, found: str, text: str) -> None:
        """Tells of what Python's decoder found at this place; ``text``: the data as it was given to it."""
        match found.partition(" at")[0].split(maxsplit=1):
            case ["Invalid", "control character"]:
                raise self.refuse("in string literal")
            case ["Invalid", _]:
                self.at = self.data.rfind(b"\\", 0, self.at + 2) - 1
                self._string()
            case ["Unterminated", _]:
                raise _MalformedError(_ENDED)
            case ["Expecting", "value"]:
                self._scalar(self.peek())
            case ["Expecting", "':' delimiter"]:
                raise self.refuse("after object key")
            case ["Expecting", "',' delimiter"]:
                in_list = _in_list(text, self.at)
                self._rest_of_numeral()
                raise self.refuse("after array element" if in_list else "after object key:value pair")
            case ["Expecting", _]:
                raise self.refuse("looking for beginning of object key string")
            case ["Illegal", _]:
                self.at += 1
                listed = self.peek() == ord("]")
                raise self.refuse(f"looking for beginning of {'value' if listed else 'object key string'}")
            case ["Extra", _]:
                self._rest_of_numeral()
                raise self.refuse("after top-level value")

    def _rest_of_numeral(self) -> None:
        """Goes on reading a number that Python's decoder took the beginning of."""
        start = len(self.data[: self.at].rstrip(b"+-.eE0123456789"))
        if start < self.at and self.data[start] in b"-0123456789":
            self.at = start
            self._numeral()
            self.peek()

    def _value(self, open_: list[int]) -> None:
        """Reads a scalar or an empty container, or opens one and stops before its first value."""
        while True:
            char = self.peek()
            if char in (ord("{"), ord("[")) and len(open_) >= _DEEPEST:
                raise self.refuse("exceeded max depth")
            if char == ord("{"):
                self.at += 1
                if self.peek() == ord("}"):
                    self.at += 1
                    return
                self._key()
            elif char == ord("["):
                self.at += 1
                if self.peek() == ord("]"):
                    self.at += 1
                    return
            else:
                return self._scalar(char)
            open_.append(char)

    def _closed(self, open_: list[int]) -> bool:
        """After a value: True when the container ends here, False when another value follows."""
        in_object = open_[-1] == ord("{")
        char = self.peek()
        if char == (ord("}") if in_object else ord("]")):
            self.at += 1
            return True
        if char != ord(","):
            raise self.refuse("after object key:value pair" if in_object else "after array element")
        self.at += 1
        if in_object:
            self._key()
        return False

    def _key(self) -> None:
        if self.peek() != ord('"'):
            raise self.refuse("looking for beginning of object key string")
        self._string()
        if self.peek() != ord(":"):
            raise self.refuse("after object key")
        self.at += 1

    def _scalar(self, char: int) -> None:
        if char == ord('"'):
            return self._string()
        if char in _LITERALS:
            return self._literal(_LITERALS[char])
        if char == ord("-") or (char >= 0 and char in _DIGITS):
            return self._numeral()
        raise self.refuse("looking for beginning of value")

    def _string(self) -> None:
        self.at += 1
        data = self.data
        while True:
            char = self._byte()
            if char == ord('"'):
                self.at += 1
                return
            if char == ord("\\"):
                self.at += 1
                if self._byte() == ord("u"):
                    for _ in range(4):
                        self.at += 1
                        if self._byte() not in _HEX:
                            raise self.refuse("in \\u hexadecimal character escape")
                elif data[self.at] not in _ESCAPES:
                    raise self.refuse("in string escape code")
            elif char < 0x20:
                raise self.refuse("in string literal")
            self.at += 1

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise _MalformedError(_ENDED)
        return self.data[self.at]

    def _literal(self, word: bytes) -> None:
        for expected in word:
            if self.at >= len(self.data) or self.data[self.at] != expected:
                raise self.refuse(f"in literal {word.decode()} (expecting '{chr(expected)}')")
            self.at += 1

    def _digits(self, where: str) -> None:
        if self._byte() not in _DIGITS:
            raise self.refuse(where)
        found = _DIGIT_RUN.match(self.data, self.at)
        self.at = found.end() if found is not None else self.at

    def _numeral(self) -> None:
        if self.data[self.at] == ord("-"):
            self.at += 1
        if self._byte() == ord("0"):
            self.at += 1
        else:
            self._digits("in numeric literal")
        if self.data[self.at : self.at + 1] == b".":
            self.at += 1
            self._digits("after decimal point in numeric literal")
        if self.data[self.at : self.at + 1] in (b"e", b"E"):
            self.at += 1
            if self._byte() in b"+-":
                self.at += 1
            self._digits("in exponent of numeric literal")
