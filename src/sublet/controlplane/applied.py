"""Keeps what the control plane itself wants to be there applied: what machines need to join, the tenant's DNS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from sublet.client.client import Client
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0


class Applied:
    """Server-side applies objects in order at start, each until it succeeds."""

    def __init__(self, name: str, client: Client, wanted: Callable[[], Sequence[Object]]) -> None:
        """``wanted`` is called when it is time, in a thread."""
        self._name = name
        self._client = client
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._apply(), name=self._name)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _apply(self) -> None:
        from sublet.node.joining import apply

        for obj in await asyncio.to_thread(self._wanted):
            while True:
                try:
                    await apply(self._client, obj)
                    break
                except StatusError as error:
                    logger.warning("%s: %s %s: %s", self._name, obj["kind"], objects.name(obj), error)
                await asyncio.sleep(_RETRY_SECONDS)
