"""Go's durations (``1m30s``), as Kubernetes writes them in flags, queries and objects."""

from __future__ import annotations

import re

from sublet.machinery.status import quoted

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d*\.?\d*)([^.\d]*)")


def shown(seconds: float) -> str:
    """As Go prints it: ``1h30m0s``, ``1.5s``, ``250ms``, ``0s``."""
    if 0 < seconds < 1:
        return f"{seconds * 1e3:.15g}ms"
    whole, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(whole), 60)
    tail = f"{rest:.15g}s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail


def parse(text: str) -> float:
    """Seconds. Raises ``ValueError`` with Go's message; negative durations are none here."""
    if text == "0":
        return 0.0
    parts = [part.groups() for part in _PART.finditer(text) if part.group()]
    if not parts:
        raise ValueError(f"time: invalid duration {quoted(text)}")
    total = 0.0
    for number, unit in parts:
        if not number.strip("."):
            raise ValueError(f"time: invalid duration {quoted(text)}")
        if not unit:
            raise ValueError(f"time: missing unit in duration {quoted(text)}")
        if unit not in _SECONDS:
            raise ValueError(f"time: unknown unit {quoted(unit)} in duration {quoted(text)}")
        total += float(number) * _SECONDS[unit]
    return total


def text(nanos: int) -> str:
    """``1h15m30.5s``, as Go prints it."""
    if not nanos:
        return "0s"
    sign, rest = ("-", -nanos) if nanos < 0 else ("", nanos)
    if rest < 10**9:
        unit, size = next((u, s) for u, s in (("ms", 10**6), ("µs", 10**3), ("ns", 1)) if rest >= s)
        return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    found = f"{_decimal(rest, 10**9)}s"
    if hours or minutes:
        found = f"{minutes}m{found}"
    return sign + (f"{hours}h{found}" if hours else found)


def _decimal(number: int, size: int) -> str:
    whole, part = divmod(number, size)
    digits = str(part).rjust(len(str(size)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
