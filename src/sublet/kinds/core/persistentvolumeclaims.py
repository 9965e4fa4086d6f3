"""PersistentVolumeClaim."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.claims import STORAGE, claim_spec
from sublet.kinds.rules.common import Errors, fill, fill_empty, rule, spec_of, update_rule
from sublet.machinery import quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden

_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _default(claim: Object) -> None:
    fill(claim.setdefault("spec", {}), volumeMode="Filesystem")
    status = claim.get("status")
    if isinstance(status, dict):
        fill_empty(status, phase="Pending")


def _validate(claim: Object) -> Errors:
    yield from claim_spec("spec", spec_of(claim))


def _comparable(spec: Object, *, bound: bool) -> Object:
    kept = {key: value for key, value in spec.items() if key != "volumeAttributesClassName" or not bound}
    resources = {key: value for key, value in (spec.get("resources") or {}).items() if key != "requests"}
    kept["resources"] = resources
    return kept


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    bound = (new.get("status") or {}).get("phase") == "Bound"
    now, then = _comparable(spec, bound=bound), _comparable(before, bound=bound)
    if not before.get("volumeName"):
        now.pop("volumeName", None)  # binding is a change of the spec
    if before.get("storageClassName") is None:
        now.pop("storageClassName", None)  # a default class may be assigned later
    if now != then:
        yield field_forbidden("spec", _IMMUTABLE)
    asked = quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get(STORAGE, "0"))
    had = quantity.parse(((before.get("resources") or {}).get("requests") or {}).get(STORAGE, "0"))
    if asked != had and not bound:
        yield field_forbidden("spec", _IMMUTABLE)
    capacity = quantity.parse(((old.get("status") or {}).get("capacity") or {}).get(STORAGE, "0"))
    if asked < had and asked <= capacity:
        yield field_forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def short_modes(modes: list[str] | None) -> str:
    """``RWO,ROX``"""
    return ",".join(_SHORT_MODES.get(mode, mode) for mode in dict.fromkeys(modes or ()))


def storage_class(obj: Object) -> str:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if _CLASS_ANNOTATION in annotations:
        return str(annotations[_CLASS_ANNOTATION])
    return str(spec_of(obj).get("storageClassName") or "")


def _cells(claim: Object, now: float) -> list[Any]:
    spec, status = spec_of(claim), claim.get("status") or {}
    deleting = (claim.get("metadata") or {}).get("deletionTimestamp")
    modes, capacity = "", ""
    if spec.get("volumeName"):
        modes = short_modes(status.get("accessModes"))
        capacity = (status.get("capacity") or {}).get(STORAGE, "")
    return [
        show.name(claim),
        "Terminating" if deleting else status.get("phase", ""),
        spec.get("volumeName", ""),
        capacity,
        modes,
        storage_class(claim),
        spec.get("volumeAttributesClassName") or "<unset>",
        show.age(claim, now),
        spec.get("volumeMode") or "<unset>",
    ]


KIND = builtin(
    "persistentvolumeclaims",
    status={"phase": "Pending"},
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.persistent_volume_claim,
    cells=_cells,
)
