"""ComponentStatus: made up at each request, never stored (deprecated upstream since 1.19)."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.machinery.kind import Object


def _cells(obj: Object, _now: float) -> list[Any]:
    state, message, error = "Unknown", "", ""
    for found in obj.get("conditions") or ():
        if found.get("type") == "Healthy":
            state = "Healthy" if found.get("status") == "True" else "Unhealthy"
            message, error = found.get("message") or "", found.get("error") or ""
    return [show.name(obj), state, message, error]


KIND = builtin("componentstatuses", stored=False, cells=_cells)
