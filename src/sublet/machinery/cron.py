"""Cron schedules as Kubernetes reads them: five fields, names, steps, macros and ``@every``.

The messages are those of the Go library that Kubernetes asks (robfig/cron, ``ParseStandard``).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from sublet.machinery import durations

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}


class Field(Struct, frozen=True):
    """The numbers of one field; ``star``: it says every number, with ``*`` or ``?``."""

    values: frozenset[int]
    star: bool


class Fields(Struct, frozen=True):
    """A schedule of times. Where neither ``days`` nor ``weekdays`` is a star, one of them suffices."""

    minutes: Field
    hours: Field
    days: Field
    months: Field
    weekdays: Field
    """0 is Sunday."""


class Every(Struct, frozen=True):
    """``@every 1h30m``, in seconds."""

    seconds: float


def parse(text: str) -> Fields | Every:
    """Raises ``ValueError`` saying what is wrong."""
    if not text:
        raise ValueError("empty spec string")
    if text.startswith(_EVERY):
        try:
            return Every(durations.parse(text.removeprefix(_EVERY)))
        except ValueError as error:
            raise ValueError(f"failed to parse duration {text}: {error}") from None
    if text.startswith("@"):
        if text not in _MACROS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _MACROS[text]
    parts = text.split()
    if len(parts) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    minute, hour, day, month, weekday = parts
    return Fields(
        minutes=_field(minute, 0, 59),
        hours=_field(hour, 0, 23),
        days=_field(day, 1, 31),
        months=_field(month, 1, 12, _MONTHS),
        weekdays=_field(weekday, 0, 6, _DAYS),
    )


def _field(text: str, low: int, high: int, names: Mapping[str, int] | None = None) -> Field:
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        numbers, every = _part(part, low, high, names or {})
        values.update(numbers)
        star = star or every
    return Field(frozenset(values), star)


def _part(part: str, low: int, high: int, names: Mapping[str, int]) -> tuple[range, bool]:
    """The numbers of ``*``, ``5``, ``1-5``, ``mon-fri/2``; whether all are meant."""
    span, *steps = part.split("/")
    start, *ends = span.split("-")
    star = start in ("*", "?")
    if star:
        first, last = low, high
    else:
        first = last = _named(start, names)
        if len(ends) > 1:
            raise ValueError(f"too many hyphens: {part}")
        if ends:
            last = _named(ends[0], names)
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {part}")
    step = 1
    if steps:
        step = _number(steps[0])
        if not ends:
            last = high
    if first < low:
        raise ValueError(f"beginning of range ({first}) below minimum ({low}): {part}")
    if last > high:
        raise ValueError(f"end of range ({last}) above maximum ({high}): {part}")
    if first > last:
        raise ValueError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if not step:
        raise ValueError(f"step of range should be a positive number: {part}")
    return range(first, last + 1, step), star and step == 1


def _named(text: str, names: Mapping[str, int]) -> int:
    found = names.get(text.lower())
    return _number(text) if found is None else found


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if (found := int(text)) < 0:
        raise ValueError(f"negative number ({found}) not allowed: {text}")
    return found
