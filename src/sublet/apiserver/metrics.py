"""Numbers about one API server, for ``/metrics``: request counts, durations, loop lag, process facts.

Kept as plain dictionaries (no global registry), written in Prometheus' text format when asked for.
Names are upstream's where the meaning is upstream's.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sublet.machinery.clock import Clock, SystemClock

Labels = tuple[str, str, str, str, str, str]
BUCKETS = (0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
           10.0, 15.0, 20.0, 30.0, 45.0, 60.0)  # fmt: skip
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LAG_SECONDS = 1.0
_SERIES_LIMIT = 5000


class Histogram:
    """Counts per bucket, the sum and the maximum."""

    __slots__ = ("bounds", "counts", "maximum", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.maximum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.maximum = max(self.maximum, value)

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


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """Labels with values from anywhere, as ``a="b",c="d"``."""
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)


@dataclass
class Metrics:
    """What is counted. ``gauges`` gives more samples when asked: (name, help, read)."""

    clock: Clock = field(default_factory=SystemClock)
    version: str = ""
    requests: dict[tuple[Labels, int], int] = field(default_factory=dict)
    durations: dict[Labels, Histogram] = field(default_factory=dict)
    loop_lag: Histogram = field(default_factory=lambda: Histogram(_LAG_BUCKETS))
    gauges: list[tuple[str, str, Callable[[], float]]] = field(default_factory=list)
    sources: list[Callable[[], Iterable[str]]] = field(default_factory=list)
    """Others that count: each gives lines in the text format when asked."""
    started: float = 0.0
    _lag_task: asyncio.Task[None] | None = None

    def observe(
        self, verb: str, group: str, version: str, resource: str, subresource: str, code: int, seconds: float
    ) -> None:
        """One finished request (of a watch: its start)."""
        labels = (verb, group, version, resource, subresource, "" if resource else "nonresource")
        found = self.durations.get(labels)
        if found is None:
            if len(self.durations) >= _SERIES_LIMIT:
                return
            found = self.durations[labels] = Histogram(BUCKETS)
        found.observe(seconds)
        key = (labels, code)
        self.requests[key] = self.requests.get(key, 0) + 1

    def start(self) -> None:
        """Begins to measure how late the loop runs what is due."""
        self.started = self.clock.now()
        self._lag_task = asyncio.get_running_loop().create_task(self._measure_lag())

    async def stop(self) -> None:
        if self._lag_task is not None:
            self._lag_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lag_task
            self._lag_task = None

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            self.loop_lag.observe(max(0.0, loop.time() - due))

    def text(self) -> str:
        """Everything in Prometheus' text format."""
        lines = [
            "# HELP apiserver_request_total [STABLE] Counter of apiserver requests.",
            "# TYPE apiserver_request_total counter",
        ]
        for (labels, code), count in self.requests.items():
            lines.append(f'apiserver_request_total{{code="{code}",{_labels(labels)}}} {count}')
        lines += (
            "# HELP apiserver_request_duration_seconds [STABLE] Response latency distribution in seconds.",
            "# TYPE apiserver_request_duration_seconds histogram",
        )
        for labels, histogram in self.durations.items():
            lines.extend(histogram.lines("apiserver_request_duration_seconds", _labels(labels)))
        lines += (
            "# HELP sublet_loop_lag_seconds How late the event loop ran what was due.",
            "# TYPE sublet_loop_lag_seconds histogram",
        )
        lines.extend(self.loop_lag.lines("sublet_loop_lag_seconds", ""))
        self._gauge_lines(lines)
        for source in self.sources:
            lines.extend(source())
        return "\n".join(lines) + "\n"

    def _gauge_lines(self, lines: list[str]) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        samples: list[tuple[str, str, str, float]] = [
            ("sublet_loop_lag_max_seconds", "The longest loop lag seen.", "gauge", self.loop_lag.maximum),
            (
                "process_cpu_seconds_total", "User and system CPU time.", "counter",
                usage.ru_utime + usage.ru_stime,
            ),
            ("process_resident_memory_bytes", "Resident memory.", "gauge", float(resident_bytes())),
            ("process_start_time_seconds", "When counting began, Unix time.", "gauge", self.started),
        ]  # fmt: skip
        samples += [(name, what, "gauge", read()) for name, what, read in self.gauges]
        for name, what, kind, value in samples:
            lines += (f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {value:.15g}")
        if self.version:
            lines += (
                "# HELP kubernetes_build_info [ALPHA] Version of this server.",
                "# TYPE kubernetes_build_info gauge",
                f'kubernetes_build_info{{git_version="{self.version}"}} 1',
            )


def _labels(labels: Labels) -> str:
    verb, group, version, plural, subresource, _ = labels
    return (
        f'dry_run="",group="{_escaped(group)}",resource="{_escaped(plural)}",'
        f'scope="",subresource="{_escaped(subresource)}",verb="{_escaped(verb)}",version="{_escaped(version)}"'
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resident_bytes() -> int:
    """Resident memory of this process; 0 where ``/proc`` does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
