"""PersistentVolume."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.core.persistentvolumeclaims import short_modes, storage_class
from sublet.kinds.rules import amounts, gotypes, persistent, placement, pod_defaults, show, warn
from sublet.kinds.rules.claims import STORAGE
from sublet.kinds.rules.common import Errors, fill, fill_empty, immutable, rule, spec_of, update_rule
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339
from sublet.machinery.status import field_forbidden, invalid

_BETA_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


_SINCE = "lastPhaseTransitionTime"


def _default(volume: Object) -> None:
    spec = volume.setdefault("spec", {})
    fill_empty(spec, persistentVolumeReclaimPolicy="Retain")
    fill(spec, volumeMode="Filesystem")
    pod_defaults.volume_source(spec)
    amounts.rounded(spec.get("capacity"))
    status = volume.get("status")
    if isinstance(status, dict):
        fill_empty(status, phase="Pending")


def _stamp(new: Object, old: Object | None, now: float) -> None:
    """Tells when the phase became what it is; a client may tell so itself."""
    status, before = new.get("status") or {}, (old or {}).get("status") or {}
    told, known = status.get(_SINCE), before.get(_SINCE)
    if status.get("phase") == before.get("phase"):
        if told is None and known is not None:
            status[_SINCE] = known
    elif told in (None, known):
        status[_SINCE] = rfc3339(now)


def _validate(volume: Object) -> Errors:
    yield from persistent.spec_rules("spec", spec_of(volume), show.name(volume))


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    terms = ((before.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    requirements = [r for term in terms for r in term.get("matchExpressions") or ()]
    odd = any(any(placement.label_values("", requirement)) for requirement in requirements)
    # Kubernetes judges a changed volume twice, and tells of it twice.
    errors = list(persistent.spec_rules("spec", spec, show.name(new), values=not odd))
    yield from errors
    yield from errors
    now, then = dict(persistent.sources(spec)), dict(persistent.sources(before))
    # A driver that learned to grow volumes needs a secret that older volumes lack.
    if "csi" in now and then.get("csi", now["csi"]).get("controllerExpandSecretRef") is None:
        now["csi"] = {k: v for k, v in now["csi"].items() if k != "controllerExpandSecretRef"}
    if now != then:
        detail = "spec.persistentvolumesource is immutable after creation"
        shown = gotypes.difference("PersistentVolumeSource", now, then)
        yield field_forbidden("spec.persistentvolumesource", f"{detail}\n{shown}")
    yield from immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    affinity = before.get("nodeAffinity")
    if affinity is not None and not _same_affinity(spec.get("nodeAffinity"), affinity):
        shown_affinity = spec.get("nodeAffinity")
        detail = "field is immutable, except for updating from beta label to GA"
        yield invalid("nodeAffinity", shown_affinity and {"Required": shown_affinity.get("required")}, detail)
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        yield field_forbidden(
            "spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"
        )


def _same_affinity(new: Any, old: Any) -> bool:
    """Whether nothing changed but keys of labels that have a stable name now, to that name."""
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_same_affinity, new, old))
    if isinstance(new, dict) and isinstance(old, dict):
        if new.get("key") == _BETA_LABELS.get(old.get("key", ""), ""):
            old = {**old, "key": new["key"]}
        return new.keys() == old.keys() and all(_same_affinity(new[key], old[key]) for key in new)
    return bool(new == old)


def _cells(volume: Object, now: float) -> list[Any]:
    spec, status = spec_of(volume), volume.get("status") or {}
    claim = spec.get("claimRef") or {}
    deleting = (volume.get("metadata") or {}).get("deletionTimestamp")
    return [
        show.name(volume),
        (spec.get("capacity") or {}).get(STORAGE, "0"),
        short_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if deleting else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        storage_class(volume),
        spec.get("volumeAttributesClassName", "<unset>"),
        status.get("reason", ""),
        show.age(volume, now),
        spec.get("volumeMode") or "<unset>",
    ]


KIND = builtin(
    "persistentvolumes",
    status={"phase": "Pending"},
    default=_default,
    stamp=_stamp,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    warnings=warn.persistent_volume,
    cells=_cells,
)
