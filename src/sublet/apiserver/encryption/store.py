"""A data store whose values lie encrypted in another: what is written through it is sealed, what is read is opened.

Everything above (the watch cache first) holds plain values, so reading costs what it costs without. A value that
cannot be opened stands for itself as a value that says so: only who decodes it gets the error.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

from msgspec import structs

from sublet.apiserver.encryption.ciphers import ENCRYPTED, CannotDecrypt
from sublet.apiserver.encryption.configuration import Encryption, Transformer
from sublet.apiserver.encryption.kmsmetrics import KMSMetrics
from sublet.apiserver.stored import UNREADABLE
from sublet.machinery.clock import Clock, SystemClock
from sublet.store.interface import Compacted, Entry, Event, Listing, Progress, RevisionMismatch, Store

_log = logging.getLogger(__name__)

_PREFIX = "/registry/"
_PAGE = 500


class EncryptedStore:
    """A :class:`~sublet.store.interface.Store` over another."""

    def __init__(self, store: Store, encryption: Encryption) -> None:
        self._store = store
        self._encryption = encryption
        self._transformers: dict[str, Transformer] = {}
        self._stale: set[str] = set()
        self._unreadable: set[str] = set()
        self._generation = 0
        self._clock: Clock = SystemClock()
        self._server = ""
        self._metrics: KMSMetrics | None = None
        """None where there is no key management service."""

    # -- what it is for --

    def stale(self, key: str) -> bool:
        """Whether the value is not as it would be written today: an update writes it even where nothing changes."""
        return key in self._stale

    async def start(self, clock: Clock, server: str, patience: float = 10.0) -> None:
        """Asks the key management services for their keys. Raises ``StoreError`` where one gives none in time.

        ``server``: the name of the API server's Lease.
        """
        self._clock, self._server = clock, server
        await self._begin(self._encryption, patience)

    async def stop(self) -> None:
        for service in self._encryption.services:
            await service.stop()

    @property
    def checks(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """A health check for each key management service, in the order of the file."""
        return [service.check for service in self._encryption.services]

    async def renew(self, encryption: Encryption) -> None:
        """Takes another configuration: new writes follow it, and what lies there is looked at anew.

        Raises what the store raises.
        """
        before = self._encryption
        await self._begin(encryption, 0.0)
        self._encryption = encryption
        self._transformers.clear()
        await self._look_again()
        for service in before.services:
            await service.stop()
        # Watchers are told to read everything again: values may open now that did not, or the other way round.
        self._generation += 1

    async def _begin(self, encryption: Encryption, patience: float) -> None:
        if encryption.services and self._metrics is None:
            self._metrics = KMSMetrics(self._clock, self._server)
        begun = []
        try:
            for service in encryption.services:
                if self._metrics is not None:
                    begun.append(service)
                    await service.begin(self._clock, self._metrics, patience)
        except BaseException:
            for service in begun:
                await service.stop()
            raise
        for service in encryption.services:
            service.follow(self._changed)

    async def _changed(self) -> None:
        """A service has another key, or answers again."""
        unreadable = bool(self._unreadable)
        await self._look_again()
        if unreadable:
            self._generation += 1

    async def _look_again(self) -> None:
        start = ""
        while True:
            page = await self._store.list(_PREFIX, start=start, limit=_PAGE)
            await self._unlock(page.entries)
            for entry in page.entries:
                self._opened(entry.key, entry.value)
            if not page.remaining:
                break
            start = page.entries[-1].key + "\0"

    async def _unlock(self, items: Iterable[Entry | Event]) -> None:
        """Fetches keys that services have; reading itself then waits for nothing."""
        if self._encryption.services:
            for item in items:
                if item.value.startswith(ENCRYPTED):
                    await self._transformer(item.key).unlock(item.value)

    def lines(self) -> Iterator[str]:
        """Its metrics."""
        for name, what, values in (
            (
                "sublet_encryption_stale_values",
                "Stored values that another key, or none, wrote.",
                self._stale,
            ),
            ("sublet_encryption_unreadable_values", "Stored values that no key opens.", self._unreadable),
        ):
            yield f"# HELP {name} {what}"
            yield f"# TYPE {name} gauge"
            yield f"{name} {len(values)}"
        if self._metrics is not None:
            yield from self._metrics.lines()

    def _transformer(self, key: str) -> Transformer:
        end = key.find("/", key.find("/", len(_PREFIX)) + 1)
        prefix = key[:end]
        found = self._transformers.get(prefix)
        if found is None:
            group, _, plural = prefix[len(_PREFIX) :].partition("/")
            found = self._encryption.transformer("" if group == "core" else group, plural)
            self._transformers[prefix] = found
        return found

    def _sealed(self, key: str, value: bytes) -> bytes:
        return self._transformer(key).to_store(value, key.encode())

    def _opened(self, key: str, value: bytes) -> bytes:
        transformer = self._transformer(key)
        if transformer.writes_plain and not value.startswith(ENCRYPTED):
            if self._stale:
                self._stale.discard(key)
            return value
        try:
            plain, stale = transformer.from_store(value, key.encode())
        except CannotDecrypt as error:
            if key not in self._unreadable:
                _log.error('unable to transform key "%s": %s', key, error)
            self._unreadable.add(key)
            return UNREADABLE + f'unable to transform key "{key}": {error}'.encode()
        self._unreadable.discard(key)
        if stale:
            self._stale.add(key)
        else:
            self._stale.discard(key)
        return plain

    def _entry(self, entry: Entry) -> Entry:
        value = self._opened(entry.key, entry.value)
        return entry if value is entry.value else structs.replace(entry, value=value)

    # -- Store --

    async def get(self, key: str) -> Entry | None:
        found = await self._store.get(key)
        if found is None:
            return None
        await self._unlock((found,))
        return self._entry(found)

    async def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Listing:
        found = await self._store.list(prefix, start=start, limit=limit, revision=revision)
        await self._unlock(found.entries)
        return Listing([self._entry(entry) for entry in found.entries], found.revision, found.remaining)

    async def create(self, key: str, value: bytes) -> int:
        return await self._store.create(key, self._sealed(key, value))

    async def update(self, key: str, value: bytes, expected: int) -> int:
        try:
            return await self._store.update(key, self._sealed(key, value), expected)
        except RevisionMismatch as mismatch:
            raise await self._mismatch(key, mismatch) from None

    async def delete(self, key: str, expected: int) -> int:
        try:
            return await self._store.delete(key, expected)
        except RevisionMismatch as mismatch:
            raise await self._mismatch(key, mismatch) from None

    async def _mismatch(self, key: str, mismatch: RevisionMismatch) -> RevisionMismatch:
        """The same with the plain value that stands there: the next attempt begins with it."""
        current = mismatch.current
        await self._unlock(() if current is None else (current,))
        return RevisionMismatch(key, None if current is None else self._entry(current))

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Sequence[Event | Progress]]:
        generation = self._generation
        async for batch in self._store.watch(prefix, after):
            if generation != self._generation:
                raise Compacted(after, await self._store.current_revision())
            await self._unlock(item for item in batch if isinstance(item, Event) and item.type != "delete")
            yield [self._event(item) if isinstance(item, Event) else item for item in batch]

    def _event(self, event: Event) -> Event:
        if event.type == "delete":
            self._stale.discard(event.key)
            self._unreadable.discard(event.key)
            return event
        value = self._opened(event.key, event.value)
        return event if value is event.value else structs.replace(event, value=value)

    async def current_revision(self) -> int:
        return await self._store.current_revision()

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()
