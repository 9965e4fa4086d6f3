"""ResourceClaim."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import device_status, devices, gotypes, show
from sublet.kinds.rules.common import Errors, immutable, made, rule, spec_of, update_rule
from sublet.machinery.kind import Object


def _default(obj: Object) -> None:
    devices.default_claim(made(obj, "spec"))


def _validate(obj: Object) -> Errors:
    yield from devices.claim_spec("spec", spec_of(obj))


def _validate_update(new: Object, old: Object) -> Errors:
    """What cannot change is not judged again."""
    now, then = (gotypes.shown("ResourceClaimSpec", spec_of(obj)) for obj in (new, old))
    yield from immutable("spec", now, then)


def _prepare_status(new: Object, old: Object) -> None:
    """What a device reported goes with it."""
    status = new.get("status") or {}
    kept, had = (frozenset(map(device_status.device_id, device_status.results(o))) for o in (new, old))
    if found := status.get("devices"):
        status["devices"] = [d for d in found if device_status.device_id(d) not in had - kept]
        if not status["devices"]:
            del status["devices"]


def _state(obj: Object) -> str:
    status = obj.get("status") or {}
    parts = []
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        parts.append("deleted")
    if not status.get("allocation"):
        parts = parts or ["pending"]
    else:
        parts.append("allocated")
        if status.get("reservedFor"):
            parts.append("reserved")
    return ",".join(parts)


def _cells(obj: Object, now: float) -> list[Any]:
    return [show.name(obj), _state(obj), show.age(obj, now)]


KIND = builtin(
    "resourceclaims.resource.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    prepare_status=_prepare_status,
    validate_status=update_rule(device_status.claim_status),
    cells=_cells,
)
