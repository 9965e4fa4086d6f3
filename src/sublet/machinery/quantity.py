"""Resource quantities such as ``500m``, ``1.5Gi`` or ``3e2``: exact to a billionth.

Source: apimachinery's resource.Quantity; values are rounded away from zero to nano and capped at 2^63 - 1.
"""

from __future__ import annotations

import re
from functools import lru_cache, total_ordering

DECIMAL_SI = "DecimalSI"
BINARY_SI = "BinarySI"
DECIMAL_EXPONENT = "DecimalExponent"

_NANO = 10**9
_LIMIT = ((1 << 63) - 1) * _NANO
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = ("", *_BINARY)

_WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_WRONG_SUFFIX = "unable to parse quantity's suffix"
_split = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)").fullmatch
_exponent = re.compile(r"[eE]([-+]?[0-9]+)").fullmatch


@total_ordering
class Quantity:
    """An amount; compares, adds and hashes by value, whatever its notation."""

    __slots__ = ("format", "nano")

    def __init__(self, nano: int, format: str = DECIMAL_SI) -> None:
        self.nano = nano
        """Billionths."""
        self.format = format

    def __repr__(self) -> str:
        return f"Quantity({self.canonical()!r})"

    def __str__(self) -> str:
        return self.canonical()

    def __eq__(self, other: object) -> bool:
        return self.nano == other.nano if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format)

    def __mul__(self, times: int) -> Quantity:
        return Quantity(self.nano * times, self.format)

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_up(self.nano, _NANO)

    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _divide_up(self.nano, 10**6)

    def canonical(self) -> str:
        """The one notation that Kubernetes writes: no fraction, the largest suffix that loses nothing."""
        if self.format == BINARY_SI and abs(self.nano) >= 1024 * _NANO and self.nano % _NANO == 0:
            return self._binary()
        return self._decimal(self.format == DECIMAL_EXPONENT)

    def _binary(self) -> str:
        number, power = self.nano // _NANO, 0
        while number % 1024 == 0 and power < 6:
            number //= 1024
            power += 1
        return f"{number}{_BINARY_SUFFIX[power]}"

    def _decimal(self, exponent_notation: bool) -> str:
        if not self.nano:
            return "0"
        mantissa, exponent = self.nano, -9
        while mantissa % 1000 == 0 and (exponent_notation or exponent < 18):
            mantissa //= 1000
            exponent += 3
        if exponent_notation:
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"


ZERO = Quantity(0)


def _divide_up(number: int, by: int) -> int:
    return -(-number // by) if number >= 0 else number // by


def from_milli(milli: int, format: str = DECIMAL_SI) -> Quantity:
    return Quantity(milli * 10**6, format)


def from_value(value: int, format: str = DECIMAL_SI) -> Quantity:
    return Quantity(value * _NANO, format)


def parse(value: str | int | float | Quantity) -> Quantity:
    """Raises ``ValueError`` with Kubernetes' text when the value is no quantity."""
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, Quantity):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(_WRONG_FORMAT)
    return _parse(str(value) if isinstance(value, int) else repr(value))


def valid(value: object) -> bool:
    try:
        parse(value)  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _parse(text: str) -> Quantity:
    parts = _split(text)
    if not parts or not (parts[2] or parts[3]):
        raise ValueError(_WRONG_FORMAT)
    sign, whole, fraction, suffix = parts[1], parts[2], parts[3] or "", parts[4]
    digits, scale = int((whole + fraction) or "0"), -len(fraction)
    form = DECIMAL_SI
    if suffix in _BINARY:
        form = BINARY_SI
        digits *= 1024 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        scale += _DECIMAL[suffix]
    elif found := _exponent(suffix):
        form = DECIMAL_EXPONENT
        scale += _bounded(int(found[1]))
    else:
        raise ValueError(_WRONG_SUFFIX)
    power = scale + 9
    nano = digits * 10**power if power >= 0 else -(-digits // 10**-power)
    nano = min(nano, _LIMIT)
    if form == BINARY_SI and 0 < nano < _NANO and sign != "-":
        form = DECIMAL_SI
    return Quantity(-nano if sign == "-" else nano, form)


def _bounded(exponent: int) -> int:
    """Beyond these a value is capped or rounds to one nano anyway; without it 1e999999999 would eat memory."""
    return max(-400, min(400, exponent))
