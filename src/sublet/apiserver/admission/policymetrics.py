"""What is counted about admission policies, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from sublet.machinery.exposition import Counter, Histograms, counter, histograms, label_text

_LABELS = ("enforcement_action", "error_type", "policy", "policy_binding")
_PREFIX = "apiserver_validating_admission_policy_check"
_MUTATING = "apiserver_mutating_admission_policy_check"
_BUCKETS = (5e-07, 0.001, 0.01, 0.1, 1.0)
_ERRORS = (
    ("compilation", "compile_error"),
    ("validation failed due to running out of cost budget", "out_of_budget"),
)
"""How messages of mutations begin, and what metrics call them."""


class PolicyMetrics(Struct):
    """Of one API server; :meth:`lines` writes them in Prometheus' text format."""

    checks: Counter = counter(
        f"{_PREFIX}_total",
        "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and "
        "enforcement action taken.",
    )
    durations: Histograms = histograms(
        f"{_PREFIX}_duration_seconds",
        "[BETA] Validation admission latency for individual validation expressions in seconds, labeled by policy "
        "and further including binding and enforcement action taken.",
        _BUCKETS,
    )

    mutations: Counter = counter(
        f"{_MUTATING}_total",
        "[ALPHA] Mutation admission policy check total, labeled by policy and further identified by binding.",
    )
    mutating: Histograms = histograms(
        f"{_MUTATING}_duration_seconds",
        "[ALPHA] Mutation admission latency for individual mutation expressions in seconds, labeled by policy and "
        "binding.",
        _BUCKETS,
    )

    def checked(self, policy: str, binding: str, error: str, action: str, seconds: float) -> None:
        """A validation that did not hold; ``action`` is ``deny``, ``warn`` or ``audit``."""
        labels = label_text(zip(_LABELS, (action, error, policy, binding), strict=True))
        self.checks.add(labels)
        self.durations.observe(labels, seconds)

    def mutated(self, policy: str, binding: str, error: str, seconds: float) -> None:
        """One mutation was tried; ``error`` is why it could not be, empty where it could."""
        known = next((kind for prefix, kind in _ERRORS if error.startswith(prefix)), "invalid_error")
        labels = label_text(zip(_LABELS[1:], (known if error else "no_error", policy, binding), strict=True))
        self.mutations.add(labels)
        self.mutating.observe(labels, seconds)

    def lines(self) -> Iterator[str]:
        """Samples with their HELP and TYPE; nothing where nothing was counted."""
        if self.checks.values:
            yield from self.checks.lines()
            yield from self.durations.lines()
        if self.mutations.values:
            yield from self.mutations.lines()
            yield from self.mutating.lines()
