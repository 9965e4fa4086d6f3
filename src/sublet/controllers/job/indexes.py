"""Sets of completion indexes as text: ``0,2-4``."""

from __future__ import annotations

from collections.abc import Iterable

from sublet.machinery import objects
from sublet.machinery.kind import Object

INDEX = "batch.kubernetes.io/job-completion-index"


def parse(text: str | None, completions: int | None = None) -> set[int]:
    """Indexes of a text; those at or beyond ``completions`` are left out. Raises ``ValueError``."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        end = int(last or first)
        if completions is not None:
            end = min(end, completions - 1)
        found.update(range(int(first), end + 1))
    return found


def text(indexes: Iterable[int]) -> str:
    parts: list[str] = []
    ordered = sorted(indexes)
    position = 0
    while position < len(ordered):
        end = position
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        if end == position:
            parts.append(str(ordered[position]))
        else:
            between = "," if end == position + 1 else "-"
            parts.append(f"{ordered[position]}{between}{ordered[end]}")
        position = end + 1
    return ",".join(parts)


def of_pod(pod: Object) -> int | None:
    """The pod's completion index; None where it has none."""
    value = objects.annotations(pod).get(INDEX, "")
    return int(value) if value.isdigit() else None
