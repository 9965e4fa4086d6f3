"""Who may use devices that others use, to look after them: only who is in a namespace with a label for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sublet.kinds.rules import device_status
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, field_forbidden

if TYPE_CHECKING:
    from sublet.apiserver.device_rights import StatusRights
    from sublet.apiserver.registry import Registry
    from sublet.apiserver.writing import Write

LABEL = "resource.kubernetes.io/admin-access"
_GROUP = "resource.k8s.io"


class AdminAccess:
    """Judges claims and their templates besides their own rules."""

    def __init__(self, registry: Registry, rights: StatusRights | None = None) -> None:
        """``rights``: who may write what of a claim's status, where that is asked besides the right to write it."""
        self._registry = registry
        self._rights = rights

    def join(self) -> None:
        judges = self._registry.judges
        judges[_GROUP, "resourceclaims"] = self._claim
        judges[_GROUP, "resourceclaims/status"] = self._status
        judges[_GROUP, "resourceclaimtemplates"] = self._template

    async def _claim(self, new: Object, old: Object | None, _write: Write) -> Sequence[FieldError]:
        return await self._asked(new, new, old)

    async def _template(self, new: Object, old: Object | None, _write: Write) -> Sequence[FieldError]:
        return await self._asked(new, new.get("spec") or {}, old)

    async def _asked(self, obj: Object, claim: Object, old: Object | None) -> Sequence[FieldError]:
        """What is asked for never changes, so it is judged once."""
        devices = (claim.get("spec") or {}).get("devices") or {}
        requests = [(request.get("exactly") or {}) for request in devices.get("requests") or ()]
        return [] if old is not None else await self._errors(obj, "spec.devices.requests", requests)

    async def _status(self, new: Object, old: Object | None, write: Write) -> Sequence[FieldError]:
        errors: list[FieldError] = []
        if not any(result.get("adminAccess") for result in device_status.results(old or {})):
            errors = await self._errors(new, "status.allocation.devices.results", device_status.results(new))
        if self._rights is not None:
            errors += await self._rights.errors(new, old or {}, write)
        return errors

    async def _errors(self, obj: Object, path: str, users: Sequence[Any]) -> list[FieldError]:
        index = next((at for at, user in enumerate(users) if user.get("adminAccess")), None)
        if index is None or await self._is_labelled(obj["metadata"]["namespace"]):
            return []
        detail = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        return [field_forbidden(f"{path}[{index}].adminAccess", detail)]

    async def _is_labelled(self, namespace: str) -> bool:
        kind = self._registry.kinds.stored("", "namespaces")
        entry = None if kind is None else await self._registry.entry(kind, "", namespace)
        return entry is not None and objects.labels(entry.object).get(LABEL) == "true"
