"""Which PersistentVolume suits a claim. Pure.

Source: reference/kubernetes-api.md C (persistentvolume-binder) and the PersistentVolume documentation.
"""

from __future__ import annotations

from collections.abc import Iterable

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_label_selector

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def class_of(obj: Object) -> str:
    """The storage class of a claim or volume; empty where there is none."""
    annotated = objects.annotations(obj).get(BETA_CLASS)
    return annotated if annotated is not None else str((obj.get("spec") or {}).get("storageClassName") or "")


def names_class(claim: Object) -> bool:
    """Whether the claim says which class it wants, be it none."""
    return BETA_CLASS in objects.annotations(claim) or claim["spec"].get("storageClassName") is not None


def refers_to(volume: Object, claim: Object) -> bool:
    """Whether the volume's claimRef means this claim (by uid, where it names one)."""
    reference = (volume.get("spec") or {}).get("claimRef") or {}
    return (
        reference.get("name") == objects.name(claim)
        and reference.get("namespace") == objects.namespace(claim)
        and reference.get("uid") in (None, "", objects.uid(claim))
    )


def mismatch(volume: Object, claim: Object) -> str:
    """Why the volume cannot serve the claim that names it; empty when it can."""
    if _size(volume) < _wanted(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if _attributes(volume) != _attributes(claim):
        return "volumeAttributesClassName does not match"
    if _mode(volume) != _mode(claim):
        return "incompatible volumeMode"
    if not _modes(claim) <= _modes(volume):
        return "incompatible accessMode"
    return ""


def best(volumes: Iterable[Object], claim: Object, *, only_reserved: bool = False) -> Object | None:
    """The volume reserved for the claim, else the smallest free one that suits it."""
    selector = claim["spec"].get("selector")
    chosen = from_label_selector(selector) if selector else None
    found: Object | None = None
    for volume in volumes:
        if objects.is_deleting(volume) or _mode(volume) != _mode(claim):
            continue
        reserved = (volume.get("spec") or {}).get("claimRef")
        if reserved:
            if refers_to(volume, claim) and _size(volume) >= _wanted(claim):
                return volume
            continue
        if only_reserved or (volume.get("status") or {}).get("phase") not in ("Available", None):
            continue
        if chosen is not None and not chosen.matches(objects.labels(volume)):
            continue
        if mismatch(volume, claim):
            continue
        if found is None or _size(volume) < _size(found):
            found = volume
    return found


def _size(volume: Object) -> quantity.Quantity:
    return quantity.parse(((volume.get("spec") or {}).get("capacity") or {}).get("storage", "0"))


def _wanted(claim: Object) -> quantity.Quantity:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return quantity.parse(requests.get("storage", "0"))


def _mode(obj: Object) -> str:
    return str((obj.get("spec") or {}).get("volumeMode") or "Filesystem")


def _attributes(obj: Object) -> str:
    return str((obj.get("spec") or {}).get("volumeAttributesClassName") or "")


def _modes(obj: Object) -> set[str]:
    return set((obj.get("spec") or {}).get("accessModes") or ())
