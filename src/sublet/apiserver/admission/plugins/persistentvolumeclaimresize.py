"""A claim grows only where its class allows expansion."""

from __future__ import annotations

from typing import Any

from sublet.apiserver.admission.framework import UPDATE, Attributes, Context, Plugin, on
from sublet.machinery import quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden


async def _validate(attributes: Attributes, context: Context) -> None:
    old, new = attributes.old(), attributes.new()
    before, after = _storage(old), _storage(new)
    if before is None or after is None or quantity.parse(after) <= quantity.parse(before):
        return
    if (old.get("status") or {}).get("phase") != "Bound":
        raise _refused(attributes, "Only bound persistent volume claims can be expanded")
    name = (old.get("spec") or {}).get("storageClassName") or ""
    found = await context.reader.get("storage.k8s.io", "storageclasses", "", name) if name else None
    if found is None or not found.get("allowVolumeExpansion"):
        raise _refused(
            attributes,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        )


def _storage(claim: Object) -> Any:
    return (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")


def _refused(attributes: Attributes, why: str) -> Exception:
    return forbidden("", "persistentvolumeclaims", attributes.name, why)


PLUGIN = Plugin(
    "PersistentVolumeClaimResize", on("persistentvolumeclaims", operations=(UPDATE,)), validate=_validate
)
