"""Whether an aggregated API server can be reached: the ``Available`` condition of its APIService (reference B.19)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

from sublet.apiserver.webhookclient import CallFailed
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.aggregation import Aggregation, Remote
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

PERIOD = 30.0
"""Seconds between two looks while it is available."""
_SOON, _LATEST = 0.5, 30.0
"""Seconds between two looks while it is not: doubled each time, starting above the first and ending at the second."""
_SETTLE = 0.05
"""Seconds that changes of its Service or endpoints are collected."""
_ANSWER = 5.0
"""Seconds it has to answer its discovery document."""
_DOCUMENTS = 60.0
"""Seconds between two reads of its OpenAPI documents."""

Verdict = tuple[str, str, str]
"""(status, reason, message) of the condition."""
_FAILED = "FailedDiscoveryCheck"
_MISSING = "failing or missing response from"
PASSED: Verdict = ("True", "Passed", "all checks passed")


class Availability:
    """Looks after one APIService from its making until :meth:`stop`."""

    def __init__(self, api: APIServer, aggregation: Aggregation, group: str, version: str) -> None:
        self._api = api
        self._aggregation = aggregation
        self._place = (group, version)
        self._documents_at = float("-inf")
        self._task = asyncio.create_task(self._run(), name=f"availability of {version}.{group}")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = _SOON
        while True:
            remote = self._aggregation.remotes.get(self._place)
            if remote is None:
                return
            caches = self._api.caches
            services = caches.cache("/registry/core/services/")
            slices = caches.cache("/registry/discovery.k8s.io/endpointslices/")
            with (
                services.watch(
                    caches.revision, prefix=f"{services.prefix}{remote.namespace}/{remote.service}"
                ) as service,
                slices.watch(caches.revision, prefix=f"{slices.prefix}{remote.namespace}/") as endpoints,
            ):
                available = await self._look(remote)
                pause = _SOON if available else min(pause * 2, _LATEST)
                waits = [
                    asyncio.create_task(watcher.next(PERIOD if available else pause))
                    for watcher in (service, endpoints)
                ]
                try:
                    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    happened = any(task.exception() is None and task.result() for task in done)
                finally:
                    for task in waits:
                        task.cancel()
                    await asyncio.gather(*waits, return_exceptions=True)
            if happened:
                pause = _SOON
                await asyncio.sleep(_SETTLE)

    async def _look(self, remote: Remote) -> bool:
        try:
            verdict, listed = await self._check(remote)
            await self._say(remote, verdict)
        except (StatusError, StoreError) as error:
            _log.warning("the availability of %s cannot be told: %s", remote.name, error)
            return False
        documents = self._aggregation.documents
        documents.answered(remote, listed)
        now = self._api.clock.monotonic()
        if listed is not None and now - self._documents_at >= _DOCUMENTS:
            self._documents_at = now
            await documents.read(remote, lambda path: self._read(remote, path))
        return verdict == PASSED

    async def _check(self, remote: Remote) -> tuple[Verdict, Object | None]:
        """The verdict, and the discovery document that was read on the way."""
        if verdict := await self._unreachable(remote):
            return verdict, None
        try:
            address = await self._aggregation.address(remote)
        except CallFailed as error:
            return ("False", _FAILED, str(error)), None
        url = f"https://{address}{remote.root}"
        for insecure in (False, True):
            try:
                status, body = await self._ask(remote, remote.root, address, insecure=insecure)
            except (CallFailed, StatusError, TimeoutError) as error:
                if not insecure and isinstance(error.__cause__, ssl.SSLCertVerificationError):
                    continue  # it is there: that it is not believed is told to those who ask it
                return ("False", _FAILED, f'{_MISSING} {url}: Get "{url}": {_why(error)}'), None
            if not 200 <= status < 300:
                return ("False", _FAILED, f"{_MISSING} {url}: bad status from {url}: {status}"), None
            return PASSED, None if insecure else _document(body)
        return PASSED, None

    async def _ask(
        self, remote: Remote, path: str, address: str, *, insecure: bool = False
    ) -> tuple[int, bytes]:
        async with asyncio.timeout(_ANSWER):
            return await self._aggregation.ask(remote, path, address, insecure=insecure)

    async def _read(self, remote: Remote, path: str) -> tuple[int, bytes]:
        return await self._ask(remote, path, await self._aggregation.address(remote))

    async def _unreachable(self, remote: Remote) -> Verdict | None:
        """What its Service lacks."""
        if (remote.namespace, remote.service) in self._aggregation.hosted:
            return None
        where = f'service/{remote.service} in "{remote.namespace}"'
        service = await self._api.reader.get("", "services", remote.namespace, remote.service)
        if service is None:
            return "False", "ServiceNotFound", f"{where} is not present"
        spec = service.get("spec") or {}
        if (spec.get("type") or "ClusterIP") != "ClusterIP":
            return None
        port = next((p for p in spec.get("ports") or () if p.get("port") == remote.port), None)
        if port is None:
            return "False", "ServicePortError", f"{where} is not listening on port {remote.port}"
        name = str(port.get("name") or "")
        slices = await self._api.reader.list("discovery.k8s.io", "endpointslices", remote.namespace)
        own = [
            each
            for each in slices
            if objects.labels(each).get("kubernetes.io/service-name") == remote.service
        ]
        if not own:
            return "False", "EndpointsNotFound", f"cannot find endpointslices for {where}"
        if not await self._api.endpoints.ready(remote.namespace, remote.service, name):
            why = f'endpointslices for {where} have no addresses with port name "{name}"'
            return "False", "MissingEndpoints", why
        return None

    async def _say(self, remote: Remote, verdict: Verdict) -> None:
        """Writes the condition where it is not what stands there."""
        status, reason, message = verdict
        # Before it can be read anywhere: who sees the condition may use the server.
        self._aggregation.told(self._place, available=status == "True", reason=reason)
        now = objects.rfc3339(self._api.clock.now())

        def edit(current: Object) -> bool:
            return set_available(current, status, reason, message, now)

        await self._api.reader.update(
            "apiregistration.k8s.io", "apiservices", "", remote.name, edit, "status"
        )


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    return error.message if isinstance(error, StatusError) else str(error)


def _document(body: bytes) -> Object | None:
    try:
        found = codec.decode_json(body)
    except codec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def set_available(api_service: Object, status: str, reason: str, message: str, now: str) -> bool:
    """Puts the condition ``Available`` in place; whether anything changed."""
    conditions = api_service.setdefault("status", {}).setdefault("conditions", [])
    known = next((c for c in conditions if c.get("type") == "Available"), None)
    fresh = {"type": "Available", "status": status, "reason": reason, "message": message}
    if known is None:
        conditions.append({**fresh, "lastTransitionTime": now})
        return True
    if all(known.get(key) == value for key, value in fresh.items()):
        return False
    if known.get("status") != status or not known.get("lastTransitionTime"):
        known["lastTransitionTime"] = now
    known.update(fresh)
    return True
