"""What is counted about authorizers, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from sublet.machinery.exposition import DOUBLING, Counter, Histograms, counter, histograms, label_text

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DECISIONS = "[ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision."
_EXCLUSIONS = "[ALPHA] Total number of exclusions when an authorization webhook is skipped because match conditions exclude it."
_CONDITION_ERRORS = (
    "[ALPHA] Total number of errors when an authorization webhook encounters a match condition error split by type "
    "and name."
)


class AuthorizationMetrics(Struct):
    """Of one API server; :meth:`lines` writes them in Prometheus' text format."""

    durations: Histograms = histograms(
        "authorization_duration_seconds",
        "[ALPHA] Authorization duration in seconds broken out by result.",
        DOUBLING,
    )
    decisions: Counter = counter("apiserver_authorization_decisions_total", _DECISIONS)
    asked: Counter = counter(
        "apiserver_authorization_webhook_evaluations_total",
        "[BETA] Round-trips to authorization webhooks.",
    )
    round_trips: Histograms = histograms(
        "apiserver_authorization_webhook_duration_seconds",
        "[BETA] Request latency in seconds.",
        _BUCKETS,
    )
    failed_open: Counter = counter(
        "apiserver_authorization_webhook_evaluations_fail_open_total",
        "[BETA] NoOpinion results due to webhook timeout or error.",
    )
    excluded: Counter = counter("apiserver_authorization_match_condition_exclusions_total", _EXCLUSIONS)
    condition_errors: Counter = counter(
        "apiserver_authorization_match_condition_evaluation_errors_total", _CONDITION_ERRORS
    )

    def webhook_asked(self, name: str, result: str, seconds: float, *, fails_open: bool) -> None:
        """One round trip; ``result`` is ``success``, ``error``, ``timeout`` or ``canceled``."""
        labels = label_text((("name", name), ("result", result)))
        self.asked.add(labels)
        self.round_trips.observe(labels, seconds)
        if fails_open and result in ("error", "timeout"):
            self.failed_open.add(labels)

    def lines(self) -> Iterator[str]:
        """Samples with their HELP and TYPE; of webhooks only where one was asked or spared."""
        yield from self.durations.lines()
        yield from self.decisions.lines()
        if self.asked.values:
            yield from self.asked.lines()
            yield from self.round_trips.lines()
        for each in (self.failed_open, self.excluded, self.condition_errors):
            if each.values:
                yield from each.lines()
