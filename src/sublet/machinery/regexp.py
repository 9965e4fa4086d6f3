"""Regular expressions as Kubernetes' Go programs read them: RE2, whose time is proportional to the text.

The library is imported when the first pattern is compiled: whoever states a pattern may mean harm, and Python's own
matcher can be made to run for years.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_MEMORY = 8 << 20
"""Bytes that one compiled pattern may take."""


_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """What has ``search``, ``finditer``. Raises ``ValueError`` with the reason as Go words it."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(_in_go(reason.decode() if isinstance(reason, bytes) else str(reason))) from error


def _in_go(reason: str) -> str:
    """``missing ]: [`` is ``error parsing regexp: missing closing ]: `[` `` in Go."""
    what, separator, where = reason.partition(": ")
    text = f"error parsing regexp: {_GO_WORDS.get(what, what)}"
    return f"{text}: `{where}`" if separator else text
