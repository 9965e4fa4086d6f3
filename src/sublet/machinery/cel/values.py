"""Values of expressions in Python: JSON's own types plus what JSON lacks; equality, order, types.

int is int, double is float, list and map are list and dict; uint, timestamp, duration, optional and the rest are here.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery.cel.errors import EvaluationError, no_such_overload

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
_NANOS = 1_000_000_000
_EARLIEST, _LATEST = -62135596800, 253402300799
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class UInt(int):
    """A uint, told apart from int by its class only."""

    __slots__ = ()


class SetList(list[Any]):
    """A list of schema list type ``set``: equal in any order, ``+`` keeps one of each."""

    __slots__ = ()


class MapList(list[Any]):
    """A list of schema list type ``map``: equal in any order, ``+`` replaces by key."""

    __slots__ = ("keys",)

    def __init__(self, items: Any, keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def key(self, item: Any) -> Any:
        return tuple(item.get(k) for k in self.keys)


class Struct(dict[str, Any]):
    """``Object.spec{…}``: a map that remembers its type's name."""

    __slots__ = ("name",)

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.name = name


@dataclass(frozen=True, slots=True)
class TypeValue:
    """What ``type(x)`` gives."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """``optional.of(value)`` or ``optional.none()``."""

    value: Any = None
    present: bool = False


NONE = Optional()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanos: int

    def __str__(self) -> str:
        seconds, rest = divmod(abs(self.nanos), _NANOS)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{'-' if self.nanos < 0 else ''}{seconds}{fraction}s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """Nanoseconds since 1970."""

    nanos: int
    east: int = field(default=0, compare=False)
    """Seconds that the clock it was read from is ahead of UTC: only texts show it."""

    def local(self, zone: str = "") -> datetime.datetime:
        """As a date in a time zone (``Europe/Berlin``, ``+02:00``; UTC by default)."""
        moment = _EPOCH + datetime.timedelta(seconds=self.nanos // _NANOS)
        return moment.astimezone(_zone(zone)) if zone else moment

    def __str__(self) -> str:
        rest = self.nanos % _NANOS
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        shown = (self.local() + datetime.timedelta(seconds=self.east)).isoformat()[:19]
        hours, minutes = divmod(abs(self.east) // 60, 60)
        zone = f"{'-' if self.east < 0 else '+'}{hours:02d}:{minutes:02d}" if self.east else "Z"
        return f"{shown}{fraction}{zone}"


class Opaque:
    """A value of a Kubernetes library (URL, quantity, …): compared by ``==``, named by :attr:`type_name`."""

    __slots__ = ()
    type_name = "opaque"

    @property
    def size(self) -> int:
        """What it counts in costs."""
        return 1


def _zone(name: str) -> datetime.tzinfo:
    match = re.fullmatch(r"([+-]?)(\d{2}):(\d{2})", name)
    if match:
        offset = datetime.timedelta(hours=int(match[2]), minutes=int(match[3]))
        return datetime.timezone(-offset if match[1] == "-" else offset)
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise EvaluationError(f"unknown time zone {name}") from error


_DURATION = re.compile(r"([-+]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+\Z")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": _NANOS, "m": 60 * _NANOS, "h": 3600 * _NANOS}  # fmt: skip


def duration(text: str) -> Duration:
    """Go's notation of durations. Raises ``EvaluationError``."""
    from decimal import Decimal

    if text in ("0", "+0", "-0"):
        return Duration(0)
    if len(text) > 200 or not _DURATION.match(text):
        raise EvaluationError(f"time: invalid duration {_quoted(text)}")
    total = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in _PART.findall(text))
    if total > INT_MAX:
        raise EvaluationError(f"time: invalid duration {_quoted(text)}")
    return Duration(-total if text.startswith("-") else total)


_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z"
)


def timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises ``EvaluationError``."""
    match = _TIMESTAMP.match(text)
    if match is None:
        raise EvaluationError(f"parsing time {_quoted(text)}: not a time in RFC 3339")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError as error:
        raise EvaluationError(f"parsing time {_quoted(text)}: {error}") from error
    seconds = (moment - _EPOCH) // datetime.timedelta(seconds=1)
    east = 0
    if match[8] not in "Zz":
        east = int(match[8][1:3]) * 3600 + int(match[8][4:6]) * 60
        east = east if match[8][0] == "+" else -east
    return in_range(Timestamp((seconds - east) * _NANOS + int((match[7] or "0").ljust(9, "0")), east))


class Overflow(EvaluationError):
    """A time that no year from 1 to 9999 has."""


def in_range(moment: Timestamp) -> Timestamp:
    if not _EARLIEST <= moment.nanos // _NANOS <= _LATEST:
        raise Overflow("timestamp overflow")
    return moment


EARLIEST = Timestamp(_EARLIEST * _NANOS)


def _quoted(text: str) -> str:
    return '"' + text[:100].replace('"', '\\"') + '"'


# -- types --


def type_name(value: Any) -> str:
    """As in ``type(x)`` and in messages of overloads."""
    if value is None:
        return "null_type"
    kind = _NAMES.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, Struct):
        return value.name
    if isinstance(value, Opaque):
        return value.type_name
    for cls, name in _NAMES.items():
        if isinstance(value, cls):
            return name
    return type(value).__name__


_NAMES: Mapping[type, str] = {
    bool: "bool", UInt: "uint", int: "int", float: "double", str: "string", bytes: "bytes",
    list: "list", SetList: "list", MapList: "list", dict: "map", Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration", TypeValue: "type", Optional: "optional_type",
}  # fmt: skip


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -- equality and order --


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: numbers across types, never an error."""
    kind = type(a)
    if kind is type(b) and kind in (str, int, bool, float, bytes):
        return bool(a == b)
    if isinstance(a, dict):
        if not isinstance(b, dict) or len(a) != len(b):
            return False
        return all(k in b and equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and _equal_lists(a, b)
    if isinstance(a, Optional):
        if not isinstance(b, Optional):
            return False
        return a.present == b.present and (not a.present or equal(a.value, b.value))
    if is_number(a):
        return is_number(b) and bool(a == b)
    return type(a) is type(b) and bool(a == b)


def _equal_lists(a: list[Any], b: list[Any]) -> bool:
    if isinstance(a, MapList) or isinstance(b, MapList):
        keyed = a if isinstance(a, MapList) else b
        if isinstance(keyed, MapList):
            theirs = {repr(keyed.key(item)): item for item in b}
            return all(equal(item, theirs.get(repr(keyed.key(item)))) for item in a)
    if isinstance(a, SetList) or isinstance(b, SetList):
        return all(contains(b, item) for item in a)
    return all(equal(x, y) for x, y in zip(a, b, strict=True))


def contains(items: list[Any], value: Any) -> bool:
    return any(equal(item, value) for item in items)


def compare(a: Any, b: Any) -> int:
    """Negative, 0 or positive. Raises ``EvaluationError`` where there is no order."""
    if is_number(a) and is_number(b):
        if a != a or b != b:
            raise EvaluationError("NaN values cannot be ordered")
    elif type(a) is not type(b) or not isinstance(a, (str, bytes, bool, Timestamp, Duration)):
        raise no_such_overload()
    return -1 if a < b else 1 if a > b else 0


def get_index(container: Any, key: Any) -> Any:
    """``container[key]``. Raises ``EvaluationError``."""
    if isinstance(container, dict):
        if isinstance(key, (dict, list)) or key is None:
            raise no_such_overload("_[_]")
        found = lookup(container, key)
        if found.present:
            return found.value
        raise EvaluationError(f"no such key: {key}")
    if isinstance(container, list):
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if not isinstance(key, int) or isinstance(key, bool):
            raise no_such_key(container, key)
        if not 0 <= key < len(container):
            raise EvaluationError(f"index out of bounds: {key}")
        return container[key]
    raise no_such_key(container, key)


def no_such_key(container: Any, key: Any) -> EvaluationError:
    """Why ``container.key`` or ``container[key]`` has no value where the container is no map."""
    if isinstance(container, list):
        return EvaluationError(f"unsupported index type '{type_name(key)}' in list")
    return EvaluationError(f"no such key: {key}")


def lookup(container: dict[Any, Any], key: Any) -> Optional:
    """A map's value; Python takes ``True`` for 1, CEL does not."""
    if key in container and (isinstance(key, str) or any(equal(k, key) for k in container if k == key)):
        return Optional(container[key], True)
    return NONE


def check_int(value: int, *, unsigned: bool = False) -> int:
    if unsigned:
        if not 0 <= value <= UINT_MAX:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def key_hash(value: Any) -> Any:
    """A hashable stand-in: equal for values that are :func:`equal`."""
    if isinstance(value, dict):
        return ("m", frozenset((key_hash(k), key_hash(v)) for k, v in value.items()))
    if isinstance(value, list):
        items = tuple(key_hash(v) for v in value)
        return ("l", frozenset(items)) if isinstance(value, (SetList, MapList)) else ("l", items)
    if isinstance(value, bool):
        return ("b", value)
    if is_number(value):
        return ("n", value)
    return (type(value).__name__, value)
