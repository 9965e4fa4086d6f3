"""``"…".format([…])``: cel-go's strings extension before its version 4, with its texts and its English numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import CostExceeded, EvaluationError
from sublet.machinery.cel.standard import text_of
from sublet.machinery.status import quoted

MOST_MADE = 5_000_000
"""Characters of a text that a call may make: what reading it twice would cost is the limit of one evaluation."""
_PRECISION = 6
_LONGEST_PRECISION = 100
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_CLAUSE = re.compile(r"%(?:\.(?P<precision>[0-9]*))?(?P<kind>.)?", re.DOTALL)
_NAN = ("NaN", "Infinity", "-Infinity")


def affordable(length: int) -> None:
    """Raises ``CostExceeded`` before a text is made that nobody could pay for."""
    if length > MOST_MADE:
        raise CostExceeded("operation cancelled: actual cost limit exceeded")


def bounded(parts: Iterable[str]) -> Iterator[str]:
    """The parts, as long as they are affordable together."""
    made = 0
    for part in parts:
        made += len(part)
        affordable(made)
        yield part


def format_text(template: str, arguments: list[Any]) -> str:
    """Raises ``EvaluationError`` where a clause and its argument do not fit."""
    return "".join(bounded(_parts(template, arguments)))


def _parts(template: str, arguments: list[Any]) -> Iterator[str]:
    at, used = 0, 0
    while True:
        start = template.find("%", at)
        if start < 0:
            yield template[at:]
            return
        yield template[at:start]
        if template.startswith("%%", start):
            yield "%"
            at = start + 2
            continue
        if used >= len(arguments):
            raise EvaluationError(f"index {used} out of range")
        if start + 1 == len(template):
            raise EvaluationError("unexpected end of string")
        match = _CLAUSE.match(template, start)
        if match is None:
            raise EvaluationError("unexpected end of string")
        yield _clause(match["kind"], match["precision"], arguments[used])
        at, used = match.end(), used + 1


def _clause(kind: str | None, stated: str | None, value: Any) -> str:
    wrong = "could not parse formatting clause: "
    if kind is None:
        raise EvaluationError(
            f"{wrong}error while parsing precision: could not find end of precision specifier"
        )
    if stated == "":
        why = 'error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax'
        raise EvaluationError(f"{wrong}error while parsing precision: {why}")
    form = _FORMS.get(kind)
    if form is None:
        raise EvaluationError(f"{wrong}unrecognized formatting clause {quoted(kind)}")
    precision = _PRECISION if stated is None else min(int(stated[:4]), _LONGEST_PRECISION)
    return form(value, precision)


def _refused(clause: str, value: Any) -> EvaluationError:
    return EvaluationError(f"error during formatting: {clause}, was given {v.type_name(value)}")


def _string(value: Any, _precision: int = 0) -> str:
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, dict):
        return _map(value)
    if value is None:
        return "null"
    if isinstance(value, v.TypeValue):
        return value.name
    if isinstance(value, (v.Opaque, v.Optional)):
        why = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        raise _refused(why, value)
    return text_of(value)


def _list(items: list[Any]) -> str:
    return "[" + ", ".join(bounded(_nested(item) for item in items)) + "]"


def _map(entries: Mapping[Any, Any]) -> str:
    shown = sorted((_nested(key), _nested(value)) for key, value in entries.items())
    return "{" + ", ".join(bounded(f"{key}:{value}" for key, value in shown)) + "}"


def _nested(value: Any) -> str:
    """A value inside of a list or map is written as in an expression."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return "b" + quoted(text_of(value))
    if isinstance(value, v.Timestamp):
        return f"timestamp({quoted(str(value))})"
    if isinstance(value, v.Duration):
        return f"duration({quoted(str(value))})"
    if isinstance(value, float):
        if math.isfinite(value):
            return f"{value:.{_PRECISION}f}"
        return quoted(text_of(value))
    if isinstance(value, (v.Opaque, v.Optional)):
        raise EvaluationError(f"error during formatting: no formatting function for {v.type_name(value)}")
    return _string(value)


def _decimal(value: Any, _precision: int) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused("decimal clause can only be used on integers", value)
    return str(int(value))


def _double(value: Any, clause: str) -> float:
    if isinstance(value, float):
        return value
    if value in _NAN:
        return float(value)
    raise _refused(f"{clause} clause can only be used on doubles", value)


def _not_finite(value: float) -> str:
    return "NaN" if value != value else "∞" if value > 0 else "-∞"


def _fixed(value: Any, precision: int) -> str:
    number = _double(value, "fixed-point")
    return f"{number:,.{precision}f}" if math.isfinite(number) else _not_finite(number)


def _scientific(value: Any, _precision: int) -> str:
    """The precision is taken for a width, so there are always six digits."""
    number = _double(value, "scientific")
    if not math.isfinite(number):
        return _not_finite(number)
    digits, _, exponent = f"{number:.{_PRECISION}e}".partition("e")
    return f"{digits}\u202f×\u202f10{exponent.removeprefix('+').translate(_RAISED)}"


def _integer(value: Any, kind: str, why: str) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused(why, value)
    return format(int(value), kind)


def _binary(value: Any, _precision: int) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return _integer(value, "b", "only integers and bools can be formatted as binary")


def _hex(kind: str) -> Callable[[Any, int], str]:
    def shown(value: Any, _precision: int) -> str:
        if isinstance(value, (str, bytes)):
            data = (value.encode() if isinstance(value, str) else value).hex()
            return data.upper() if kind == "X" else data
        return _integer(value, kind, "only integers, byte buffers, and strings can be formatted as hex")

    return shown


def _octal(value: Any, _precision: int) -> str:
    return _integer(value, "o", "octal clause can only be used on integers")


_FORMS: Mapping[str, Callable[[Any, int], str]] = {
    "s": _string, "d": _decimal, "f": _fixed, "e": _scientific, "b": _binary, "x": _hex("x"), "X": _hex("X"),
    "o": _octal,
}  # fmt: skip
