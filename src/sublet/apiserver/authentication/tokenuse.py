"""How often which tokens of ServiceAccounts came, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from sublet.machinery.exposition import heading

Use = Literal[
    "legacy_tokens",
    "legacy_auto_token_uses",
    "legacy_manual_token_uses",
    "invalid_legacy_auto_token_uses",
    "stale_tokens",
    "valid_tokens",
]
_TOLD: dict[Use, str] = {
    "legacy_tokens": "Cumulative legacy service account tokens used",
    "legacy_auto_token_uses": "Cumulative auto-generated legacy tokens used",
    "legacy_manual_token_uses": "Cumulative manually created legacy tokens used",
    "invalid_legacy_auto_token_uses": "Cumulative invalid auto-generated legacy tokens used",
    "stale_tokens": "Cumulative stale projected service account tokens used",
    "valid_tokens": "Cumulative valid projected service account tokens used",
}


class TokenUses:
    """Of one API server; :meth:`lines` writes them in Prometheus' text format."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_TOLD, 0)

    def add(self, use: Use) -> None:
        self._counts[use] += 1

    def lines(self) -> Iterator[str]:
        for use, count in self._counts.items():
            name = f"serviceaccount_{use}_total"
            yield from heading(name, f"[ALPHA] {_TOLD[use]}", "counter")
            yield f"{name} {count}"
