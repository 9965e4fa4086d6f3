"""Which revisions of a controller are kept."""

from __future__ import annotations

from typing import Any

from sublet.machinery import objects
from sublet.reconcile.history import surplus


def revisions(count: int) -> list[dict[str, Any]]:
    return [{"metadata": {"name": f"r{number}"}, "revision": number} for number in range(1, count + 1)]


def names(found: list[Any]) -> list[str]:
    return [objects.name(each) for each in found]


def test_unused_revisions_beyond_the_limit_go_oldest_first() -> None:
    assert names(surplus(revisions(5), frozenset({"r1", "r5"}), 1)) == ["r2", "r3"]


def test_where_used_ones_count_too_they_take_the_place_of_unused_ones() -> None:
    found = surplus(revisions(5), frozenset({"r1", "r5"}), 1, counts_used=True)
    assert names(found) == ["r2", "r3", "r4"]
