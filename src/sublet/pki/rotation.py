"""Renews the files of a running control plane in time, and tells those who use them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sublet.machinery.clock import Clock
from sublet.pki.controlplane import ControlPlanePKI
from sublet.pki.files import PKIError

_log = logging.getLogger(__name__)
PERIOD = 600.0
"""Seconds between two looks: a clock that jumps is noticed within that time."""
_DAY = 86400.0
_WARN_DAYS = 90


class Rotation:
    """Looks from :meth:`start` to :meth:`stop` whether anything must be renewed.

    ``told`` is called on the event loop after every look; :attr:`ControlPlanePKI.renewed` says what is new.
    """

    def __init__(
        self,
        directory: Path,
        sans: Sequence[str],
        clock: Clock,
        told: Callable[[ControlPlanePKI], None],
        period: float = PERIOD,
    ) -> None:
        self._directory = directory
        self._sans = tuple(sans)
        self._clock = clock
        self._told = told
        self._period = period
        self._task: asyncio.Task[None] | None = None
        self._warned = -1

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="certificate rotation")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def look(self) -> ControlPlanePKI | None:
        """Renews what is due; None where that failed, which is logged and tried again."""
        try:
            pki = await asyncio.to_thread(self._ensure)
            self._told(pki)
        except (PKIError, OSError) as error:
            _log.error("certificates could not be renewed: %s", error)
            return None
        if pki.renewed:
            _log.info("renewed certificates: %s", ", ".join(pki.renewed))
        self._warn(pki)
        return pki

    def _ensure(self) -> ControlPlanePKI:
        from sublet.pki.certificates import ensure_control_plane  # with the library that reads certificates

        return ensure_control_plane(self._directory, self._sans, self._clock)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            await self.look()

    def _warn(self, pki: ControlPlanePKI) -> None:
        """Once a day, when an authority itself nears its end: only its owner can decide what follows."""
        from sublet.pki.certificates import needs_renewal

        now = self._clock.now()
        today = int(now // _DAY)
        if today == self._warned:
            return
        for name, authority in (("ca", pki.ca), ("front-proxy-ca", pki.front_proxy_ca)):
            ends = authority.certificate.not_valid_after_utc
            left = ends.timestamp() - now
            if left < _WARN_DAYS * _DAY and needs_renewal(authority.certificate, now):
                self._warned = today
                _log.warning(
                    "%s ends on %s, in %d days: then nothing it certified counts any more; remove %s.crt and %s.key "
                    "and restart to make a new authority (every kubeconfig must then be made anew)",
                    self._directory / f"{name}.crt", f"{ends:%Y-%m-%d}", left // _DAY, name, name,
                )  # fmt: skip
