"""Numbers in Prometheus' text format: histograms, and the lines that stand before a metric's samples."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import field

DOUBLING = tuple(0.001 * 2**step for step in range(15))
"""Bounds in seconds, from a millisecond to 16 s, each twice the one before."""
SERIES_LIMIT = 5000
"""Sets of labels that are told apart in one metric: they may come from clients."""


class Histogram:
    """Counts per bucket, the sum and the maximum."""

    __slots__ = ("bounds", "counts", "maximum", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.maximum = 0.0

    @classmethod
    def sum(cls, histograms: Iterable[Histogram]) -> Histogram:
        """All of them in one; they have the same bounds, and there is at least one."""
        first, *others = histograms
        found = cls(first.bounds)
        for each in (first, *others):
            found.counts = [a + b for a, b in zip(found.counts, each.counts, strict=True)]
            found.total += each.total
            found.maximum = max(found.maximum, each.maximum)
        return found

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.maximum = max(self.maximum, value)

    def move(self, value: float, less: float) -> None:
        """Takes ``less`` off a value that has been observed (the maximum stays)."""
        self.counts[bisect_left(self.bounds, value)] -= 1
        self.counts[bisect_left(self.bounds, value - less)] += 1
        self.total -= less

    def without(self, buckets: int) -> Histogram:
        """The same with so many of the lowest bounds left out."""
        found = Histogram(self.bounds[buckets:])
        found.counts = [sum(self.counts[: buckets + 1]), *self.counts[buckets + 1 :]]
        found.total, found.maximum = self.total, self.maximum
        return found

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Its samples; ``labels`` is ``a="b"`` pairs or ``""``."""
        comma = "," if labels else ""
        running = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound:g}"}} {running}'
        running += self.counts[-1]
        yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {running}'
        braced = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braced} {self.total:.9g}"
        yield f"{name}_count{braced} {running}"


class Histograms:
    """One per set of labels, up to a limit."""

    def __init__(self, name: str, what: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._what = what
        self._bounds = bounds
        self._found: dict[str, Histogram] = {}

    def observe(self, labels: str, value: float) -> None:
        found = self._found.get(labels)
        if found is None:
            if len(self._found) >= SERIES_LIMIT:
                return
            found = self._found[labels] = Histogram(self._bounds)
        found.observe(value)

    def lines(self) -> Iterator[str]:
        yield from heading(self._name, self._what, "histogram")
        for labels, histogram in self._found.items():
            yield from histogram.lines(self._name, labels)

    def counts(self, name: str, what: str) -> Iterator[str]:
        """How much was observed of each, as a counter of another name."""
        yield from heading(name, what, "counter")
        for labels, histogram in self._found.items():
            yield f"{name}{{{labels}}} {sum(histogram.counts)}"


class Counter:
    """One number per set of labels (``a="b",c="d"``)."""

    def __init__(self, name: str, what: str, kind: str = "counter") -> None:
        self._name = name
        self._what = what
        self._kind = kind
        self.values: dict[str, int] = {}

    def add(self, labels: str, count: int = 1) -> None:
        known = self.values.get(labels)
        if known is not None:
            self.values[labels] = known + count
        elif len(self.values) < SERIES_LIMIT:
            self.values[labels] = count

    def lines(self) -> Iterator[str]:
        yield from heading(self._name, self._what, self._kind)
        for labels, value in self.values.items():
            yield f"{self._name}{{{labels}}} {value}"


def counter(name: str, what: str, kind: str = "counter") -> Any:
    """The field of a Struct that begins as a :class:`Counter`."""
    return field(default_factory=lambda: Counter(name, what, kind))


def histograms(name: str, what: str, bounds: tuple[float, ...]) -> Any:
    """The field of a Struct that begins as :class:`Histograms`."""
    return field(default_factory=lambda: Histograms(name, what, bounds))


def heading(name: str, what: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """Labels with values from anywhere, as ``a="b",c="d"``."""
    return ",".join(f'{key}="{escaped(value)}"' for key, value in labels)


def escaped(text: str) -> str:
    """A label's value."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
