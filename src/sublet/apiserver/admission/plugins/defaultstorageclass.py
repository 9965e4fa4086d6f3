"""Claims that name no class get the default one."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import objects

DEFAULT = "storageclass.kubernetes.io/is-default-class"
_LEGACY_DEFAULT = "storageclass.beta.kubernetes.io/is-default-class"
_LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class"


async def _admit(attributes: Attributes, context: Context) -> None:
    claim = attributes.new()
    spec = claim.setdefault("spec", {})
    if spec.get("storageClassName") is not None or _LEGACY_CLASS in objects.annotations(claim):
        return
    classes = [
        found
        for found in await context.reader.list("storage.k8s.io", "storageclasses")
        if "true"
        in (objects.annotations(found).get(DEFAULT), objects.annotations(found).get(_LEGACY_DEFAULT))
    ]
    if not classes:
        return
    # The newest; of those equally new, the first by name.
    classes.sort(key=objects.name)
    newest = max(classes, key=lambda c: str(c["metadata"].get("creationTimestamp", "")))
    spec["storageClassName"] = objects.name(newest)
    attributes.mutated = True


PLUGIN = Plugin("DefaultStorageClass", on("persistentvolumeclaims", operations=(CREATE,)), admit=_admit)
