"""Regular expressions as Kubernetes' Go programs read them: RE2, whose time is proportional to the text.

The library is imported when the first pattern is compiled: whoever states a pattern may mean harm, and Python's own
matcher can be made to run for years.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_MEMORY = 8 << 20
"""Bytes that one compiled pattern may take."""


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """What has ``search``, ``finditer``. Raises ``ValueError`` with RE2's reason."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error
