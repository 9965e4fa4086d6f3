"""Classes of volume attributes stay while they are named."""

from __future__ import annotations

from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import NotFound

CLASSES = resource("volumeattributesclasses.storage.k8s.io")
CLAIMS = resource("persistentvolumeclaims")


async def test_a_class_stays_until_no_claim_names_it(cluster: Any, eventually: Any) -> None:
    client = cluster.client
    await client.create(
        CLASSES, {"metadata": {"name": "gold"}, "driverName": "csi.example.com", "parameters": {"iops": "1"}}
    )
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none",
        "volumeAttributesClassName": "gold",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    await client.create(CLAIMS, {"metadata": {"name": "data", "namespace": "test"}, "spec": spec})
    await client.delete(CLASSES, "gold")
    held = await client.get(CLASSES, "gold")
    assert objects.is_deleting(held) and objects.finalizers(held) == ["kubernetes.io/vac-protection"]
    await client.delete(CLAIMS, "data", "test")

    async def gone() -> bool:
        try:
            await client.get(CLASSES, "gold")
        except NotFound:
            return True
        return False

    await eventually(gone)
