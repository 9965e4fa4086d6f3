"""What a controller has done and not yet seen come back through its informer.

Without it a controller that created three pods could look at a view without them and create three more. Source:
client-go's ControllerExpectations: a key is satisfied when everything expected was seen, or after five minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sublet.machinery.clock import Clock

TIMEOUT_SECONDS = 300.0


@dataclass(slots=True)
class _Expected:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """Per key: creations are counted (names are not known before), deletions go by uid."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._expected: dict[str, _Expected] = {}

    def expect_creations(self, key: str, count: int) -> None:
        """Say it before the first create: the informer may be faster than the response."""
        self._of(key).creations += count

    def expect_deletions(self, key: str, uids: Iterable[str]) -> None:
        self._of(key).deletions.update(uids)

    def creation_observed(self, key: str, count: int = 1) -> None:
        """The informer showed a new object of the key, or creating it has failed."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.creations = max(0, expected.creations - count)
            self._tidy(key, expected)

    def deletion_observed(self, key: str, uid: str) -> None:
        """The informer showed the object gone or going, or deleting it has failed."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.deletions.discard(uid)
            self._tidy(key, expected)

    def satisfied(self, key: str) -> bool:
        expected = self._expected.get(key)
        if expected is None:
            return True
        if self._clock.monotonic() - expected.since > TIMEOUT_SECONDS:
            del self._expected[key]
            return True
        return False

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._expected.pop(key, None)

    def _of(self, key: str) -> _Expected:
        expected = self._expected.setdefault(key, _Expected(0.0))
        expected.since = self._clock.monotonic()
        return expected

    def _tidy(self, key: str, expected: _Expected) -> None:
        if not expected.creations and not expected.deletions:
            self._expected.pop(key, None)
