"""The APIServices of groups and versions that this server itself serves for custom resources (reference B.19)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sublet.apiserver import bootstrap
from sublet.apiserver.aggregation_availability import set_available
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

_GROUP_PRIORITY, _VERSION_PRIORITY = 1000, 100
_PAUSE = 0.02
"""Seconds that changes are collected."""
_AGAIN = 5.0


class LocalAPIServices:
    """Makes them as definitions come, deletes them as they go, and says of all local ones that they are available."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        self._unlisten = self._api.kinds.on_change(self.look)
        self._task = asyncio.create_task(self._run(), name="local APIServices")
        self.look()

    async def stop(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def look(self) -> None:
        """Something has changed."""
        self._due.set()

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            await asyncio.sleep(_PAUSE)
            self._due.clear()
            try:
                await self.reconcile()
            except (StatusError, StoreError) as error:
                _log.warning("local APIServices could not be put right, trying again: %s", error)
                await asyncio.sleep(_AGAIN)
                self.look()

    async def reconcile(self) -> None:
        """Puts everything right once."""
        api, where = self._api, resource("apiservices.apiregistration.k8s.io")
        wanted = {
            f"{served.version}.{served.group}": served
            for entry in api.kinds.entries()
            if entry.custom
            for served in entry.served
        }
        for obj in await api.reader.list(where.group, where.plural):
            name = objects.name(obj)
            local = not (obj.get("spec") or {}).get("service")
            known = wanted.pop(name, None)
            if local and known is None and objects.labels(obj).get(bootstrap.MANAGED) == "true":
                await self._delete(name)
            elif local and not _is_local(obj):
                await self._available(name)
        for served in wanted.values():
            made = bootstrap.api_service(
                served.group, served.version, _GROUP_PRIORITY, _VERSION_PRIORITY, managed="true"
            )
            try:
                await api.client.create(where, made)
            except AlreadyExists:
                continue

    async def _delete(self, name: str) -> None:
        try:
            await self._api.client.delete(resource("apiservices.apiregistration.k8s.io"), name)
        except NotFound:
            return

    async def _available(self, name: str) -> None:
        now = objects.rfc3339(self._api.clock.now())

        def edit(current: Object) -> bool:
            return not (current.get("spec") or {}).get("service") and set_available(
                current, "True", "Local", "Local APIServices are always available", now
            )

        await self._api.reader.update("apiregistration.k8s.io", "apiservices", "", name, edit, "status")


def _is_local(obj: Object) -> bool:
    found = objects.condition(obj, "Available") or {}
    return found.get("reason") == "Local" and found.get("status") == "True"
