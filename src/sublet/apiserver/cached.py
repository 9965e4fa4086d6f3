"""What the watch cache holds: entries, events, and a budget for everything computed from them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, cast

import msgspec

from sublet.machinery import objects

T = TypeVar("T")

_DECODED_WEIGHT = 8
"""A decoded object takes about this many times the memory of its JSON bytes."""


_LABEL_SETS = 4096


class _Metadata(msgspec.Struct):
    labels: msgspec.Raw = msgspec.Raw(b"null")


class _Labelled(msgspec.Struct):
    metadata: _Metadata


_labelled = msgspec.json.Decoder(_Labelled)
_label_set = msgspec.json.Decoder(dict[str, str] | None)


class Decode(Protocol):
    def __call__(self, entry: CachedEntry, /) -> Any:
        """The object that the entry's bytes hold."""
        ...


class ObjectMutated(Exception):
    """Someone changed an object of the watch cache in place; found only where detection is on (tests)."""


class Computed:
    """Bounds the memory of decoded objects and encoded views: beyond ``limit`` bytes the oldest are dropped
    (and computed again when asked for). With ``detect_mutation`` it also proves that nobody changed them."""

    __slots__ = ("_detect", "_held", "_labels", "_limit", "_weight")

    def __init__(self, limit: int = 24 << 20, *, detect_mutation: bool = False) -> None:
        self._limit = limit
        self._detect = detect_mutation
        self._held: deque[tuple[CachedEntry | CachedEvent, int]] = deque()
        self._weight = 0
        self._labels: dict[bytes, dict[str, str]] = {}
        """By their JSON: most objects share theirs with others."""

    def labels(self, entry: CachedEntry) -> dict[str, str]:
        value = entry.value
        try:
            raw = bytes(
                _labelled.decode(
                    memoryview(value)[0 if value[:1] == b"{" else value.index(b"\n") + 1 :]
                ).metadata.labels
            )
            found = self._labels.get(raw)
            if found is None:
                if len(self._labels) >= _LABEL_SETS:
                    self._labels.clear()
                found = self._labels[raw] = _label_set.decode(raw) or {}
        except (ValueError, msgspec.DecodeError):  # written by something else: its own decoder knows
            return objects.labels(entry.peek())
        return found

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

    __slots__ = (
        "_computed", "_decode", "_facts", "_labels", "_object", "_views", "created", "key", "revision", "value",
    )  # fmt: skip

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
        self._labels: dict[str, str] | None = None
        self._facts: dict[str, str] | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The object's labels, read without decoding the rest. Do not change them: equal ones are shared."""
        found = self._labels
        if found is None:
            found = self._labels = self._computed.labels(self)
        return found

    def fact(self, name: str, make: Callable[[Any], str]) -> str:
        """A text that ``make`` finds in the object, remembered under ``name`` for as long as the entry lives.

        For what lists select by: thousands of objects are then decoded for it once.
        """
        facts = self._facts
        if facts is None:
            facts = self._facts = {}
        found = facts.get(name)
        if found is None:
            found = facts[name] = sys.intern(make(self.peek()))
        return found

    def peek(self) -> Any:
        """:attr:`object`, decoded for this call alone unless it is there already. Do not change it."""
        return self._decode(self) if self._object is None else self._object

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
