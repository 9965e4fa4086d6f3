"""Takes a changed EncryptionConfiguration while the server runs (``--encryption-provider-config-automatic-reload``)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sublet.apiserver.encryption.configuration import load
from sublet.apiserver.encryption.store import EncryptedStore
from sublet.apiserver.reloads import Followed, Reloads
from sublet.machinery.clock import Clock
from sublet.machinery.settings import ConfigurationError
from sublet.store.interface import StoreError

PERIOD = 10.0
"""Seconds between two looks at the file."""


class Reloader:
    """Runs from :meth:`start` to :meth:`stop`. A file that cannot be is logged, and the last good one stays."""

    def __init__(self, path: Path, store: EncryptedStore, reloads: Reloads, clock: Clock) -> None:
        self._path = path
        self._store = store
        self._followed = Followed(path, self._renew, reloads, clock)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="encryption configuration")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            await self.look()

    async def look(self) -> bool:
        """Takes the file if it has changed; whether it was taken."""
        return await self._followed.look()

    async def _renew(self) -> None:
        try:
            await self._store.renew(load(self._path))
        except StoreError as error:
            raise ConfigurationError(str(error)) from None
