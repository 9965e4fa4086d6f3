"""Takes a changed EncryptionConfiguration while the server runs (``--encryption-provider-config-automatic-reload``)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from sublet.apiserver.encryption.configuration import load
from sublet.apiserver.encryption.store import EncryptedStore
from sublet.machinery.settings import ConfigurationError
from sublet.store.interface import StoreError

_log = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between two looks at the file."""


class Reloader:
    """Runs from :meth:`start` to :meth:`stop`. A file that cannot be is logged, and the last good one stays."""

    def __init__(self, path: Path, store: EncryptedStore) -> None:
        self._path = path
        self._store = store
        self._seen = _digest(path)
        self._task: asyncio.Task[None] | None = None
        self._counts = {"success": 0, "failure": 0}

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
            self._counts["failure"] += 1
            _log.error("the changed encryption configuration is not taken: %s", error)
            return False
        self._counts["success"] += 1
        _log.info("the changed encryption configuration %s is taken", self._path)
        return True

    def lines(self) -> Iterator[str]:
        """Its metrics, under upstream's name."""
        name = "apiserver_encryption_config_controller_automatic_reloads_total"
        yield f"# HELP {name} [ALPHA] Total number of reload successes and failures of encryption configuration."
        yield f"# TYPE {name} counter"
        for status, count in self._counts.items():
            yield f'{name}{{status="{status}"}} {count}'


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""
