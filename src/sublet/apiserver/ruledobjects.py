"""What every write of an object has to pass, and what is done around it: rules, admission, duties, managedFields.

The registry writes; in which order these steps are taken is its to know.
"""

from __future__ import annotations

from collections.abc import Sequence

from sublet.apiserver import conversion, crd_conversion, objectmeta
from sublet.apiserver.admission.framework import Admission, Attributes
from sublet.apiserver.aside import aside
from sublet.apiserver.release import SERVER
from sublet.apiserver.storedobjects import StoredObjects
from sublet.apiserver.watchcache import WatchCaches
from sublet.apiserver.writing import Duty, Judge, Transaction, Write, scope, versions
from sublet.machinery import managedfields, objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import FieldError, internal_error, invalid_object


class RuledObjects(StoredObjects):
    """Objects of all kinds, with what holds for their writes."""

    def __init__(self, caches: WatchCaches, minor: str, tag: str, clock: Clock) -> None:
        super().__init__(caches, minor, tag)
        self.clock = clock
        self.admission: Admission | None = None
        """Set by the API server once its plug-ins can read through this registry."""
        self.duties: dict[tuple[str, str], Duty] = {}
        self.judges: dict[tuple[str, str], Judge] = {}
        """What judges objects of a kind, or a kind's ``/status``, besides its own rules."""

    # -- rules --

    async def _update_errors(self, kind: Kind, new: Object, old: Object, write: Write) -> list[FieldError]:
        errors = objectmeta.validate_update(new, old, kind)
        if write.validate is not None:
            return [*errors, *write.validate(new, old)]
        if write.subresource == "status":
            if isinstance(kind, conversion.CustomKind):
                errors += await self._errors(kind, new, write, old)
            judged = await self._judged(kind, "/status", new, old, write)
            return [*judged, *errors, *kind.validate_status(new, old)]
        if kind.update_alone:
            return [*errors, *await aside(write.size, kind.validate_update, new, old)]
        own = await self._errors(kind, new, write, old)
        return [*errors, *own, *await aside(write.size, kind.validate_update, new, old)]

    async def _errors(
        self, kind: Kind, obj: Object, write: Write, old: Object | None = None
    ) -> Sequence[FieldError]:
        """What breaks the kind's own rules; custom resources obey the schema of the version the client speaks."""
        if not isinstance(kind, conversion.CustomKind):
            own = await aside(write.size, kind.errors_in, write.resource, obj, old)
            return [*own, *await self._judged(kind, "", obj, old, write)]
        version = kind.resource.version
        if write.spoken is not None:
            version, obj, old = write.spoken.resource.version, write.spoken.new, write.spoken.old
        found = await aside(write.size, kind.errors, version, obj, old, write.subresource)
        return [*found, *await kind.rules(version, obj, old, found, write.warnings)]

    async def _judged(
        self, kind: Kind, below: str, obj: Object, old: Object | None, write: Write
    ) -> Sequence[FieldError]:
        judge = self.judges.get((kind.resource.group, kind.resource.plural + below))
        return () if judge is None else await judge(obj, old, write)

    def _raise(self, kind: Kind, obj: Object, errors: Sequence[FieldError]) -> None:
        if errors:
            raise invalid_object(kind.resource.group, kind.resource.kind, objects.name(obj), errors)

    # -- admission --

    async def _admit(self, kind: Kind, attributes: Attributes) -> None:
        if self.admission is None:
            raise internal_error("the API server is not started")
        await self.admission.admit(attributes)
        if attributes.mutated and attributes.object is not None:
            kind.default(attributes.object)

    async def _validate(self, attributes: Attributes) -> None:
        if self.admission is not None:
            await self.admission.validate(attributes)

    # -- what the server does besides --

    async def _settle(self, kind: Kind, new: Object, old: Object | None) -> None:
        duty = self.duties.get((kind.resource.group, kind.resource.plural))
        if duty is not None:
            await duty.settle(kind, new, old)

    async def _begin(
        self, kind: Kind, new: Object | None, old: Object | None, write: Write
    ) -> Transaction | None:
        duty = self.duties.get((kind.resource.group, kind.resource.plural))
        return None if duty is None else await duty.begin(new, old, write.options.dry_run)

    async def _wrote(self, kind: Kind, new: Object | None, old: Object | None) -> None:
        duty = self.duties.get((kind.resource.group, kind.resource.plural))
        if duty is not None:
            await duty.wrote(new, old)

    # -- managedFields --

    async def _manage(self, kind: Kind, old: Object | None, new: Object, write: Write) -> None:
        """Fills managedFields, in the version the client used."""
        resource = write.resource
        if write.spoken is not None:
            # Converting is not free, and a webhook may not lead back to where it came from.
            before, after = write.spoken.old, write.spoken.new
        else:
            before = None if old is None else await crd_conversion.from_stored(kind, resource, old)
            after = await crd_conversion.from_stored(kind, resource, new)
        await aside(
            write.size, managedfields.update, before, after, manager=write.options.manager, api_version=resource.api_version,
            subresource=write.subresource, now=self.clock.now(), schema=self.schema(kind, resource),
            scope=scope(kind, resource.version, write.subresource), versions=versions(kind),
        )  # fmt: skip
        if after is not new:
            managed = after["metadata"].get("managedFields")
            if managed:
                new["metadata"]["managedFields"] = managed
            else:
                new["metadata"].pop("managedFields", None)

    async def _own(self, kind: Kind, old: Object, new: Object, endpoint: str, size: int) -> None:
        """Fills managedFields after a change of the server's own."""
        resource = kind.resource
        await aside(
            size, managedfields.update, old, new, manager=SERVER, api_version=resource.api_version, subresource=endpoint,
            now=self.clock.now(), schema=self.schema(kind, resource), scope=scope(kind, resource.version, endpoint),
            versions=versions(kind),
        )  # fmt: skip
