"""Volumes, claims and attribute classes in use stay until nobody uses them: they get a finalizer."""

from __future__ import annotations

from collections.abc import Mapping

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import objects

_FINALIZERS: Mapping[str, str] = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
    "volumeattributesclasses": "kubernetes.io/vac-protection",
}


async def _admit(attributes: Attributes, _context: Context) -> None:
    finalizer = _FINALIZERS[attributes.plural]
    obj = attributes.new()
    present = objects.finalizers(obj)
    if finalizer not in present:
        obj["metadata"]["finalizers"] = [*present, finalizer]
        attributes.mutated = True


PLUGIN = Plugin(
    "StorageObjectInUseProtection",
    on(
        "persistentvolumeclaims",
        "persistentvolumes",
        "volumeattributesclasses.storage.k8s.io",
        operations=(CREATE,),
    ),
    admit=_admit,
)
