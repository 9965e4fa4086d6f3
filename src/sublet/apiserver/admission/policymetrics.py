"""What is counted about admission policies, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from sublet.machinery.exposition import Counter, Histograms, label_text

_LABELS = ("enforcement_action", "error_type", "policy", "policy_binding")


_PREFIX = "apiserver_validating_admission_policy_check"
_BUCKETS = (5e-07, 0.001, 0.01, 0.1, 1.0)


class PolicyMetrics(Struct):
    """Of one API server; :meth:`lines` writes them in Prometheus' text format."""

    checks: Counter = field(
        default_factory=lambda: Counter(
            f"{_PREFIX}_total",
            "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and "
            "enforcement action taken.",
        )
    )
    durations: Histograms = field(
        default_factory=lambda: Histograms(
            f"{_PREFIX}_duration_seconds",
            "[BETA] Validation admission latency for individual validation expressions in seconds, labeled by policy "
            "and further including binding and enforcement action taken.",
            _BUCKETS,
        )
    )

    def checked(self, policy: str, binding: str, error: str, action: str, seconds: float) -> None:
        """A validation that did not hold; ``action`` is ``deny``, ``warn`` or ``audit``."""
        labels = label_text(zip(_LABELS, (action, error, policy, binding), strict=True))
        self.checks.add(labels)
        self.durations.observe(labels, seconds)

    def lines(self) -> Iterator[str]:
        """Samples with their HELP and TYPE; nothing where nothing was counted."""
        if self.checks.values:
            yield from self.checks.lines()
            yield from self.durations.lines()
