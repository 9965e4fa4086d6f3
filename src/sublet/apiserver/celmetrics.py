"""How long the rules of custom resources take, under upstream's names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct, field

from sublet.machinery.exposition import Histogram, heading

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _histogram() -> Histogram:
    return Histogram(_BUCKETS)


class CelMetrics(Struct):
    """Of one API server; :meth:`lines` writes them in Prometheus' text format."""

    compilation: Histogram = field(default_factory=_histogram)
    """Of all rules of a schema."""
    evaluation: Histogram = field(default_factory=_histogram)
    """Of all rules for an object."""
    now: Callable[[], float] = time.monotonic

    @contextmanager
    def timed(self, histogram: Histogram) -> Iterator[None]:
        """Observes what the ``with`` block takes, also where it fails."""
        begun = self.now()
        try:
            yield
        finally:
            histogram.observe(self.now() - begun)

    def lines(self) -> Iterator[str]:
        for name, what, histogram in (
            ("compilation", "[BETA] CEL compilation time in seconds.", self.compilation),
            ("evaluation", "[BETA] CEL evaluation time in seconds.", self.evaluation),
        ):
            yield from heading(f"apiserver_cel_{name}_duration_seconds", what, "histogram")
            yield from histogram.lines(f"apiserver_cel_{name}_duration_seconds", "")
