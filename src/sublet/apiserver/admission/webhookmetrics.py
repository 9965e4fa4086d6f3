"""What is counted about admission webhooks, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from sublet.apiserver.metrics import Histogram, label_text

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
_LIMIT = 2000
"""Series per metric at most: names come from users."""

_PREFIX = "apiserver_admission_webhook_"
_HELP = {
    "admission_duration_seconds": "[STABLE] Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
    "rejection_count": "[ALPHA] Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation.",
    "fail_open_count": "[ALPHA] Admission webhook fail open count, identified by name and broken out for each admission type (validating or mutating).",
    "request_total": "[ALPHA] Admission webhook request total, identified by name and broken out for each admission type (validating or mutating) and operation.",
}  # fmt: skip


class WebhookMetrics(Struct):
    """Counters of one API server; :meth:`lines` writes them in Prometheus' text format."""

    durations: dict[tuple[str, ...], Histogram] = field(default_factory=dict)
    counts: dict[str, dict[tuple[tuple[str, str], ...], int]] = field(default_factory=dict)

    def observe(
        self, name: str, kind: str, operation: str, seconds: float, code: int, *, rejected: bool
    ) -> None:
        """One call; ``kind`` is ``admit`` or ``validating``, ``code`` the HTTP code the client would see."""
        key = (name, kind, operation, str(rejected).lower())
        found = self.durations.get(key)
        if found is None:
            if len(self.durations) >= _LIMIT:
                return
            found = self.durations[key] = Histogram(_BUCKETS)
        found.observe(seconds)
        self._count(
            "request_total", name=name, type=kind, operation=operation, code=str(min(code, 600)),
            rejected=str(rejected).lower(),
        )  # fmt: skip

    def rejected(self, name: str, kind: str, operation: str, error: str, code: int) -> None:
        """``error``: ``no_error`` (the webhook said no), ``calling_webhook_error``, ``apiserver_internal_error``."""
        self._count(
            "rejection_count", name=name, type=kind, operation=operation, error_type=error,
            rejection_code=str(min(code, 600)),
        )  # fmt: skip

    def failed_open(self, name: str, kind: str) -> None:
        self._count("fail_open_count", name=name, type=kind)

    def _count(self, metric: str, **labels: str) -> None:
        series = self.counts.setdefault(metric, {})
        key = tuple(labels.items())
        if key in series or len(series) < _LIMIT:
            series[key] = series.get(key, 0) + 1

    def lines(self) -> Iterator[str]:
        """Samples with their HELP and TYPE; nothing where nothing was counted."""
        if self.durations:
            metric = f"{_PREFIX}admission_duration_seconds"
            yield f"# HELP {metric} {_HELP['admission_duration_seconds']}"
            yield f"# TYPE {metric} histogram"
            for (name, kind, operation, rejected), histogram in self.durations.items():
                labels = (("name", name), ("operation", operation), ("rejected", rejected), ("type", kind))
                yield from histogram.lines(metric, label_text(labels))
        for short, series in self.counts.items():
            metric = f"{_PREFIX}{short}"
            yield f"# HELP {metric} {_HELP[short]}"
            yield f"# TYPE {metric} counter"
            for labels_, count in series.items():
                yield f"{metric}{{{label_text(labels_)}}} {count}"
