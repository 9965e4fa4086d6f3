"""A tenant's view of the volumes that its claims are bound to (reference 2.14, ST3).

Volumes belong to the whole host cluster, which a tenant may not read: what the claim says of its volume is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result
from sublet.syncer.declare import FromHost, Scope

_VOLUMES = resource("persistentvolumes")
_CLAIMS = resource("persistentvolumeclaims")
_INDEX = "claims by volume"


class Settings(Struct, frozen=True):
    enabled: bool = True
    """Show a volume for each bound claim."""


def stand_in(name: str, claim: Object, label: str) -> Object:
    """The volume that a bound claim names, as far as the claim tells."""
    spec, status = claim["spec"], claim.get("status") or {}
    volume: Object = {
        "capacity": status.get("capacity")
        or (spec.get("resources") or {}).get("requests")
        or {"storage": "0"},
        "accessModes": status.get("accessModes") or spec.get("accessModes") or ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete",
        "volumeMode": spec.get("volumeMode") or "Filesystem",
        "flexVolume": {"driver": "fake"},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": objects.namespace(claim),
            "name": objects.name(claim),
            "uid": objects.uid(claim),
            "resourceVersion": claim["metadata"].get("resourceVersion", ""),
        },
    }
    if spec.get("storageClassName"):
        volume["storageClassName"] = spec["storageClassName"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {label: "true"}},
        "spec": volume,
        "status": {"phase": "Bound"},
    }


class Volumes:
    """One volume a key, by its name."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._label = scope.mapping.names.key("fake-pv")
        self._controller = Controller("volumes from host", self._reconcile, workers=2)
        self._claims = scope.tenant_objects(_CLAIMS)
        self._claims.add_index(_INDEX, lambda claim: (claim["spec"].get("volumeName") or "",))
        self._claims.add_handler(self._claim_changed)
        self._volumes = scope.tenant_objects(_VOLUMES)
        self._volumes.add_handler(self._controller.enqueue_object)

    def _claim_changed(self, _event: str, obj: Object, old: Object | None) -> None:
        for claim in (obj, old):
            if claim is not None and (name := claim["spec"].get("volumeName")):
                self._controller.enqueue(name)

    async def run(self) -> None:
        await self._claims.synced()
        await self._volumes.synced()
        await self._controller.run()

    async def _reconcile(self, name: str) -> Result | None:
        current = self._volumes.get("", name)
        claim = next(iter(self._claims.by_index(_INDEX, name)), None)
        if claim is not None:
            if current is None and (claim.get("status") or {}).get("phase") == "Bound":
                await self._make(stand_in(name, claim, self._label))
            return None
        if current is None or objects.labels(current).get(self._label) != "true":
            return None
        await self._remove(current)
        return None

    async def _make(self, volume: Object) -> None:
        try:
            made = await self._scope.tenant.create(_VOLUMES, volume)
        except AlreadyExists:
            return
        if (made.get("status") or {}).get("phase") != "Bound":
            await self._scope.tenant.patch(
                _VOLUMES, objects.name(volume), {"status": volume["status"]}, subresource="status"
            )

    async def _remove(self, volume: Object) -> None:
        """Protection was for the data, which is not here."""
        name = objects.name(volume)
        guard = {"uid": objects.uid(volume)}
        try:
            if objects.finalizers(volume):
                await self._scope.tenant.patch(_VOLUMES, name, {"metadata": {**guard, "finalizers": None}})
            await self._scope.tenant.delete(_VOLUMES, name, uid=objects.uid(volume))
        except NotFound:
            return


def _setup(scope: Scope, settings: Settings) -> Sequence[Volumes]:
    return [Volumes(scope)] if settings.enabled and _CLAIMS in scope.synced else []


SYNC = FromHost(resource=_VOLUMES, key="persistentVolumes", settings=Settings, setup=_setup)
