"""The claims and volumes of a pod, as the volume plug-ins see them."""

from __future__ import annotations

from collections.abc import Iterator

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.scheduler.framework import Lookup
from sublet.scheduler.podinfo import PodInfo

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def claim_names(pod: PodInfo) -> list[str]:
    names = []
    for volume in pod.spec.get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            names.append(str(claim["claimName"]))
        elif volume.get("ephemeral"):
            names.append(f"{pod.name}-{volume['name']}")
    return names


def is_bound(claim: Object) -> bool:
    annotations = claim["metadata"].get("annotations") or {}
    return bool((claim.get("spec") or {}).get("volumeName")) and (
        BIND_COMPLETED in annotations or (claim.get("status") or {}).get("phase") == "Bound"
    )


def class_name(obj: Object) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_BETA_CLASS) or (obj.get("spec") or {}).get("storageClassName") or "")


def claims(pod: PodInfo, lookup: Lookup) -> Iterator[Object]:
    """The pod's claims that exist."""
    for name in claim_names(pod):
        if (claim := lookup.claims.get(pod.namespace, name)) is not None:
            yield claim


def volumes(pod: PodInfo, lookup: Lookup) -> Iterator[Object]:
    """The persistent volumes to which the pod's claims are bound."""
    for claim in claims(pod, lookup):
        name = (claim.get("spec") or {}).get("volumeName")
        if name and (volume := lookup.volumes.get("", name)) is not None and not objects.is_deleting(claim):
            yield volume
