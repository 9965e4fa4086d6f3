"""The standard functions and operators of CEL, and the optional type's."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from sublet.machinery import gotext
from sublet.machinery.cel import functions as f
from sublet.machinery.cel import values as v
from sublet.machinery.cel.errors import EvaluationError, no_such_overload
from sublet.machinery.cel.functions import Function, define
from sublet.machinery.cel.values import Duration, MapList, Optional, SetList, Timestamp, UInt

_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS = ("int", "uint", "double")


def add(a: Any, b: Any) -> Any:
    if isinstance(a, (Timestamp, Duration)):
        return _add_times(a, b)
    if isinstance(a, list) and isinstance(b, list):
        return _add_lists(a, b)
    if type(a) is not type(b):
        raise no_such_overload("_+_")
    if isinstance(a, (str, bytes, float)):
        return a + b
    if isinstance(a, bool) or not isinstance(a, int):
        raise no_such_overload("_+_")
    return v.check_int(int(a) + int(b), unsigned=isinstance(a, UInt))


def _add_times(a: Any, b: Any) -> Any:
    if isinstance(a, Duration) and isinstance(b, Duration):
        return _duration(a.nanos + b.nanos)
    if isinstance(a, Duration) == isinstance(b, Duration) or not isinstance(b, (Timestamp, Duration)):
        raise no_such_overload("_+_")
    east = a.east if isinstance(a, Timestamp) else b.east if isinstance(b, Timestamp) else 0
    return v.in_range(Timestamp(a.nanos + b.nanos, east))


def _duration(nanos: int) -> Duration:
    if not v.INT_MIN <= nanos <= v.INT_MAX:
        raise EvaluationError("duration overflow")
    return Duration(nanos)


def _add_lists(a: list[Any], b: list[Any]) -> list[Any]:
    if isinstance(a, SetList):
        seen = {v.key_hash(item) for item in a}
        return SetList([*a, *(item for item in b if v.key_hash(item) not in seen)])
    if isinstance(a, MapList):
        keyed: MapList = a
        theirs = {repr(keyed.key(item)): item for item in b}
        kept = [theirs.pop(repr(keyed.key(item)), item) for item in a]
        return MapList([*kept, *theirs.values()], keyed.keys)
    return [*a, *b]


def _subtract(a: Any, b: Any) -> Any:
    if isinstance(a, Timestamp) and isinstance(b, Timestamp):
        return _duration(a.nanos - b.nanos)
    if isinstance(b, Duration) and isinstance(a, (Timestamp, Duration)):
        if isinstance(a, Duration):
            return _duration(a.nanos - b.nanos)
        return v.in_range(Timestamp(a.nanos - b.nanos, a.east))
    return _arithmetic("_-_", a, b, lambda x, y: x - y)


def _arithmetic(name: str, a: Any, b: Any, step: Callable[[Any, Any], Any]) -> Any:
    if type(a) is not type(b) or not v.is_number(a):
        raise no_such_overload(name)
    if isinstance(a, float):
        return step(a, b)
    return v.check_int(step(int(a), int(b)), unsigned=isinstance(a, UInt))


def _multiply(a: Any, b: Any) -> Any:
    return _arithmetic("_*_", a, b, lambda x, y: x * y)


def _quotient(x: Any, y: Any) -> Any:
    if isinstance(x, float):
        if y == 0:
            return math.nan if x == 0 or x != x else math.copysign(math.inf, x) * math.copysign(1, y)
        return x / y
    if y == 0:
        raise EvaluationError("division by zero")
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def _divide(a: Any, b: Any) -> Any:
    return _arithmetic("_/_", a, b, _quotient)


def _remainder(a: Any, b: Any) -> Any:
    if isinstance(a, float):
        raise no_such_overload("_%_")

    def step(x: int, y: int) -> int:
        if y == 0:
            raise EvaluationError("modulus by zero")
        if y == -1 and x == v.INT_MIN:
            raise EvaluationError("integer overflow")
        return abs(x) % abs(y) * (-1 if x < 0 else 1)

    return _arithmetic("_%_", a, b, step)


def _negate(a: Any) -> Any:
    if isinstance(a, (bool, UInt)) or not v.is_number(a):
        raise no_such_overload("-_")
    return -a if isinstance(a, float) else v.check_int(-a)


def _not(a: Any) -> bool:
    if not isinstance(a, bool):
        raise no_such_overload("!_")
    return not a


def _in(a: Any, b: Any) -> bool:
    if isinstance(b, dict):
        return not isinstance(a, (dict, list)) and v.lookup(b, a).present
    if isinstance(b, list):
        return v.contains(b, a)
    raise no_such_overload("@in")


def _size(a: Any) -> int:
    if not isinstance(a, (str, bytes, list, dict)):
        raise no_such_overload("size")
    return len(a)


# -- conversions --


_DIGITS = re.compile(r"[0-9]{1,40}\Z")
_FLOAT = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN])\Z")  # fmt: skip


def _unconvertible(kind: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{kind}'")


def _to_int(a: Any) -> int:
    if isinstance(a, float):
        if not -(2.0**63) < a < 2.0**63:
            raise EvaluationError("integer overflow")
        return int(a)
    if isinstance(a, Timestamp):
        return a.nanos // 1_000_000_000
    if isinstance(a, Duration):
        return a.nanos
    if isinstance(a, str) and not (
        _DIGITS.match(a[1:] if a[:1] in ("-", "+") else a) and v.INT_MIN <= int(a) <= v.INT_MAX
    ):
        raise _unconvertible("int")
    return v.check_int(int(a))


def _to_uint(a: Any) -> int:
    if isinstance(a, float) and not 0 <= a < 2.0**64:
        raise EvaluationError("unsigned integer overflow")
    if isinstance(a, str) and (not _DIGITS.match(a) or int(a) > v.UINT_MAX):
        raise _unconvertible("uint")
    return v.check_int(int(a), unsigned=True)


def _to_double(a: Any) -> float:
    if not isinstance(a, str):
        return float(a)
    found = float(a) if _FLOAT.match(a) else math.nan
    if not _FLOAT.match(a) or (math.isinf(found) and "n" not in a.lower()):
        raise _unconvertible("double")
    return found


def text_of(a: Any) -> str:
    """``string(a)``."""
    if isinstance(a, str):
        return a
    if isinstance(a, bool):
        return "true" if a else "false"
    if isinstance(a, float):
        return double_text(a)
    if isinstance(a, bytes):
        try:
            return a.decode()
        except UnicodeDecodeError as error:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from error
    if isinstance(a, (int, Timestamp, Duration, v.Opaque)):
        return str(int(a)) if isinstance(a, int) else str(a)
    raise no_such_overload("string")


def double_text(a: float) -> str:
    """As Go's ``%g``."""
    if a != a or math.isinf(a):
        return "NaN" if a != a else "+Inf" if a > 0 else "-Inf"
    return gotext.number(a)


def _to_bool(a: Any) -> bool:
    if isinstance(a, bool):
        return a
    if a in ("true", "True", "TRUE", "t", "T", "1"):
        return True
    if a in ("false", "False", "FALSE", "f", "F", "0"):
        return False
    raise _unconvertible("bool")


def _to_timestamp(a: Any) -> Timestamp:
    if isinstance(a, int):
        return v.in_range(Timestamp(a * 1_000_000_000))
    if isinstance(a, Timestamp):
        return a
    try:
        return v.timestamp(a)
    except v.Overflow:
        raise
    except EvaluationError:
        raise _unconvertible("google.protobuf.Timestamp") from None


def _to_duration(a: Any) -> Duration:
    if not isinstance(a, str):
        return a if isinstance(a, Duration) else Duration(a)
    try:
        return v.duration(a)
    except EvaluationError:
        raise _unconvertible("google.protobuf.Duration") from None


# -- times --


def _part(pick: Callable[[Any], int], per: int = 0) -> Callable[..., int]:
    def part(a: Any, zone: str = "") -> int:
        if isinstance(a, Duration):
            if not per:
                raise no_such_overload()
            whole = abs(a.nanos) // per
            return -whole if a.nanos < 0 else whole
        return pick(a.local(zone))

    return part


def _milliseconds(a: Any, zone: str = "") -> int:
    if isinstance(a, Duration):
        return abs(a.nanos) // 1_000_000 * (-1 if a.nanos < 0 else 1)
    return a.nanos % 1_000_000_000 // 1_000_000 if isinstance(a, Timestamp) else 0


_DAY = "timestamp.() int; timestamp.(string) int"
_TIMES = (
    define("getFullYear", _DAY, _part(lambda t: t.year)),
    define("getMonth", _DAY, _part(lambda t: t.month - 1)),
    define("getDate", _DAY, _part(lambda t: t.day)),
    define("getDayOfMonth", _DAY, _part(lambda t: t.day - 1)),
    define("getDayOfYear", _DAY, _part(lambda t: t.timetuple().tm_yday - 1)),
    define("getDayOfWeek", _DAY, _part(lambda t: t.isoweekday() % 7)),
    define("getHours", _DAY + "; duration.() int", _part(lambda t: t.hour, 3600 * 10**9)),
    define("getMinutes", _DAY + "; duration.() int", _part(lambda t: t.minute, 60 * 10**9)),
    define("getSeconds", _DAY + "; duration.() int", _part(lambda t: t.second, 10**9)),
    define("getMilliseconds", _DAY + "; duration.() int", _milliseconds),
)


# -- optionals --


def _value(a: Optional) -> Any:
    if not a.present:
        raise EvaluationError("optional.none() dereference")
    return a.value


_ZEROS = (Duration(0), v.EARLIEST)


def _non_zero(a: Any) -> Optional:
    empty = a is None or a is False or (v.is_number(a) and a == 0) or (f.size_of(a) == 0) or a in _ZEROS
    return v.NONE if empty else Optional(a, True)


def _optional_index(container: Any, key: Any) -> Optional:
    if isinstance(container, Optional):
        if not container.present:
            return v.NONE
        container = container.value
    try:
        return Optional(v.get_index(container, key), True)
    except EvaluationError as error:
        if str(error).startswith("no such overload"):
            raise
        return v.NONE


def _index(container: Any, key: Any) -> Any:
    if isinstance(container, Optional):
        return _optional_index(container, key)
    return v.get_index(container, key)


def _or(a: Optional, b: Optional) -> Optional:
    return a if a.present else b


def _unwrap(items: list[Any]) -> list[Any]:
    return [item.value for item in items if item.present]


_OPTIONALS = (
    define("optional.of", "(A) optional(A)", lambda a: Optional(a, True)),
    define("optional.ofNonZeroValue", "(A) optional(A)", _non_zero),
    define("optional.none", "() optional(A)", lambda: v.NONE),
    define("optional.unwrap", "(list(optional(A))) list(A)", _unwrap, f.each),
    define("unwrapOpt", "list(optional(A)).() list(A)", _unwrap, f.each),
    define("hasValue", "optional(A).() bool", lambda a: a.present),
    define("value", "optional(A).() A", _value),
    define("or", "optional(A).(optional(A)) optional(A)", _or),
    define("orValue", "optional(A).(A) A", lambda a, b: a.value if a.present else b),
    define("_[?_]", "(list(A), int) optional(A); (map(A, B), A) optional(B); (optional(list(A)), int) optional(A); (optional(map(A, B)), A) optional(B)", _optional_index),
)  # fmt: skip


def _pairs(template: str, names: tuple[str, ...]) -> str:
    return "; ".join(template.format(n) for n in names)


def _order(name: str, test: Callable[[int], bool]) -> Function:
    mixed = "; ".join(f"({a}, {b}) bool" for a in _NUMBERS for b in _NUMBERS if a != b)
    signatures = _pairs("({0}, {0}) bool", _ORDERED) + "; " + mixed
    return define(name, signatures, lambda a, b: test(v.compare(a, b)), f.shorter)


STANDARD: tuple[Function, ...] = (
    define("_==_", "(A, A) bool", v.equal, f.shorter),
    define("_!=_", "(A, A) bool", lambda a, b: not v.equal(a, b), f.shorter),
    _order("_<_", lambda c: c < 0), _order("_<=_", lambda c: c <= 0),
    _order("_>_", lambda c: c > 0), _order("_>=_", lambda c: c >= 0),
    define("_+_", _pairs("({0}, {0}) {0}", ("int", "uint", "double", "string", "bytes", "duration"))
           + "; (timestamp, duration) timestamp; (duration, timestamp) timestamp; (list(A), list(A)) list(A)",
           add, f.traverse_all),
    define("_-_", _pairs("({0}, {0}) {0}", ("int", "uint", "double", "duration"))
           + "; (timestamp, duration) timestamp; (timestamp, timestamp) duration", _subtract),
    define("_*_", _pairs("({0}, {0}) {0}", _NUMBERS), _multiply),
    define("_/_", _pairs("({0}, {0}) {0}", _NUMBERS), _divide),
    define("_%_", _pairs("({0}, {0}) {0}", ("int", "uint")), _remainder),
    define("-_", "(int) int; (double) double", _negate),
    define("!_", "(bool) bool", _not),
    define("@in", "(A, list(A)) bool; (A, map(A, B)) bool", _in, lambda s: s[1], lambda v: len(v[1]) if isinstance(v[1], list) else 1),
    define("_[_]", "(list(A), int) A; (map(A, B), A) B; (optional(list(A)), int) optional(A); (optional(map(A, B)), A) optional(B)", _index),
    define("size", "(string) int; (bytes) int; (list(A)) int; (map(A, B)) int; string.() int; bytes.() int; list(A).() int; map(A, B).() int", _size),
    define("int", "(int) int; (uint) int; (double) int; (string) int; (timestamp) int; (duration) int", _to_int),
    define("uint", "(uint) uint; (int) uint; (double) uint; (string) uint", _to_uint),
    define("double", "(double) double; (int) double; (uint) double; (string) double", _to_double),
    define("string", _pairs("({0}) string", _ORDERED), text_of),
    define("bytes", "(bytes) bytes; (string) bytes", lambda a: a.encode() if isinstance(a, str) else a, f.traverse),
    define("bool", "(bool) bool; (string) bool", _to_bool),
    define("timestamp", "(timestamp) timestamp; (string) timestamp; (int) timestamp", _to_timestamp),
    define("duration", "(duration) duration; (string) duration; (int) duration", _to_duration),
    define("type", "(A) type(A)", lambda a: v.TypeValue(v.type_name(a))),
    define("dyn", "(A) dyn", lambda a: a),
    define("startsWith", "string.(string) bool", str.startswith, f.argument),
    define("endsWith", "string.(string) bool", str.endswith, f.argument),
    define("contains", "string.(string) bool", lambda a, b: b in a, f.product),
    *_TIMES,
    *_OPTIONALS,
)  # fmt: skip
