"""What is counted about requests as another user, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator

from sublet.machinery.exposition import DOUBLING, Histograms, label_text

_PREFIX = "apiserver_impersonation"
_SPLIT = "split by mode and decision."


class ImpersonationMetrics:
    """Of one API server; :meth:`lines` writes them in Prometheus' text format.

    A mode is one of the narrow ones, or ``legacy`` for the right ``impersonate``.
    """

    def __init__(self) -> None:
        self._attempts = Histograms(
            f"{_PREFIX}_attempts_duration_seconds",
            f"[ALPHA] Latency of impersonation attempts in seconds {_SPLIT}",
            DOUBLING,
        )
        self._checks = Histograms(
            f"{_PREFIX}_authorization_attempts_duration_seconds",
            f"[ALPHA] Latency of authorization checks made by the impersonation handler in seconds {_SPLIT}",
            DOUBLING,
        )

    def attempted(self, mode: str | None, seconds: float) -> None:
        """One request; None: no mode allowed it."""
        self._attempts.observe(_labels(mode or "", allowed=mode is not None), seconds)

    def checked(self, mode: str, seconds: float, *, allowed: bool) -> None:
        """One question to the authorizers."""
        self._checks.observe(_labels(mode, allowed=allowed), seconds)

    def lines(self) -> Iterator[str]:
        yield from self._attempts.counts(
            f"{_PREFIX}_attempts_total", f"[ALPHA] Total number of impersonation attempts {_SPLIT}"
        )
        yield from self._attempts.lines()
        yield from self._checks.counts(
            f"{_PREFIX}_authorization_attempts_total",
            f"[ALPHA] Total number of authorization checks made by the impersonation handler {_SPLIT}",
        )
        yield from self._checks.lines()


def _labels(mode: str, *, allowed: bool) -> str:
    return label_text((("decision", "allowed" if allowed else "denied"), ("mode", mode)))
