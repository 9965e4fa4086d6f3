"""Which toleration covers which, and lists of them merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Toleration = Mapping[str, Any]


def covers(wide: Toleration, narrow: Toleration) -> bool:
    """Whether every taint that ``narrow`` bears is borne by ``wide`` too."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or "Equal"
    key = wide.get("key") or ""
    if (narrow.get("key") or "") != key and (key or operator != "Exists"):
        return False
    if wide.get("effect") and wide["effect"] != (narrow.get("effect") or ""):
        return False
    longest, seconds = wide.get("tolerationSeconds"), narrow.get("tolerationSeconds")
    if longest is not None and (seconds is None or seconds > longest):
        return False
    if operator == "Exists":
        return True
    same = (wide.get("value") or "") == (narrow.get("value") or "")
    return same and (narrow.get("operator") or "Equal") == operator


def merged(first: Sequence[Toleration], second: Sequence[Toleration]) -> list[dict[str, Any]]:
    """Both lists in order, without what others of them cover."""
    every = [dict(each) for each in (*first, *second)]
    kept: list[dict[str, Any]] = []
    for index, each in enumerate(every):
        later = any(other != each and covers(other, each) for other in every[index + 1 :])
        if not later and not any(covers(other, each) for other in kept):
            kept.append(each)
    return kept
