"""Cron schedules: five fields, names, steps, macros and ``@every``. Pure.

Source: the CronJob documentation; where day of month and day of week are both restricted, either suffices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_HORIZON_DAYS = 366 * 5


class Schedule(Protocol):
    def next(self, after: float) -> float | None:
        """The first time (Unix seconds) later than ``after``; None where there is none within five years."""
        ...


@dataclass(frozen=True)
class Fields:
    """A schedule of five fields, in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Day of month begins with ``*``: day of week alone decides."""
    any_weekday: bool
    zone: tzinfo

    def next(self, after: float) -> float | None:
        start = datetime.fromtimestamp(after, self.zone).replace(tzinfo=None)
        day = start.replace(hour=0, minute=0, second=0, microsecond=0)
        # An hour back: where the clock is set back, an earlier wall clock time can be later.
        first_hour = start.hour - 1
        for _ in range(_HORIZON_DAYS):
            if self._is_on(day):
                for hour in sorted(hour for hour in self.hours if hour >= first_hour):
                    for found in self._moments(day.replace(hour=hour)):
                        if found > after:
                            return found
            day += timedelta(days=1)
            first_hour = 0
        return None

    def _is_on(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def _moments(self, hour: datetime) -> Iterator[float]:
        """Unix seconds of the minutes of a wall clock hour: none where the clock skips it, twice where it repeats it."""
        seen: set[float] = set()
        for fold in (0, 1):
            for minute in sorted(self.minutes):
                local = hour.replace(minute=minute)
                utc = local.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
                found = utc.timestamp()
                if found not in seen and utc.astimezone(self.zone).replace(tzinfo=None, fold=0) == local:
                    seen.add(found)
                    yield found


@dataclass(frozen=True)
class Every:
    """``@every 1h30m``."""

    seconds: int

    def next(self, after: float) -> float | None:
        return float(int(after) + self.seconds)


def parse(text: str, zone: tzinfo = UTC) -> Schedule:
    """Raises ``ValueError`` saying what is wrong."""
    text = text.strip()
    if text.startswith("@every "):
        return Every(max(1, int(_duration(text.removeprefix("@every ").strip()))))
    if text.startswith("@"):
        if text not in _MACROS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _MACROS[text]
    parts = text.split()
    if len(parts) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    return Fields(
        minutes=_field(parts[0], 0, 59),
        hours=_field(parts[1], 0, 23),
        days=_field(parts[2], 1, 31),
        months=_field(parts[3], 1, 12, _MONTHS, 1),
        weekdays=_field(parts[4], 0, 6, _DAYS, 0),
        any_day=parts[2][0] in "*?",
        any_weekday=parts[4][0] in "*?",
        zone=zone,
    )


def _duration(text: str) -> float:
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"failed to parse duration {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in found)


def _field(text: str, low: int, high: int, names: tuple[str, ...] = (), first: int = 0) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        if "/" in part and not step_text:
            raise ValueError(f"failed to parse {part!r}: a step is missing")
        step = int(step_text) if step_text else 1
        if step < 1:
            raise ValueError(f"step of range should be a positive number: {part}")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            start, dash, stop = span.partition("-")
            begin = _number(start, names, first)
            end = _number(stop, names, first) if dash else (high if step_text else begin)
        if begin < low or end > high:
            raise ValueError(f"value of {part!r} is outside {low}-{high}")
        if begin > end:
            raise ValueError(f"beginning of range ({begin}) beyond end of range ({end}): {part}")
        found.update(range(begin, end + 1, step))
    return frozenset(found)


def _number(text: str, names: tuple[str, ...], first: int) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + first
    if not text.isdigit():
        raise ValueError(f"failed to parse number: {text!r}")
    return int(text)


@dataclass(frozen=True)
class Due:
    """``scheduled``: the latest time that has come since ``since``; ``too_many``: whether more than 100 have."""

    scheduled: float | None
    too_many: bool


def due(schedule: Schedule, since: float, now: float) -> Due:
    """The most recent time not later than ``now``; bounded work however long ago ``since`` is."""
    first = schedule.next(since)
    if first is None or first > now:
        return Due(None, False)
    second = schedule.next(first)
    if second is None or second > now:
        return Due(first, False)
    # Jump close to the present by the distance of two times, then walk.
    step = second - first
    count = int((now - first) / step)
    latest = first
    probe = first + max(0, count - 3) * step
    found = schedule.next(probe)
    if found is None or found > now:
        probe, found = first, second
    while found is not None and found <= now:
        latest = found
        found = schedule.next(found)
    return Due(latest, count >= 100)


def following(schedule: Schedule, since: float, now: float) -> float | None:
    """The first time later than ``now``, counted on from ``since`` where the schedule counts from its last time."""
    found = schedule.next(due(schedule, since, now).scheduled or since)
    return schedule.next(now) if found is not None and found <= now else found
