"""What is counted about admission policies, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from sublet.apiserver.metrics import label_text

_LIMIT = 2000
"""Series at most: names come from users."""
_METRIC = "apiserver_validating_admission_policy_check_total"


class PolicyMetrics(Struct):
    """Counters of one API server; :meth:`lines` writes them in Prometheus' text format."""

    checks: dict[tuple[str, str, str, str], int] = field(default_factory=dict)

    def checked(self, policy: str, binding: str, error: str, action: str) -> None:
        """A validation that did not hold; ``action`` is ``deny``, ``warn`` or ``audit``."""
        key = (action, error, policy, binding)
        if key in self.checks or len(self.checks) < _LIMIT:
            self.checks[key] = self.checks.get(key, 0) + 1

    def lines(self) -> Iterator[str]:
        """Samples with their HELP and TYPE; nothing where nothing was counted."""
        if not self.checks:
            return
        yield (
            f"# HELP {_METRIC} [BETA] Validation admission policy check total, labeled by policy and further "
            "identified by binding and enforcement action taken."
        )
        yield f"# TYPE {_METRIC} counter"
        for key, count in self.checks.items():
            labels = zip(("enforcement_action", "error_type", "policy", "policy_binding"), key, strict=True)
            yield f"{_METRIC}{{{label_text(labels)}}} {count}"
