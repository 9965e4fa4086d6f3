"""Kubernetes' quantities and semantic versions in expressions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sublet.machinery import quantity as quantities
from sublet.machinery.cel import functions as f
from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import EvaluationError
from sublet.machinery.cel.functions import define
from sublet.machinery.cel.values import Opaque
from sublet.machinery.status import quoted

# -- quantities --

_NOTATION = re.compile(r"[-+]?0*([0-9]*)(?:\.([0-9]*))?(.*)\Z", re.DOTALL)
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DIGITS = 18


class Quantity(Opaque):
    """``scale`` is that of apimachinery's int64 notation, value times ten to the scale; None where it keeps an
    arbitrary decimal, which is never an integer to it."""

    __slots__ = ("amount", "scale")
    type_name = "kubernetes.Quantity"

    def __init__(self, amount: quantities.Quantity, scale: int | None) -> None:
        self.amount = amount
        self.scale = scale

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and other.amount == self.amount

    def __hash__(self) -> int:
        return hash(self.amount)

    def __str__(self) -> str:
        return self.amount.canonical()


def parse_quantity(text: str) -> Quantity:
    """Raises ``EvaluationError`` with apimachinery's texts."""
    try:
        return Quantity(quantities.parse(text), _scale(text))
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def _scale(text: str) -> int | None:
    """Of a quantity that can be parsed."""
    match = _NOTATION.match(text)
    if match is None:
        return None
    whole, fraction, suffix = match[1], match[2] or "", match[3]
    if suffix in _BINARY:
        room = 15 - len(whole) - _BINARY[suffix] * 3 // 10 - 1
        return 0 if room >= 0 and not fraction else None
    power = _POWERS[suffix] if suffix in _POWERS else int(suffix[1:])
    scale = power - len(fraction)
    return scale if len(whole) + len(fraction) <= _DIGITS and scale >= -9 else None


def _operand(value: Any) -> Quantity:
    return Quantity(quantities.from_value(value), 0) if isinstance(value, int) else value


def _combined(a: Quantity, other: Any, sign: int) -> Quantity:
    b = _operand(other)
    amount = a.amount + b.amount if sign > 0 else a.amount - b.amount
    if a.scale is None or b.scale is None:
        return Quantity(amount, None)
    if not b.amount or not a.amount:
        return Quantity(amount, a.scale if not b.amount else b.scale)
    scale = min(a.scale, b.scale)
    fits = all(v.INT_MIN <= _at_scale(each, scale) <= v.INT_MAX for each in (a.amount, b.amount, amount))
    return Quantity(amount, scale if fits else None)


def _at_scale(amount: quantities.Quantity, scale: int) -> int:
    return amount.nano // int(10 ** (scale + 9))


def _is_integer(value: Quantity) -> bool:
    whole = value.scale is not None and value.scale >= 0
    return whole and v.INT_MIN <= value.amount.nano // 10**9 <= v.INT_MAX


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return value.amount.nano // 10**9


def _three_way(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


# -- semantic versions, as blang/semver reads them --

_NUMBER = re.compile(r"[0-9]*\Z")
_WORD = re.compile(r"[0-9A-Za-z-]*\Z")


class Semver(Opaque):
    __slots__ = ("order", "text")
    type_name = "kubernetes.Semver"

    def __init__(self, text: str, order: tuple[Any, ...]) -> None:
        self.text = text
        self.order = order
        """(major, minor, patch, prerelease) as semver compares them; build metadata does not count."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and other.order == self.order

    def __hash__(self) -> int:
        return hash(self.order)

    def __str__(self) -> str:
        return self.text


def _normalized(text: str) -> str:
    """Without ``v`` and leading zeros, and with all three numbers."""
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            rest = part.lstrip("0")
            parts[index] = rest if rest[:1].isdigit() else f"0{rest}"
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        raise EvaluationError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][:3])


def semver(text: str, normalize: bool = False) -> Semver:
    """Raises ``EvaluationError`` with blang/semver's texts."""
    text = _normalized(text) if normalize else text
    if not text:
        raise EvaluationError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise EvaluationError("No Major.Minor.Patch elements found")
    major, minor = _number(parts[0], "major"), _number(parts[1], "minor")
    rest, plus, build = parts[2].partition("+")
    rest, dash, before = rest.partition("-")
    patch = _number(rest, "patch")
    order: tuple[Any, ...] = (1,)
    if dash:
        order = (0, tuple(_prerelease(part) for part in before.split(".")))
    for part in build.split(".") if plus else ():
        if not part:
            raise EvaluationError("Build meta data is empty")
        if not _WORD.match(part):
            raise EvaluationError(f"Invalid character(s) found in build meta data {quoted(part)}")
    return Semver(text, (major, minor, patch, order))


def _number(text: str, which: str) -> int:
    if not _NUMBER.match(text):
        raise EvaluationError(f"Invalid character(s) found in {which} number {quoted(text)}")
    if len(text) > 1 and text.startswith("0"):
        raise EvaluationError(f"{which.capitalize()} number must not contain leading zeroes {quoted(text)}")
    if not text:
        raise EvaluationError('strconv.ParseUint: parsing "": invalid syntax')
    if len(text) > 20 or int(text) > v.UINT_MAX:
        raise EvaluationError(f"strconv.ParseUint: parsing {quoted(text)}: value out of range")
    return int(text)


def _prerelease(text: str) -> tuple[Any, ...]:
    if not text:
        raise EvaluationError("Prerelease is empty")
    if not _WORD.match(text):
        raise EvaluationError(f"Invalid character(s) found in prerelease {quoted(text)}")
    if not _NUMBER.match(text):
        return 1, 0, text
    if len(text) > 1 and text.startswith("0"):
        raise EvaluationError(f"Numeric PreRelease version must not contain leading zeroes {quoted(text)}")
    if len(text) > 20 or int(text) > v.UINT_MAX:
        raise EvaluationError(f"strconv.ParseUint: parsing {quoted(text)}: value out of range")
    return 0, int(text), ""


def _good(make: Callable[..., Any]) -> Callable[..., bool]:
    def test(*arguments: Any) -> bool:
        try:
            make(*arguments)
        except EvaluationError:
            return False
        return True

    return test


_Q, _S = "kubernetes.Quantity", "kubernetes.Semver"
_ARITHMETIC = f"{_Q}.({_Q}) {_Q}; {_Q}.(int) {_Q}"


def _both(name: str, step: Callable[[Any, Any], Any], result: str) -> f.Function:
    """One comparison for quantities and versions."""

    def call(a: Any, b: Any) -> Any:
        return step(a.amount, b.amount) if isinstance(a, Quantity) else step(a.order, b.order)

    return define(name, f"{_Q}.({_Q}) {result}; {_S}.({_S}) {result}", call)


AMOUNTS = (
    define("quantity", f"(string) {_Q}", parse_quantity, f.traverse),
    define("isQuantity", "(string) bool", _good(parse_quantity), f.traverse),
    define("isInteger", f"{_Q}.() bool", _is_integer),
    define("asInteger", f"{_Q}.() int", _as_integer),
    define("asApproximateFloat", f"{_Q}.() double", lambda q: q.amount.nano / 1e9),
    # Documented as a member, declared as a function; so it is one.
    define("sign", f"({_Q}) int", lambda q: _three_way(q.amount.nano, 0)),
    define("add", _ARITHMETIC, lambda a, b: _combined(a, b, 1)),
    define("sub", _ARITHMETIC, lambda a, b: _combined(a, b, -1)),
    _both("isLessThan", lambda a, b: a < b, "bool"),
    _both("isGreaterThan", lambda a, b: a > b, "bool"),
    _both("compareTo", _three_way, "int"),
    define("semver", f"(string) {_S}; (string, bool) {_S}", semver, f.traverse),
    define("isSemver", "(string) bool; (string, bool) bool", _good(semver), f.traverse),
    define("major", f"{_S}.() int", lambda s: s.order[0]),
    define("minor", f"{_S}.() int", lambda s: s.order[1]),
    define("patch", f"{_S}.() int", lambda s: s.order[2]),
)
