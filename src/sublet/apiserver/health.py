"""The health checks of an API server, by upstream's names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

_SECONDS = 10.0

Check = Callable[[], Awaitable[object]]


async def _nothing() -> None:
    return None


def checks(api: APIServer, endpoint: str) -> dict[str, Check]:
    """Name -> what raises when it is not well. Names are upstream's; ``etcd`` is the data store."""
    found: dict[str, Check] = {"ping": _nothing, "etcd": api.store.current_revision}
    if endpoint != "livez":
        found["informer-sync"] = api.caches.ready
    if endpoint == "readyz":
        found["poststarthook/start-apiserver"] = api.ready
    return found


async def failed(name: str, check: Check) -> bool:
    """Runs one check; whether it failed. Why is logged and not told."""
    try:
        async with asyncio.timeout(_SECONDS):
            await check()
    except Exception as error:
        _log.warning("health check %s failed: %s", name, error)
        return True
    return False
