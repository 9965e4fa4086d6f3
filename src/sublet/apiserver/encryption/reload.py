"""Takes a changed EncryptionConfiguration while the server runs (``--encryption-provider-config-automatic-reload``)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sublet.apiserver.encryption.configuration import load
from sublet.apiserver.encryption.store import EncryptedStore
from sublet.apiserver.reloads import Reloads, hashed
from sublet.machinery.settings import ConfigurationError
from sublet.store.interface import StoreError

_log = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between two looks at the file."""


class Reloader:
    """Runs from :meth:`start` to :meth:`stop`. A file that cannot be is logged, and the last good one stays."""

    def __init__(self, path: Path, store: EncryptedStore, reloads: Reloads) -> None:
        self._path = path
        self._store = store
        self._reloads = reloads
        self._seen = _digest(path)
        reloads.starts_with(self._seen)
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
        now = _digest(self._path)
        if now == self._seen:
            return False
        self._seen = now
        try:
            await self._store.renew(load(self._path))
        except (ConfigurationError, StoreError) as error:
            self._reloads.refused()
            _log.error("the changed encryption configuration is not taken: %s", error)
            return False
        self._reloads.taken(now)
        _log.info("the changed encryption configuration %s is taken", self._path)
        return True


def _digest(path: Path) -> str:
    try:
        return hashed(path.read_bytes())
    except OSError:
        return ""
