"""What is promised to writes that are on their way; what objects count is in ``machinery/quota.py``."""

from __future__ import annotations

from collections.abc import Iterable

from sublet.machinery.quota import Amounts, in_scope, matches_scope, of_object, scopes, tracked

__all__ = ["Amounts", "Place", "Promises", "in_scope", "matches_scope", "of_object", "scopes", "tracked"]

_PROMISED_SECONDS = 10.0

Place = tuple[str, str, str, str]
"""(group, plural, namespace, name)."""


class Promises:
    """Usage that has been admitted but may not be stored yet, so that counting the stored objects is not too low."""

    def __init__(self) -> None:
        self._made: dict[Place, tuple[float, Amounts]] = {}

    def make(self, place: Place, amounts: Amounts, now: float) -> None:
        self._made[place] = (now, amounts)

    def drop(self, place: Place) -> None:
        self._made.pop(place, None)

    def open(
        self, group: str, plural: str, namespace: str, there: Iterable[str], now: float
    ) -> list[Amounts]:
        """What was promised lately to objects that are not among ``there`` (names)."""
        self._made = {k: v for k, v in self._made.items() if now - v[0] < _PROMISED_SECONDS}
        stored = set(there)
        return [
            amounts
            for (g, p, ns, name), (_, amounts) in self._made.items()
            if (g, p, ns) == (group, plural, namespace) and name not in stored
        ]
