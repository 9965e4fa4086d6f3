"""Go's durations (``1m30s``), as Kubernetes writes them in flags, queries and objects."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse(text: str) -> float:
    """Seconds. Raises ``ValueError`` with Go's message; negative durations are none here."""
    if text == "0":
        return 0.0
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise ValueError(f'time: invalid duration "{text}"')
    return sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
