"""When a cron schedule is next, in a time zone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from sublet.machinery import cron

_HORIZON_DAYS = 366 * 5


class Schedule(Protocol):
    def next(self, after: float) -> float | None:
        """The first time (Unix seconds) later than ``after``; None where there is none within five years."""
        ...


@dataclass(frozen=True)
class Times:
    """Times of the clock, in a time zone."""

    fields: cron.Fields
    zone: tzinfo

    def next(self, after: float) -> float | None:
        start = datetime.fromtimestamp(after, self.zone).replace(tzinfo=None)
        day = start.replace(hour=0, minute=0, second=0, microsecond=0)
        # An hour back: where the clock is set back, an earlier wall clock time can be later.
        first_hour = start.hour - 1
        for _ in range(_HORIZON_DAYS):
            if self._is_on(day):
                for hour in sorted(hour for hour in self.fields.hours.values if hour >= first_hour):
                    for found in self._moments(day.replace(hour=hour)):
                        if found > after:
                            return found
            day += timedelta(days=1)
            first_hour = 0
        return None

    def _is_on(self, day: datetime) -> bool:
        days, weekdays = self.fields.days, self.fields.weekdays
        if day.month not in self.fields.months.values:
            return False
        by_day = day.day in days.values
        by_weekday = day.isoweekday() % 7 in weekdays.values
        if days.star or weekdays.star:
            return by_day and by_weekday
        return by_day or by_weekday

    def _moments(self, hour: datetime) -> Iterator[float]:
        """Unix seconds of the minutes of a wall clock hour: none where the clock skips it, twice where it repeats it."""
        seen: set[float] = set()
        for fold in (0, 1):
            for minute in sorted(self.fields.minutes.values):
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
    found = cron.parse(text)
    if isinstance(found, cron.Every):
        return Every(max(1, int(found.seconds)))
    return Times(found, zone)


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
