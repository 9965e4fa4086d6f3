"""What the watch cache holds: entries, events, and a budget for everything computed from them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, cast

T = TypeVar("T")

_DECODED_WEIGHT = 8
"""A decoded object takes about this many times the memory of its JSON bytes."""


class Decode(Protocol):
    def __call__(self, entry: CachedEntry, /) -> Any:
        """The object that the entry's bytes hold."""
        ...


class ObjectMutated(Exception):
    """Someone changed an object of the watch cache in place; found only where detection is on (tests)."""


class Computed:
    """Bounds the memory of decoded objects and encoded views: beyond ``limit`` bytes the oldest are dropped
    (and computed again when asked for). With ``detect_mutation`` it also proves that nobody changed them."""

    __slots__ = ("_detect", "_held", "_limit", "_weight")

    def __init__(self, limit: int = 24 << 20, *, detect_mutation: bool = False) -> None:
        self._limit = limit
        self._detect = detect_mutation
        self._held: deque[tuple[CachedEntry | CachedEvent, int]] = deque()
        self._weight = 0

    def hold(self, owner: CachedEntry | CachedEvent, weight: int) -> None:
        self._held.append((owner, weight))
        self._weight += weight
        while self._weight > self._limit and len(self._held) > 1:
            oldest, freed = self._held.popleft()
            self._weight -= freed
            if self._detect:
                oldest.verify()
            oldest.forget()

    def verify(self) -> None:
        """Raises :class:`ObjectMutated` when a decoded object differs from its bytes."""
        if self._detect:
            for owner, _ in self._held:
                owner.verify()


class CachedEntry:
    """A stored value at one revision. Shared by everyone: nothing in it may be changed."""

    __slots__ = ("_computed", "_decode", "_object", "_views", "created", "key", "revision", "value")

    def __init__(
        self, key: str, value: bytes, revision: int, created: int, decode: Decode, computed: Computed
    ) -> None:
        self.key = key
        self.value = value
        """The bytes as stored, writer tag included."""
        self.revision = revision
        self.created = created
        self._decode = decode
        self._computed = computed
        self._object: Any = None
        self._views: dict[Any, Any] | None = None

    @property
    def object(self) -> Any:
        """What the resource's ``decode`` makes of the value, decoded at most once while memory allows."""
        decoded = self._object
        if decoded is None:
            decoded = self._object = self._decode(self)
            self._computed.hold(self, _DECODED_WEIGHT * len(self.value))
        return decoded

    def once(self, view: Any, make: Callable[[CachedEntry], T]) -> T:
        """``make(self)``, remembered under ``view`` (any hashable; name the function and its options)."""
        views = self._views
        if views is None:
            views = self._views = {}
        if view not in views:
            views[view] = made = make(self)
            self._computed.hold(self, _weight(made))
        return cast(T, views[view])

    def forget(self) -> None:
        self._object = None
        self._views = None

    def verify(self) -> None:
        if self._object is not None and self._object != self._decode(self):
            raise ObjectMutated(
                f"the cached object of {self.key} at revision {self.revision} was changed in place"
            )


class CachedEvent:
    """One write. For a delete, ``entry`` is the last state and ``revision`` that of the deletion."""

    __slots__ = ("_computed", "_views", "entry", "previous", "revision", "type")

    def __init__(
        self,
        type_: Literal["create", "update", "delete"],
        entry: CachedEntry,
        previous: CachedEntry | None,
        revision: int,
        computed: Computed,
    ) -> None:
        self.type = type_
        self.entry = entry
        self.previous = previous
        """The state before: None for a create, ``entry`` itself for a delete."""
        self.revision = revision
        self._computed = computed
        self._views: dict[Any, Any] | None = None

    def once(self, view: Any, make: Callable[[CachedEvent], T]) -> T:
        """``make(self)``, remembered under ``view``: the bytes of a watch line for one (type, view), or
        whether a selector matches before and after; so a hundred watchers pay for one."""
        views = self._views
        if views is None:
            views = self._views = {}
        if view not in views:
            views[view] = made = make(self)
            self._computed.hold(self, _weight(made))
        return cast(T, views[view])

    def forget(self) -> None:
        self._views = None

    def verify(self) -> None:
        """Events hold no decoded object of their own."""


def _weight(made: object) -> int:
    return 200 + (len(made) if isinstance(made, bytes) else sys.getsizeof(made))
