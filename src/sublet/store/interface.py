"""What a data store promises. Every driver passes ``store/conformance.py``.

Promises (after etcd and kine):

1. One global revision. Every write gets the next one; it never goes back, not even across restarts.
2. Writes compare and swap: ``create`` only where nothing is, ``update`` and ``delete`` only at the revision given.
3. An acknowledged write survives ``kill -9`` and power loss. An unacknowledged one is absent or whole.
4. A watch from revision N delivers every later write below its prefix, once, in revision order, and none twice.
5. A watch says how far it is complete: after ``Progress(r)`` no event with a revision up to r will come.
6. Reads at a revision see exactly the writes up to it, until it is compacted; then they raise :class:`Compacted`.
7. The store bounds its own size: it compacts and gives space back by itself.

Keys are paths such as ``/registry/apps/deployments/NAMESPACE/NAME``; order is bytewise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct


class StoreError(Exception):
    """Something the store could not do; drivers translate their library's errors into this tree."""


class KeyExists(StoreError):
    """``create`` found a live value."""


class RevisionMismatch(StoreError):
    """``update`` or ``delete`` found another revision, or nothing: ``current`` is what stands there now."""

    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(f"{key} is {'absent' if current is None else f'at revision {current.revision}'}")
        self.current = current


class Compacted(StoreError):
    """The asked-for revision is no longer kept; ``oldest`` is the oldest that is."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"revision {asked} is compacted; the oldest kept is {oldest}")
        self.asked = asked
        self.oldest = oldest


class FutureRevision(StoreError):
    """The asked-for revision is above the current one."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"revision {asked} is in the future; the current one is {current}")
        self.asked = asked
        self.current = current


class OutcomeUnknown(StoreError):
    """The connection was lost at commit: the write may or may not stand. Read back; never retry blindly."""


class StoreFull(StoreError):
    """No space left (disk full, quota): nothing was written."""


class StoreClosed(StoreError):
    """The store was closed, or its files are held by another process (the message names it)."""


class StoreCorrupt(StoreError):
    """The files are there but are not a whole data store; the message names the file and the way out."""


class Entry(Struct, frozen=True):
    """A live value."""

    key: str
    value: bytes
    revision: int
    """The revision of the write that made this value."""
    created: int
    """The revision at which the key came to be."""


class Listing(Struct, frozen=True):
    entries: Sequence[Entry]
    revision: int
    """The revision the listing shows."""
    remaining: int
    """How many more entries follow below the prefix (0 when complete)."""


class Event(Struct, frozen=True):
    """One write, as a watch delivers it."""

    type: Literal["create", "update", "delete"]
    key: str
    value: bytes
    """The new value; empty for a delete. Who needs the value before keeps it: the watch cache does,
    so no driver reads it back for every write."""
    revision: int
    created: int
    """The revision at which the key came to be; for a delete, that of the key that went."""


class Progress(Struct, frozen=True):
    """Everything up to ``revision`` has been delivered."""

    revision: int


class Store(Protocol):
    """A data store. All methods may raise :class:`StoreError`."""

    async def get(self, key: str) -> Entry | None:
        """The live value, read at least as fresh as every write acknowledged before the call."""
        ...

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Listing:
        """Live entries whose key begins with ``prefix`` and is not before ``start``, in key order.

        ``limit`` 0: all. ``revision`` 0: the current one; else exactly as of then.
        Raises :class:`Compacted` or :class:`FutureRevision`.
        """
        ...

    async def create(self, key: str, value: bytes) -> int:
        """Writes where nothing is; returns the new revision. Raises :class:`KeyExists`."""
        ...

    async def update(self, key: str, value: bytes, expected: int) -> int:
        """Replaces the value whose revision is ``expected``. Raises :class:`RevisionMismatch`."""
        ...

    async def delete(self, key: str, expected: int) -> int:
        """Removes the value whose revision is ``expected``; the deletion has a revision of its own."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Event | Progress]]:
        """Batches of events with revisions above ``after``, for ever; progress comes at least every second
        of silence, and within a batch always after the events it covers.

        Raises :class:`Compacted` or :class:`FutureRevision` from the iterator's first step, :class:`Compacted`
        later when a slow reader was overtaken by compaction, :class:`StoreClosed` when the store closes.
        Ending the iterator (``aclose()`` of the generator, or its task's cancellation) ends the watch.
        """
        ...

    async def current_revision(self) -> int:
        """The newest revision; linearizable."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets everything that only reads before ``revision`` need; the store also does so by itself.

        Afterwards ``list(revision=revision)`` and ``watch(after=revision)`` still work, older ones do not.
        Raises :class:`FutureRevision` above the current revision; at or below the last one it does nothing.
        """
        ...

    async def close(self) -> None:
        """Ends watches and background work; acknowledged writes are on disk. Closing twice is harmless;
        every other method then raises :class:`StoreClosed`."""
        ...
