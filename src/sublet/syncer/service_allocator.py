"""ClusterIPs and node ports of tenant Services: the host gives them, before the tenant's Service exists.

So a Service has its final address from the moment it is created, the same in both clusters (reference 2.6, V1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    AlreadyExists,
    Conflict,
    Invalid,
    NotFound,
    ServiceUnavailable,
    StatusError,
    already_exists,
    conflict,
)
from sublet.syncer import apiservice, catalog, metadata, servicespec, translate
from sublet.syncer.declare import copied
from sublet.syncer.settings import SyncerSettings

_SERVICES = resource("services")
_TRIES = 3
BLOCKED_SECONDS = 120.0
"""So long a copy may be without its tenant Service, which is about to be stored."""


@dataclass(frozen=True)
class Allocation:
    """A tenant Service with what the host gave it."""

    service: Object
    host: Client
    created: Object | None
    """The copy, if it was made for this."""

    async def undo(self) -> None:
        """Removes the copy again, unless somebody has used it since."""
        if self.created is None:
            return
        made = self.created
        try:
            await self.host.delete(
                _SERVICES, objects.name(made), objects.namespace(made), uid=objects.uid(made),
                resource_version=made["metadata"]["resourceVersion"],
            )  # fmt: skip
        except (NotFound, Conflict):
            return


class HostServices:
    """The ``service_allocator`` of a tenant's API server."""

    def __init__(self, host: Client, settings: SyncerSettings, clock: Clock | None = None) -> None:
        self._host = host
        self._settings = settings
        self._mapping = settings.mapping
        self._clock = clock or SystemClock()

    async def allocate(self, service: Object, dry_run: bool = False) -> Allocation:
        """Makes the host's copy (unless ``dry_run``). Raises what the host answers, in the tenant's words."""
        try:
            if objects.key(service) == servicespec.API_SERVICE:
                own = await self._own_service()
                return Allocation(apiservice.wanted(service, own), self._host, None)
            return await self._copy(service, dry_run)
        except StatusError as error:
            raise self._in_tenant_words(error, service) from None

    async def _own_service(self) -> Object:
        return await self._host.get(_SERVICES, self._settings.service, self._settings.host_namespace)

    async def _copy(self, service: Object, dry_run: bool) -> Allocation:
        wanted = await self._wanted(service)
        where = self._settings.host_namespace
        for left in reversed(range(_TRIES)):
            try:
                made = await self._host.create(_SERVICES, wanted, where, dry_run=dry_run)
            except (AlreadyExists, Invalid) as error:
                # Its address may be taken by the very copy that an earlier Service of that name left.
                try:
                    made = await self._adopt(service, wanted, error, dry_run)
                except NotFound:
                    # The copy went away just now: its name and address are free.
                    if not left:
                        raise error from None
                    continue
                return Allocation(servicespec.with_addresses_of(service, made), self._host, None)
            break
        given = servicespec.with_addresses_of(service, made)
        return Allocation(given, self._host, None if dry_run else made)

    async def _wanted(self, service: Object) -> Object:
        sync = catalog.to_host()["services"]
        owner = None
        if self._settings.set_owner:
            own = await self._own_service()
            owner = objects.owner_reference(own, _SERVICES, controller=False)
            owner["controller"] = objects.controller_of(service) is not None
        spec: dict[str, Any] = servicespec.host_spec(service, self._mapping, keep_ports=True)
        for key in servicespec.ADDRESSES:
            if key in service["spec"] and spec.get("type") != "ExternalName":
                spec[key] = service["spec"][key]
        until = objects.rfc3339(self._clock.now() + BLOCKED_SECONDS)
        block = {self._mapping.names.block_deletion: until}
        return metadata.of_copy(service, {"spec": spec}, sync, self._mapping, owner, {}, block)

    async def _adopt(self, service: Object, wanted: Object, error: StatusError, dry_run: bool) -> Object:
        """The copy of an earlier Service of that name, or of one that had no address, becomes this one's.

        Raises ``NotFound`` when there is none (any more), else ``error`` or what speaks against it.
        """
        name, where = objects.name(wanted), self._settings.host_namespace
        found = await self._host.get(_SERVICES, name, where)
        if self._mapping.tenant_key(found, _SERVICES) != objects.key(service):
            raise (
                error if isinstance(error, Invalid) else already_exists("", "services", objects.name(service))
            )
        if objects.is_deleting(found):
            why = "object is being deleted: the Service of that name is still being removed on the host"
            raise conflict("", "services", objects.name(service), why)
        target = copied(found)
        target["spec"] = {**copied(wanted["spec"])}
        if target["spec"].get("type") != "ExternalName":
            for key in (*servicespec.ADDRESSES, "healthCheckNodePort"):
                if key in found["spec"] and key not in target["spec"]:
                    target["spec"][key] = found["spec"][key]
        target["metadata"]["labels"] = wanted["metadata"]["labels"]
        target["metadata"]["annotations"] = wanted["metadata"]["annotations"]
        patch = translate.difference(found, target)
        if not patch:
            return found
        guard = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
        patch["metadata"] = {**patch.get("metadata", {}), **guard}
        return await self._host.patch(_SERVICES, name, patch, where, dry_run=dry_run)

    def _in_tenant_words(self, error: StatusError, service: Object) -> StatusError:
        name, namespace = objects.name(service), objects.namespace(service)
        if error.code in (401, 403) and not error.causes and "quota" not in error.message:
            return ServiceUnavailable("the host does not allow this tenant to create Services", retry_after=5)
        host = self._mapping.host_name(name, namespace)
        error.message = self._mapping.sanitise(error.message, host, name, namespace)
        error.args = (error.message,)
        if error.name == host:
            error.name = name
        return error
