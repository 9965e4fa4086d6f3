"""The provider ``kms`` of encryption at rest, version 2: keys that only a key management service can unlock.

A seed is drawn and sealed by the service; what is written is encrypted by a key derived from it anew for every value,
and carries the sealed seed. Reading asks the service once for each seed. When the service's key changes, a new seed is
drawn, and what was written before is stale. While the service does not answer, what is known can be read, and written
for three minutes. Source: apiserver's server/options/encryptionconfig and storage/value/encrypt/envelope/kmsv2.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from sublet.apiserver.encryption.ciphers import AESGCM, ENCRYPTED, CannotDecrypt
from sublet.apiserver.encryption.kmsmessages import HKDF_SEED, Envelope, Invalid, Source, Status
from sublet.apiserver.encryption.kmsmetrics import KMSMetrics
from sublet.apiserver.encryption.kmsservice import CallFailed, KMSService
from sublet.apiserver.reloads import hashed
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.store.interface import StoreError

_log = logging.getLogger(__name__)

LOOK_SECONDS, LOOK_AGAIN_SECONDS = 60.0, 10.0
"""Until the service is asked for its state again: while it is well, and while it is not."""
_GOOD_SECONDS, _BAD_SECONDS = 20.0, 3.0
"""For which a health check says again what it said before."""
_WRITE_SECONDS = 180.0
"""For which is written without an answer of the service."""
_SEED = 32
_INFO = 32
_REFUSED_SECONDS = 1.0
_SOURCES_LIMIT = 4096


class NotHealthy(StoreError):
    """The service cannot be relied on; why."""


class _State(Struct):
    """What is written with."""

    source: Source
    seed: Seed
    expires: float


class Seed:
    """Derives from a seed and 32 random bytes, which lead every value, that value's own AES-GCM key."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) < _SEED:
            raise Invalid(f"invalid seed length {len(seed)} used for key generation")
        self._seed = seed

    def encrypt(self, plain: bytes, key: bytes) -> bytes:
        info = os.urandom(_INFO)
        return info + self._derived(info).encrypt(plain, key)

    def decrypt(self, sealed: bytes, key: bytes) -> bytes:
        if len(sealed) < _INFO:
            raise CannotDecrypt("the stored data was shorter than the required size")
        return self._derived(sealed[:_INFO]).decrypt(sealed[_INFO:], key)

    def _derived(self, info: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

        return AESGCM(HKDFExpand(SHA256(), 32, info).derive(self._seed))


class KMS:
    """One provider, a :class:`~sublet.apiserver.encryption.ciphers.Cipher` whose keys :meth:`unlock` fetches."""

    def __init__(self, name: str, service: KMSService) -> None:
        self.name = name
        self.prefix = b"%bkms:v2:%b:" % (ENCRYPTED, name.encode())
        self.service = service
        self._clock: Clock
        self._metrics: KMSMetrics
        self._state: _State | None = None
        self._opened: dict[Source, Seed | AESGCM] = {}
        self._refused: dict[Source, tuple[float, str]] = {}
        self._checked = (-_GOOD_SECONDS, "not asked yet")
        self._told: Source | None = None
        """What was written with when others were last told of it; None also where the service was not well since."""
        self._asking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # -- what is written and read --

    def encrypt(self, plain: bytes, key: bytes) -> bytes:
        """Raises :class:`NotHealthy`."""
        state = self._state
        if state is None:
            raise NotHealthy(f"kms provider {self.name} has no key to encrypt with: {self._checked[1]}")
        if (now := self._clock.now()) > state.expires:
            raise NotHealthy(
                f'encryptedDEKSource with keyID hash "{_hashed(state.source.key_id)}" expired at '
                f"{objects.rfc3339(state.expires)} (current time is {objects.rfc3339(now)})"
            )
        self._metrics.used("to_storage", self.name, state.source.key_id)
        return Envelope(state.seed.encrypt(plain, key), state.source).encode()

    def decrypt(self, sealed: bytes, key: bytes) -> bytes:
        """Raises :class:`CannotDecrypt`; also where :meth:`unlock` was not asked before."""
        envelope = _envelope(sealed)
        found = self._opened.get(envelope.source)
        if found is None:
            _, why = self._refused.get(envelope.source, (0.0, "it was not asked for"))
            raise CannotDecrypt(f"failed to decrypt DEK, error: {why}")
        self._metrics.used("from_storage", self.name, envelope.source.key_id)
        return found.decrypt(envelope.data, key)

    def outdated(self, sealed: bytes) -> bool:
        """Whether a value was written under another key of the service than is written under now."""
        source = _envelope(sealed).source
        state = self._state
        return state is None or (source.key_id, source.kind) != (state.source.key_id, state.source.kind)

    async def unlock(self, sealed: bytes) -> None:
        """Has the service open what a value's key comes from; what it says against that is told by :meth:`decrypt`."""
        try:
            source = _envelope(sealed).source
        except CannotDecrypt:
            return
        now = self._clock.monotonic()
        if source in self._opened or now - self._refused.get(source, (-1e9, ""))[0] < _REFUSED_SECONDS:
            return
        try:
            plain = await self.service.decrypt(source)
            opened = Seed(plain) if source.kind == HKDF_SEED else AESGCM(plain)
        except (CallFailed, Invalid, ValueError) as error:
            self._refused[source] = (self._clock.monotonic(), str(error))
            return
        self._refused.pop(source, None)
        self._keep(source, opened)

    def _keep(self, source: Source, opened: Seed | AESGCM) -> None:
        if len(self._opened) >= _SOURCES_LIMIT:
            self._opened.clear()
        self._opened[source] = opened
        self._metrics.sizes[self.name] = len(self._opened)

    # -- the service --

    async def begin(self, clock: Clock, metrics: KMSMetrics, seconds: float = 0.0) -> None:
        """Asks the service for the first time, and again for so many seconds. Raises :class:`NotHealthy`."""
        self._clock, self._metrics = clock, metrics
        self.service.observe(partial(metrics.called, self.name))
        until = clock.monotonic() + seconds
        while True:
            try:
                await self._ask()
                self._told = None if self._state is None else self._state.source
                return
            except NotHealthy:
                if clock.monotonic() >= until:
                    raise
            await asyncio.sleep(1.0)

    def follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Goes on asking; ``changed`` is awaited whenever the service's key has changed, or it is well again."""
        self._task = asyncio.get_running_loop().create_task(self._follow(changed), name=f"kms {self.name}")

    async def _follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        pause = LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = LOOK_SECONDS if await self.look(changed) else LOOK_AGAIN_SECONDS

    async def look(self, changed: Callable[[], Awaitable[None]]) -> bool:
        """Asks the service for its state; whether it is well."""
        try:
            await self._ask()
            now = None if self._state is None else self._state.source
            if now != self._told:
                await changed()
                self._told = now
        except StoreError as error:
            _log.error("%s", error)
            return False
        return True

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.service.close()

    async def check(self) -> None:
        """A health check. Raises :class:`NotHealthy`."""
        async with self._asking:
            at, why = self._checked
            if self._clock.monotonic() - at < (_BAD_SECONDS if why else _GOOD_SECONDS):
                if why:
                    raise NotHealthy(why)
                return
        await self._ask()

    async def _ask(self) -> None:
        async with self._asking:
            why = ""
            try:
                status = await self.service.status()
                problems = status.problems()
                if not status.has_key:
                    self._metrics.invalid(self.name, status.key_id)
                else:
                    self._metrics.stated(self.name, status.key_id)
                    problems += await self._rotate(status)
                if problems:
                    listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
                    why = f"kmsv2 Provider {self.name} is not healthy, error: {listed}"
            except CallFailed as error:
                why = f"failed to perform status section of the healthz check for KMS Provider {self.name}, error: {error}"
            self._checked = (self._clock.monotonic(), why)
            if why:
                self._told = None
                raise NotHealthy(why)

    async def _rotate(self, status: Status) -> list[str]:
        """A new seed where the service has another key than before; what went wrong with that."""
        expires = self._clock.now() + _WRITE_SECONDS
        state = self._state
        if state is not None and state.source.key_id == status.key_id:
            state.expires = expires
            return []
        plain, told, said = os.urandom(_SEED), "<nil>", ""
        try:
            source = await self.service.encrypt(plain)
            said = source.key_id
            source.check()
            if said == status.key_id:
                seed = Seed(plain)
                self._state = _State(source, seed, expires)
                self._keep(source, seed)
                return []
        except (CallFailed, Invalid) as error:
            told = str(error) if isinstance(error, Invalid) else f"failed to encrypt DEK, error: {error}"
        had = "" if state is None else state.source.key_id
        return [
            f'failed to rotate DEK, errGen={told}, statusKeyIDHash="{_hashed(status.key_id)}", '
            f'encryptKeyIDHash="{_hashed(said)}", stateKeyIDHash="{_hashed(had)}"'
        ]


def _hashed(key_id: str) -> str:
    """A key's id as errors may show it."""
    return hashed(key_id.encode())


def _envelope(sealed: bytes) -> Envelope:
    try:
        return Envelope.decode(sealed)
    except Invalid as error:
        raise CannotDecrypt(str(error)) from None
