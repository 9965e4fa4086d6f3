"""PersistentVolume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.core.persistentvolumeclaims import short_modes, storage_class
from sublet.kinds.rules import amounts, placement, pod_defaults, show, volumes, warn
from sublet.kinds.rules.claims import STORAGE, VOLUME_MODES, access_modes
from sublet.kinds.rules.common import (
    Errors,
    fill,
    fill_empty,
    immutable,
    named,
    one_of,
    rule,
    spec_of,
    update_rule,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, not_supported, required

SOURCES = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs", "photonPersistentDisk",
    "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip
_POLICIES = ("Delete", "Recycle", "Retain")


def _default(volume: Object) -> None:
    spec = volume.setdefault("spec", {})
    fill_empty(spec, persistentVolumeReclaimPolicy="Retain")
    fill(spec, volumeMode="Filesystem")
    pod_defaults.volume_source(spec)
    status = volume.get("status")
    if isinstance(status, dict):
        fill_empty(status, phase="Pending")


def _source(spec: Object) -> Mapping[str, Any]:
    return {kind: spec[kind] for kind in SOURCES if spec.get(kind) is not None}


def _validate(volume: Object) -> Errors:
    spec = spec_of(volume)
    yield from access_modes("spec.accessModes", spec.get("accessModes"))
    capacity = spec.get("capacity") or {}
    if not capacity:
        yield required("spec.capacity")
    elif list(capacity) != [STORAGE]:
        yield not_supported("spec.capacity", capacity, [STORAGE])
    for name, value in capacity.items():
        yield from amounts.positive(f"spec.capacity[{name}]", value)
    policy = spec.get("persistentVolumeReclaimPolicy")
    yield from one_of("spec.persistentVolumeReclaimPolicy", policy, _POLICIES)
    yield from _source_rules(spec)
    if storage := spec.get("storageClassName"):
        yield from named("spec.storageClassName", storage, names.dns1123_subdomain)
    yield from one_of("spec.volumeMode", spec.get("volumeMode"), VOLUME_MODES)
    affinity = (spec.get("nodeAffinity") or {}).get("required")
    if affinity is not None:
        yield from placement.node_selector("spec.nodeAffinity.required", affinity)
    elif spec.get("nodeAffinity") is not None:
        yield required("spec.nodeAffinity.required", "must specify required node constraints")


def _source_rules(spec: Object) -> Errors:
    sources = _source(spec)
    if not sources:
        yield required("spec", "must specify a volume type")
    for kind in list(sources)[1:]:
        yield field_forbidden(f"spec.{kind}", "may not specify more than 1 volume type")
    kind = next(iter(sources), "")
    if kind in ("hostPath", "nfs"):
        yield from volumes.SOURCES[kind](f"spec.{kind}", sources[kind])
    elif kind == "local":
        if not sources[kind].get("path"):
            yield required("spec.local.path")
        if spec.get("nodeAffinity") is None:
            yield required("spec.nodeAffinity", "Local volume requires node affinity")
    elif kind == "csi":
        for field in ("driver", "volumeHandle"):
            if not sources[kind].get(field):
                yield required(f"spec.csi.{field}")


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    if _source(spec) != _source(before):
        yield field_forbidden(
            "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
        )
    yield from immutable("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity") is not None:
        yield from immutable("spec.nodeAffinity", spec.get("nodeAffinity"), before["nodeAffinity"])


def _cells(volume: Object, now: float) -> list[Any]:
    spec, status = spec_of(volume), volume.get("status") or {}
    claim = spec.get("claimRef") or {}
    deleting = (volume.get("metadata") or {}).get("deletionTimestamp")
    return [
        show.name(volume),
        (spec.get("capacity") or {}).get(STORAGE, ""),
        short_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if deleting else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        storage_class(volume),
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        show.age(volume, now),
        spec.get("volumeMode") or "<unset>",
    ]


KIND = builtin(
    "persistentvolumes",
    status={"phase": "Pending"},
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    warnings=warn.persistent_volume,
    cells=_cells,
)
