"""Which claims a pod mounts: shared by the controllers of volumes."""

from __future__ import annotations

from collections.abc import Iterator

from sublet.machinery import objects
from sublet.machinery.kind import Object


def claim_keys(pod: Object) -> Iterator[str]:
    """``NAMESPACE/CLAIM`` of every claim a pod mounts, those of ephemeral volumes included."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield f"{objects.namespace(pod)}/{volume['persistentVolumeClaim'].get('claimName', '')}"
        elif "ephemeral" in volume:
            yield f"{objects.namespace(pod)}/{objects.name(pod)}-{volume['name']}"
