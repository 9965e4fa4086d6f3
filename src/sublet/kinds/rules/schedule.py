"""Cron schedules: is one written well, and when is it next. Source: Kubernetes' documentation of CronJob."""

from __future__ import annotations

MACROS = {
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
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


def parse(schedule: str) -> tuple[frozenset[int], ...]:
    """The values of minute, hour, day of month, month and day of week (0 is Sunday).

    Raises ``ValueError`` saying what is wrong. ``@every DURATION`` is not a set of times and refused here.
    """
    text = MACROS.get(schedule.strip().lower(), schedule.strip())
    if text.startswith("@"):
        raise ValueError(f"unrecognized descriptor: {schedule}")
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{schedule}]")
    found = []
    for part, (name, low, high, words) in zip(parts, _FIELDS, strict=True):
        values: set[int] = set()
        for entry in part.split(","):
            values |= _entry(entry, name, low, high, words)
        found.append(frozenset(value % 7 for value in values) if name == "day of week" else frozenset(values))
    return tuple(found)


def _entry(entry: str, name: str, low: int, high: int, words: tuple[str, ...]) -> set[int]:
    span, slash, step_text = entry.partition("/")
    step = 1
    if slash:
        if not step_text.isdigit() or not int(step_text):
            raise ValueError(f"failed to parse step {step_text!r} of {name}: {entry}")
        step = int(step_text)
    if span in ("*", "?"):
        first, last = low, min(high, 6) if name == "day of week" else high
    else:
        start, dash, end = span.partition("-")
        first = _number(start, name, low, words)
        last = _number(end, name, low, words) if dash else (high if slash else first)
    if first < low or last > high or first > last:
        raise ValueError(f"{name} out of range ({low} to {high}): {entry}")
    return set(range(first, last + 1, step))


def _number(text: str, name: str, low: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + low
    if not text.isdigit():
        raise ValueError(f"failed to parse int from {text!r} of {name}")
    return int(text)
