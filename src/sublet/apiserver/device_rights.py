"""Who may write which part of a ResourceClaim's status (1.36's ``DRAResourceClaimGranularStatusAuthorization``).

Besides ``resourceclaims/status`` it takes ``resourceclaims/binding`` in the whole cluster to allocate and reserve, and
``resourceclaims/driver`` of each driver whose devices report something else: ``associated-node:VERB`` for drivers on the
node the claim is bound to, ``arbitrary-node:VERB`` for everybody else.
"""

from __future__ import annotations

from collections.abc import Sequence

from sublet.apiserver.authentication.userinfo import is_on_node
from sublet.apiserver.authorization.authorizer import Authorizer, permission
from sublet.apiserver.authorization.denial import denial
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.writing import Write
from sublet.kinds.rules import device_status
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, field_forbidden

_GROUP, _PLURAL = "resource.k8s.io", "resourceclaims"


class StatusRights:
    """Asks an authorizer about the parts of a status that a write changes."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def errors(self, new: Object, old: Object, write: Write) -> list[FieldError]:
        """What the one who writes may not change."""
        status, before = new.get("status") or {}, old.get("status") or {}
        verb = "patch" if write.patched else "update"
        return [
            *await self._binding(status, before, verb, write),
            *await self._drivers(new["metadata"]["namespace"], status, before, verb, write),
        ]

    async def _binding(self, status: Object, before: Object, verb: str, write: Write) -> list[FieldError]:
        if all(_same(status, before, field) for field in ("allocation", "reservedFor")):
            return []
        refused = await self._refused(write, permission(verb, _GROUP, _PLURAL, subresource="binding"))
        if refused is None:
            return []
        what = f'changing status.allocation or status.reservedFor requires resource="{_PLURAL}/binding"'
        return [field_forbidden("status", f'{what}, verb="{verb}" permission: {refused}')]

    async def _drivers(
        self, namespace: str, status: Object, before: Object, verb: str, write: Write
    ) -> list[FieldError]:
        verbs = [f"arbitrary-node:{verb}"]
        node = bound_node(status.get("allocation"))
        if node and is_on_node(write.user, node):
            verbs.insert(0, f"associated-node:{verb}")
        errors = []
        for driver in changed_drivers(status, _still_allocated(status, before)):
            refused = await self._refused(
                write,
                *(
                    permission(each, _GROUP, _PLURAL, namespace=namespace, name=driver, subresource="driver")
                    for each in verbs
                ),
            )
            if refused is not None:
                what = f'changing status.devices requires resource="{_PLURAL}/driver"'
                why = f'{what}, verb="[{" ".join(verbs)}]" permission: {refused}'
                errors.append(field_forbidden("status.devices", why))
        return errors

    async def _refused(self, write: Write, *any_of: RequestInfo) -> str | None:
        """Why a user may do none of these, or None; what is said of the first stands for all."""
        first: str | None = None
        for asked in any_of:
            decision = await self._authorizer.decide(write.user, asked)
            if decision.allowed:
                return None
            why = ": ".join(part for part in (decision.error, decision.reason) if part)
            first = first or denial(write.user, asked, why).message
        return first


def _same(status: Object, before: Object, field: str) -> bool:
    return (status.get(field) or None) == (before.get(field) or None)


def _still_allocated(status: Object, before: Object) -> Object:
    """What was told before, without the devices that the claim has lost: nobody has to be asked for what goes with
    them."""
    lost = _allocated(before) - _allocated(status)
    return {
        **before,
        "devices": [d for d in before.get("devices") or () if device_status.device_id(d) not in lost],
    }


def _allocated(status: Object) -> frozenset[str]:
    return frozenset(map(device_status.device_id, device_status.results({"status": status})))


def changed_drivers(status: Object, before: Object) -> list[str]:
    """The drivers whose devices were added, removed or report something else; sorted."""
    had = {device_status.device_id(device): device for device in before.get("devices") or ()}
    changed: list[Object] = []
    for device in status.get("devices") or ():
        if had.pop(device_status.device_id(device), None) != device:
            changed.append(device)
    return sorted({str(device.get("driver") or "") for device in (*changed, *had.values())})


def bound_node(allocation: Object | None) -> str:
    """The one node, told by its name, that an allocation is for, or ``""``."""
    terms: Sequence[Object] = ((allocation or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or ()
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return ""
    fields: Sequence[Object] = terms[0].get("matchFields") or ()
    if len(fields) != 1 or (fields[0].get("key"), fields[0].get("operator")) != ("metadata.name", "In"):
        return ""
    values: Sequence[str] = fields[0].get("values") or ()
    return values[0] if len(values) == 1 else ""
