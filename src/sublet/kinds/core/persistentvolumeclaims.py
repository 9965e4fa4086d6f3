"""PersistentVolumeClaim."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, gotypes, pod_defaults, show, warn
from sublet.kinds.rules.claims import STORAGE, claim_spec
from sublet.kinds.rules.common import (
    Errors,
    fill_empty,
    immutable,
    named,
    rule,
    spec_of,
    update_rule,
)
from sublet.kinds.rules.conditions import untold_times
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, not_supported

_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_OLD_SOURCES = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))
_SOURCE_FIELDS = ("apiGroup", "kind", "name")
_RESIZE_STATES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _default(claim: Object) -> None:
    pod_defaults.claim_spec(claim.setdefault("spec", {}))
    status = claim.get("status")
    if isinstance(status, dict):
        fill_empty(status, phase="Pending")
        amounts.rounded(status.get("capacity"), status.get("allocatedResources"))
    untold_times(claim, "lastProbeTime", "lastTransitionTime")


def _prepare_create(claim: Object) -> None:
    _one_source(claim.setdefault("spec", {}), {})


def _prepare_update(new: Object, old: Object) -> None:
    _one_source(new.setdefault("spec", {}), spec_of(old))


def _one_source(spec: Object, before: Object) -> None:
    """The two fields that name a data source say the same; other namespaces' sources are not served."""
    if (spec.get("dataSourceRef") or {}).get("namespace") and before.get("dataSourceRef") is None:
        del spec["dataSourceRef"]
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    odd = source is not None and (source.get("apiGroup") or "", source.get("kind")) not in _OLD_SOURCES
    if odd and reference is None and not (before.get("dataSource") or before.get("dataSourceRef")):
        del spec["dataSource"]
        source = None
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif source is None and reference is not None and not reference.get("namespace"):
        spec["dataSource"] = {key: reference[key] for key in _SOURCE_FIELDS if key in reference}


def _validate(claim: Object) -> Errors:
    yield from claim_spec("spec", spec_of(claim))


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    for name, amount in (status.get("capacity") or {}).items():
        yield from amounts.basic(f"status.capacity[{name}]", amount)
    path = "status.allocatedResourceStatuses"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        yield from _allocated_name(path, name)
        if state not in _RESIZE_STATES:
            yield not_supported(path, name, _RESIZE_STATES)
    path = "status.allocatedResources"
    for name, amount in (status.get("allocatedResources") or {}).items():
        wrong = list(_allocated_name(path, name))
        yield from wrong or amounts.basic(f"{path}[{name}]", amount)


def _allocated_name(path: str, name: str) -> Errors:
    """Of Kubernetes' own resources volumes have but one."""
    wrong = list(named(path, name, names.qualified_name))
    yield from wrong
    if not wrong and amounts.is_native(name) and name != STORAGE:
        yield not_supported(path, name, (STORAGE,))


def _annotation(claim: Object) -> str | None:
    found: str | None = ((claim.get("metadata") or {}).get("annotations") or {}).get(_CLASS_ANNOTATION)
    return found


def _comparable(new: Object, old: Object) -> tuple[Object, Object]:
    """(new, old) specs with everything equal that may change."""
    now, then = dict(spec_of(new)), dict(spec_of(old))
    if not then.get("volumeName") and "volumeName" in now:
        then["volumeName"] = now["volumeName"]  # binding is a change of the spec
    annotation, chosen = _annotation(old), now.get("storageClassName")
    if then.get("storageClassName") is None and chosen is not None and annotation in (None, chosen):
        del now["storageClassName"]  # a default class may be assigned later
    if (new.get("status") or {}).get("phase") == "Bound":
        requests = (now.get("resources") or {}).get("requests")
        if requests is not None:
            had = ((then.get("resources") or {}).get("requests") or {}).get(STORAGE, "0")
            now["resources"] = {**now["resources"], "requests": {**requests, STORAGE: had}}
        now["volumeAttributesClassName"] = then.get("volumeAttributesClassName")
    return _without_nulls(now), _without_nulls(then)


def _without_nulls(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if value not in (None, "", {})}


def _validate_update(new: Object, old: Object) -> Errors:
    # Kubernetes judges a changed claim twice, and tells of it twice.
    spec, before = spec_of(new), spec_of(old)
    errors = list(claim_spec("spec", spec, before))
    yield from errors
    yield from errors
    annotation, was = _annotation(new) or "", _annotation(old) or ""
    upgraded = was and before.get("storageClassName") is None and spec.get("storageClassName") == was
    if annotation != was and not (upgraded and not annotation):
        yield from immutable(f"metadata.annotations.{_CLASS_ANNOTATION}", annotation, was)
    now, then = _comparable(new, old)
    if now != then:
        shown = gotypes.difference("PersistentVolumeClaimSpec", now, then)
        yield field_forbidden("spec", f"{_IMMUTABLE}\n{shown}")
    asked = quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get(STORAGE, "0"))
    had = quantity.parse(((before.get("resources") or {}).get("requests") or {}).get(STORAGE, "0"))
    capacity = quantity.parse(((old.get("status") or {}).get("capacity") or {}).get(STORAGE, "0"))
    if asked < had and asked <= capacity:
        yield field_forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    yield from immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    attributes = spec.get("volumeAttributesClassName")
    current = (old.get("status") or {}).get("currentVolumeAttributesClassName")
    if current is not None and not attributes and attributes != before.get("volumeAttributesClassName"):
        to = "nil" if attributes is None else "empty string"
        detail = f"update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
        yield field_forbidden("spec.volumeAttributesClassName", detail)


def short_modes(modes: list[str] | None) -> str:
    """``RWO,ROX``: in this order, however they are listed."""
    return ",".join(short for mode, short in _SHORT_MODES.items() if mode in (modes or ()))


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
        capacity = (status.get("capacity") or {}).get(STORAGE, "0")
    return [
        show.name(claim),
        "Terminating" if deleting else status.get("phase", ""),
        spec.get("volumeName", ""),
        capacity,
        modes,
        storage_class(claim),
        spec.get("volumeAttributesClassName", "<unset>"),
        show.age(claim, now),
        spec.get("volumeMode") or "<unset>",
    ]


KIND = builtin(
    "persistentvolumeclaims",
    status={"phase": "Pending"},
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    validate_status=update_rule(_validate_status),
    warnings=warn.persistent_volume_claim,
    cells=_cells,
)
