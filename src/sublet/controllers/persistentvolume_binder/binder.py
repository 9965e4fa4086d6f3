"""The I/O of binding: one queue of claims, one of volumes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sublet.controllers.persistentvolume_binder import matching
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import Conflict, NotFound
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.volumes import claim_keys

_CLAIMS = resource("persistentvolumeclaims")
_VOLUMES = resource("persistentvolumes")
_CLASSES = resource("storageclasses.storage.k8s.io")
_PODS = resource("pods")
_BY_CLAIM = "claims"
BOUND_BY_US = "pv.kubernetes.io/bound-by-controller"
COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
_PROVISIONER = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


class Binder:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._claims = context.informers.informer(_CLAIMS)
        self._volumes = context.informers.informer(_VOLUMES)
        self._classes = context.informers.informer(_CLASSES)
        self._pods = context.informers.informer(_PODS)
        self._pods.add_index(_BY_CLAIM, claim_keys)
        self._latest = Latest()
        self.claims = Controller("persistentvolume-binder-controller claims", self.reconcile_claim)
        self.volumes = Controller("persistentvolume-binder-controller volumes", self.reconcile_volume)
        self._claims.add_handler(self._on_claim)
        self._volumes.add_handler(self._on_volume)
        self._classes.add_handler(self._on_class)
        self._pods.add_handler(self._on_pod)

    # -- what changed --

    def _on_claim(self, event: str, claim: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(claim))
        else:
            self.claims.enqueue(objects.key(claim))
        if volume := claim["spec"].get("volumeName"):
            self.volumes.enqueue(volume)

    def _on_volume(self, event: str, volume: Object, old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(volume))
        else:
            self.volumes.enqueue(objects.name(volume))
        reference = (volume.get("spec") or {}).get("claimRef")
        for found in (reference, old and (old.get("spec") or {}).get("claimRef")):
            if found:  # also the claim whose reference somebody took off: it is still bound, so it comes back
                self.claims.enqueue(f"{found.get('namespace')}/{found.get('name')}")
        if not reference and (event == "add" or old is None or _phase(old) != _phase(volume)):
            self._enqueue_pending(matching.class_of(volume))

    def _on_pod(self, event: str, pod: Object, _old: Object | None) -> None:
        """A pod begins to wait for claims that wait for a pod."""
        if event != "add" or _is_placed(pod):
            return
        for key in claim_keys(pod):
            claim = self._claims.get(*objects.split_key(key))
            if claim is not None and _phase(claim) == "Pending":
                self.claims.enqueue(key)

    def _on_class(self, event: str, storage_class: Object, _old: Object | None) -> None:
        if event == "delete":
            return
        self._enqueue_pending(objects.name(storage_class))
        if objects.annotations(storage_class).get(_DEFAULT) == "true":
            self._enqueue_pending("")

    def _enqueue_pending(self, storage_class: str) -> None:
        for claim in self._claims.list():
            if _phase(claim) != "Bound" and matching.class_of(claim) == storage_class:
                self.claims.enqueue(objects.key(claim))

    # -- claims --

    async def reconcile_claim(self, key: str) -> None:
        cached = self._claims.get(*objects.split_key(key))
        if cached is None:
            return
        claim = self._latest.of(cached)
        if COMPLETED in objects.annotations(claim):
            await self._check_bound(claim)
        elif objects.is_deleting(claim):
            return
        elif claim["spec"].get("volumeName"):
            await self._bind_named(claim)
        else:
            await self._find(claim)

    async def _check_bound(self, claim: Object) -> None:
        name = claim["spec"].get("volumeName")
        if not name:
            text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
            await self._lost(claim, "ClaimLost", text)
            return
        volume = self._volume(name)
        if volume is None:
            text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            await self._lost(claim, "ClaimLost", text)
            return
        reference = volume["spec"].get("claimRef")
        if reference and reference.get("uid") != objects.uid(claim):
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
            await self._lost(claim, "ClaimMisbound", text)
            return
        await self._bind(volume, claim)

    async def _bind_named(self, claim: Object) -> None:
        volume = self._volume(claim["spec"]["volumeName"])
        if volume is None:
            await self._claim_phase(claim, "Pending")
            return
        if volume["spec"].get("claimRef") and not matching.refers_to(volume, claim):
            text = f'volume "{objects.name(volume)}" already bound to a different claim.'
            self._event(claim, _CLAIMS, "Warning", "FailedBinding", text)
            await self._claim_phase(claim, "Pending")
            return
        if not volume["spec"].get("claimRef") and (why := matching.mismatch(volume, claim)):
            text = f'Cannot bind to requested volume "{objects.name(volume)}": {why}'
            self._event(claim, _CLAIMS, "Warning", "VolumeMismatch", text)
            await self._claim_phase(claim, "Pending")
            return
        await self._bind(volume, claim)

    async def _find(self, claim: Object) -> None:
        if not matching.names_class(claim) and (default := self._default_class()):
            claim = await self._update_claim(
                {**claim, "spec": {**claim["spec"], "storageClassName": default}}
            )
        storage_class = self._classes.get("", matching.class_of(claim))
        waits = (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
        selected = SELECTED_NODE in objects.annotations(claim)
        volumes = [self._latest.of(volume) for volume in self._volumes.list()]
        volume = matching.best(volumes, claim, only_reserved=waits)
        if volume is not None:
            await self._bind(volume, claim)
            return
        if waits and not selected:
            self._event(claim, _CLAIMS, "Normal", *waiting_for(self._users(claim)))
        elif matching.class_of(claim):
            claim = await self._ask_provisioner(claim, storage_class)
        else:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._event(claim, _CLAIMS, "Normal", "FailedBinding", text)
        await self._claim_phase(claim, "Pending")

    async def _ask_provisioner(self, claim: Object, storage_class: Object | None) -> Object:
        """Writes on the claim who is to make its volume."""
        if storage_class is None:
            text = f'storageclass.storage.k8s.io "{matching.class_of(claim)}" not found'
            self._event(claim, _CLAIMS, "Warning", "ProvisioningFailed", text)
            return claim
        provisioner = str(storage_class.get("provisioner") or "")
        if provisioner in ("", _NO_PROVISIONER):
            text = f"no volume plugin matched name: {provisioner}"
            self._event(claim, _CLAIMS, "Warning", "ProvisioningFailed", text)
            return claim
        annotations = {**objects.annotations(claim), **dict.fromkeys(_PROVISIONER, provisioner)}
        if annotations != objects.annotations(claim):
            metadata = {**claim["metadata"], "annotations": annotations}
            claim = await self._update_claim({**claim, "metadata": metadata})
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        self._event(claim, _CLAIMS, "Normal", "ExternalProvisioning", text)
        return claim

    def _users(self, claim: Object) -> list[Object]:
        return self._pods.by_index(_BY_CLAIM, objects.key(claim))

    def _default_class(self) -> str:
        """The newest class that is marked as default; empty where none is."""
        marked = [c for c in self._classes.list() if objects.annotations(c).get(_DEFAULT) == "true"]
        newest = max(marked, key=lambda c: str(c["metadata"].get("creationTimestamp")), default=None)
        return objects.name(newest) if newest is not None else ""

    # -- binding: volume first, so that a claim is never bound to a volume that does not know it --

    async def _bind(self, volume: Object, claim: Object) -> None:
        volume = await self._bind_volume(volume, claim)
        await self._volume_phase(volume, "Bound")
        claim = await self._bind_claim(volume, claim)
        status: dict[str, Any] = {
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes") or [],
            "capacity": volume["spec"].get("capacity") or {},
        }
        old = claim.get("status") or {}
        if _phase(claim) == "Bound" and old.get("capacity"):
            status["capacity"] = old["capacity"]  # from then on resizing is what changes it
        await self._claim_status(claim, {**old, **status})

    async def _bind_volume(self, volume: Object, claim: Object) -> Object:
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") == objects.uid(claim):
            return volume
        wanted = {
            **reference,
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": objects.namespace(claim),
            "name": objects.name(claim),
            "uid": objects.uid(claim),
            "resourceVersion": claim["metadata"].get("resourceVersion", ""),
        }
        metadata = volume["metadata"]
        if not reference:
            metadata = {**metadata, "annotations": {**objects.annotations(volume), BOUND_BY_US: "yes"}}
        changed = {**volume, "metadata": metadata, "spec": {**volume["spec"], "claimRef": wanted}}
        return self._latest.remember(await self._client.update(_VOLUMES, changed))

    async def _bind_claim(self, volume: Object, claim: Object) -> Object:
        annotations = {**objects.annotations(claim), COMPLETED: "yes"}
        if claim["spec"].get("volumeName") != objects.name(volume):
            annotations[BOUND_BY_US] = "yes"
        elif annotations == objects.annotations(claim):
            return claim
        changed = {
            **claim,
            "metadata": {**claim["metadata"], "annotations": annotations},
            "spec": {**claim["spec"], "volumeName": objects.name(volume)},
        }
        return await self._update_claim(changed)

    # -- volumes --

    async def reconcile_volume(self, name: str) -> None:
        volume = self._volume(name)
        if volume is None:
            return
        reference = volume["spec"].get("claimRef")
        if not reference or not reference.get("uid"):
            await self._volume_phase(volume, "Available")
            return
        claim = await self._claim_of(reference)
        if claim is None:
            if _phase(volume) not in ("Released", "Failed"):
                volume = await self._volume_phase(volume, "Released")
            await self._reclaim(volume)
            return
        bound_to = claim["spec"].get("volumeName")
        if not bound_to:
            self.claims.enqueue(objects.key(claim))
        elif bound_to == name:
            await self._volume_phase(volume, "Bound")
        elif PROVISIONED_BY in objects.annotations(volume) and _reclaims(volume) == "Delete":
            if _phase(volume) not in ("Released", "Failed"):
                await self._volume_phase(volume, "Released")  # whoever made it takes it away
        else:
            await self._unbind(volume)

    async def _reclaim(self, volume: Object) -> None:
        """Says what keeps a released volume that nobody will take away."""
        if (why := unreclaimable(volume)) and _phase(volume) != "Failed":
            reason, message = why
            await self._volume_phase(volume, "Failed", message)
            self._event(volume, _VOLUMES, "Warning", reason, message)

    async def _claim_of(self, reference: Object) -> Object | None:
        """The claim of a claimRef by uid, asking the API before it counts as gone."""
        namespace, name = reference.get("namespace", ""), reference.get("name", "")
        found = self._claims.get(namespace, name)
        if found is None or objects.uid(found) != reference["uid"]:
            try:
                found = await self._client.get(_CLAIMS, name, namespace)
            except NotFound:
                return None
        return self._latest.of(found) if objects.uid(found) == reference["uid"] else None

    async def _unbind(self, volume: Object) -> None:
        """Another volume won the claim: this one is free again, or waits for the claim it was made for."""
        kept = {k: v for k, v in objects.annotations(volume).items() if k != BOUND_BY_US}
        spec = {k: v for k, v in volume["spec"].items() if k != "claimRef"}
        if BOUND_BY_US not in objects.annotations(volume):
            reference = volume["spec"]["claimRef"]
            spec["claimRef"] = {k: v for k, v in reference.items() if k not in ("uid", "resourceVersion")}
        changed = {**volume, "metadata": {**volume["metadata"], "annotations": kept}, "spec": spec}
        written = self._latest.remember(await self._client.update(_VOLUMES, changed))
        await self._volume_phase(written, "Available")

    # -- writes --

    def _volume(self, name: str) -> Object | None:
        found = self._volumes.get("", name)
        return self._latest.of(found) if found is not None else None

    async def _update_claim(self, claim: Object) -> Object:
        return self._latest.remember(await self._client.update(_CLAIMS, claim))

    async def _volume_phase(self, volume: Object, phase: str, message: str = "") -> Object:
        """The volume as it is then."""
        if _phase(volume) == phase:
            return volume
        kept = {k: v for k, v in (volume.get("status") or {}).items() if k != "message"}
        status = {**kept, "phase": phase}
        if message:
            status["message"] = message
        written = await self._client.update_status(_VOLUMES, {**volume, "status": status})
        return self._latest.remember(written)

    async def _claim_phase(self, claim: Object, phase: str) -> None:
        if _phase(claim) != phase:
            await self._claim_status(claim, {**(claim.get("status") or {}), "phase": phase})

    async def _claim_status(self, claim: Object, status: Object) -> None:
        if status == (claim.get("status") or {}):
            return
        try:
            written = await self._client.update_status(_CLAIMS, {**claim, "status": status})
        except NotFound:
            raise Conflict(f"claim {objects.key(claim)} is gone") from None
        self._latest.remember(written)

    async def _lost(self, claim: Object, reason: str, message: str) -> None:
        if _phase(claim) != "Lost":
            await self._claim_phase(claim, "Lost")
            self._event(claim, _CLAIMS, "Warning", reason, message)

    def _event(self, obj: Object, kind: Resource, type_: str, reason: str, message: str) -> None:
        self._context.events.event(obj, kind, type_, reason, message)


def waiting_for(users: Iterable[Object]) -> tuple[str, str]:
    """Reason and message for a claim that is bound when its first pod is scheduled, by the pods that use it."""
    names = [objects.name(pod) for pod in users if not _is_placed(pod)]
    if not names:
        return "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
    which = f"pods {','.join(sorted(names))}" if len(names) > 1 else f"pod {names[0]}"
    return "WaitForPodScheduled", f"waiting for {which} to be scheduled"


def _is_placed(pod: Object) -> bool:
    return bool((pod.get("spec") or {}).get("nodeName")) or workloads.is_finished(pod)


def unreclaimable(volume: Object) -> tuple[str, str] | None:
    """Reason and message for a released volume that nobody can delete or recycle; None where somebody does, or need not.

    Directories of the control plane's machine are not deleted, whatever a volume calls its path.
    """
    policy = _reclaims(volume)
    if policy == "Recycle":
        return "VolumeFailedRecycle", "No recycler plugin found for the volume!"
    if policy != "Delete" or PROVISIONED_BY in objects.annotations(volume):
        return None
    path = str((volume["spec"].get("hostPath") or {}).get("path") or "")
    if path and not path.startswith("/tmp/"):
        return "VolumeFailedDelete", f"host_path deleter only supports /tmp/.+ but received provided {path}"
    return (
        "VolumeFailedDelete",
        f'error getting deleter volume plugin for volume "{objects.name(volume)}": no deletable volume plugin matched',
    )


def _reclaims(volume: Object) -> str:
    return str((volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") or "Retain")


def _phase(obj: Object) -> str:
    return str((obj.get("status") or {}).get("phase") or "")
