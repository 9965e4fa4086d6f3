"""Configuration files that are read again while the server runs, and what came of it under upstream's names."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from sublet.machinery.clock import Clock
from sublet.machinery.exposition import heading
from sublet.machinery.settings import ConfigurationError

_log = logging.getLogger(__name__)

_AGAIN = 60.0
"""Seconds until a file that could not be used is tried again."""


class Reloads:
    """Of one configuration; :meth:`lines` writes them in Prometheus' text format."""

    def __init__(self, what: str, server: str, clock: Clock, stability: str = "BETA") -> None:
        """``what`` is ``authentication``, …; ``server`` is the name of the API server's Lease."""
        self._what = what
        self._server = hashed(server.encode())
        self._clock = clock
        self._stability = stability
        self._counts: dict[str, int] = {}
        self._times: dict[str, float] = {}
        self._hash = ""

    def starts_with(self, content: str) -> None:
        """The file whose content has this hash counts from the start."""
        self._hash = content

    def taken(self, content: str) -> None:
        """A changed file counts from now on."""
        self._note("success")
        self._hash = content

    def refused(self) -> None:
        self._note("failure")

    def _note(self, status: str) -> None:
        self._counts[status] = self._counts.get(status, 0) + 1
        self._times[status] = self._clock.now()

    def lines(self) -> Iterator[str]:
        name = f"apiserver_{self._what}_config_controller"
        of = f"of {self._what} configuration split by status and apiserver identity."
        server = f'apiserver_id_hash="{self._server}"'
        counts, times = f"{name}_automatic_reloads_total", f"{name}_automatic_reload_last_timestamp_seconds"
        yield from heading(counts, f"[{self._stability}] Total number of automatic reloads {of}", "counter")
        for status, count in self._counts.items():
            yield f'{counts}{{{server},status="{status}"}} {count}'
        yield from heading(times, f"[{self._stability}] Timestamp of the last automatic reload {of}", "gauge")
        for status, moment in self._times.items():
            yield f'{times}{{{server},status="{status}"}} {moment:.3f}'
        if self._hash:
            info = f"{name}_last_config_info"
            what = f"[ALPHA] Information about the last applied {self._what} configuration with hash as label, split by apiserver identity."
            yield from heading(info, what, "gauge")
            yield f'{info}{{{server},hash="{self._hash}"}} 1'


class Followed:
    """One file, whose content counts when this is made. What could not be used is tried again every minute."""

    def __init__(
        self, file: Path, renew: Callable[[], Awaitable[None]], reloads: Reloads, clock: Clock
    ) -> None:
        """``renew`` reads the file and takes it over. It raises :class:`ConfigurationError` and changes nothing then."""
        self._file = file
        self._renew = renew
        self._clock = clock
        self._taken = _digest(file)
        self._refused = ""
        self._again = 0.0
        self.reloads = reloads
        reloads.starts_with(self._taken)

    async def look(self) -> bool:
        """Takes over what has changed, and says whether something was; what is wrong there is logged."""
        digest = await asyncio.to_thread(_digest, self._file)
        if digest == self._taken or (digest == self._refused and self._clock.monotonic() < self._again):
            return False
        try:
            await self._renew()
        except ConfigurationError as error:
            self._refused, self._again = digest, self._clock.monotonic() + _AGAIN
            self.reloads.refused()
            _log.error("%s has changed, but cannot be used: %s", self._file, error)
            return False
        self._taken, self._refused = digest, ""
        self.reloads.taken(digest)
        _log.info("%s has changed and counts from now on", self._file)
        return True


def _digest(file: Path) -> str:
    """Of a file's content; one text for all that cannot be read."""
    try:
        return hashed(file.read_bytes()) or "empty"
    except OSError:
        return "unreadable"


def hashed(content: bytes) -> str:
    """Upstream's way to tell contents apart in labels; ``""`` of nothing."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}" if content else ""
