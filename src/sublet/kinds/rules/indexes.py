"""Lists of a job's indexes such as ``1,3-5,7``, in increasing order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


def intervals(text: str, completions: int) -> Iterator[tuple[int, int]]:
    """(first, last) of each part. Raises ``ValueError`` saying what is wrong."""
    last: int | None = None
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if last is not None and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        yield first, end
        last = end


def count(text: str, completions: int) -> int:
    """How many indexes a list names. Raises ``ValueError`` saying what is wrong."""
    return sum(last - first + 1 for first, last in intervals(text, completions))


def _interval(part: str, completions: int) -> tuple[int, int]:
    limits = part.split("-")
    if len(limits) > 2:
        what = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{part}" {what}')
    numbers = []
    for limit in limits:
        if not limit.removeprefix("+").isdecimal():
            raise ValueError(f'cannot convert string to integer for index: "{limit}"')
        if int(limit) >= completions:
            raise ValueError(f'too large index: "{limit}"')
        numbers.append(int(limit))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def overlap(one: str, other: str, completions: int) -> int | None:
    """The first index that both lists name; parts that are written badly are another rule's matter."""
    mine, theirs = _readable(one, completions), _readable(other, completions)
    common = [max(a, c) for a, b in mine for c, d in theirs if a <= d and c <= b]
    return min(common, default=None)


def _readable(text: str, completions: int) -> list[tuple[int, int]]:
    found = []
    for part in text.split(",") if text else ():
        with contextlib.suppress(ValueError):
            found.append(_interval(part, completions))
    return found
