"""What one reconciliation asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """``requeue_after``: seconds after which the key is looked at again; 0: only when something changes."""

    requeue_after: float = 0.0
