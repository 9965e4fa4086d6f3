"""Volumes that are directories of this node: the provisioner ``sublet.dev/local-path``.

Every node runs one. It serves claims whose first consumer the scheduler put on its node, and removes the directories
of released volumes whose policy is Delete. It meets the binder and the scheduler only in the API.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile.controller import Controller

log = logging.getLogger(__name__)

PROVISIONER = "sublet.dev/local-path"
CLASS = "local-path"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_ASKED = "volume.kubernetes.io/storage-provisioner"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_HOSTNAME = "kubernetes.io/hostname"
_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})
_CLAIMS = resource("persistentvolumeclaims")
_VOLUMES = resource("persistentvolumes")
_CLASSES = resource("storageclasses.storage.k8s.io")


@dataclass(frozen=True, slots=True)
class ProvisionerSettings:
    node_name: str
    directory: Path
    """Each volume is one directory below."""


def storage_class() -> Object:
    """The default StorageClass of a cluster of ours."""
    return {
        "apiVersion": _CLASSES.api_version,
        "kind": _CLASSES.kind,
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


class Provisioner:
    """Works on the claims and volumes of one node. ``run`` works until cancelled."""

    def __init__(self, client: Client, settings: ProvisionerSettings, *, clock: Clock | None = None) -> None:
        self._client = client
        self._settings = settings
        self._claims = Informer(client, _CLAIMS, clock=clock)
        self._volumes = Informer(client, _VOLUMES, clock=clock)
        self._classes = Informer(client, _CLASSES, clock=clock)
        self._events = EventRecorder(client, PROVISIONER, settings.node_name)
        self._provide = Controller("local-path claims", self.reconcile_claim)
        self._reclaim = Controller("local-path volumes", self.reconcile_volume)

    async def run(self) -> None:
        self._settings.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        informers = (self._claims, self._volumes, self._classes)
        tasks = [asyncio.create_task(each.run()) for each in informers]
        try:
            for each in informers:
                await each.synced()
            self._claims.add_handler(self._on_claim)
            self._volumes.add_handler(self._on_volume)
            self._classes.add_handler(self._on_class)
            await asyncio.gather(self._provide.run(), self._reclaim.run())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._events.close()

    def path(self, volume_name: str) -> Path:
        return self._settings.directory / volume_name

    # -- claims --

    def _on_claim(self, event: str, claim: Object, _old: Object | None) -> None:
        if event != "delete" and self._is_ours(claim):
            self._provide.enqueue(objects.key(claim))

    def _on_class(self, event: str, _class: Object, _old: Object | None) -> None:
        if event == "add":
            for claim in self._claims.list():
                self._on_claim(event, claim, None)

    def _is_ours(self, claim: Object) -> bool:
        annotations = objects.annotations(claim)
        chosen = annotations.get(_SELECTED_NODE, self._settings.node_name)
        waiting = not (claim.get("spec") or {}).get("volumeName")
        return waiting and annotations.get(_ASKED) == PROVISIONER and chosen == self._settings.node_name

    async def reconcile_claim(self, key: str) -> None:
        """Makes the volume of a claim: its directory first, then the object."""
        claim = self._claims.get_key(key)
        if claim is None or not self._is_ours(claim) or claim["metadata"].get("deletionTimestamp"):
            return
        found = self._classes.get("", (claim.get("spec") or {}).get("storageClassName") or "")
        if found is None or found.get("provisioner") != PROVISIONER:
            return
        if refusal := _refusal(claim):
            self._events.event(claim, _CLAIMS, "Warning", "ProvisioningFailed", refusal)
            return
        name = f"pvc-{objects.uid(claim)}"
        if self._volumes.get("", name) is not None:
            return
        path = self.path(name)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)  # whoever a pod runs as may write into its volume
        try:
            await self._client.create(_VOLUMES, self._volume(name, claim, found))
        except AlreadyExists:
            return
        text = f"Successfully provisioned volume {name}"
        self._events.event(claim, _CLAIMS, "Normal", "ProvisioningSucceeded", text)

    def _volume(self, name: str, claim: Object, storage_class: Object) -> Object:
        spec = claim["spec"]
        requested = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
        host = {"key": _HOSTNAME, "operator": "In", "values": [self._settings.node_name]}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {_PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": requested},
                "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
                "mountOptions": storage_class.get("mountOptions") or [],
                "storageClassName": objects.name(storage_class),
                "volumeMode": "Filesystem",
                "local": {"path": str(self.path(name))},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": objects.namespace(claim),
                    "name": objects.name(claim),
                    "uid": objects.uid(claim),
                },
            },
        }

    # -- volumes --

    def _on_volume(self, event: str, volume: Object, _old: Object | None) -> None:
        name = objects.name(volume)
        if not self._is_own(volume):
            return
        if event == "delete":
            # deleted by hand: nobody will ever see what is in the directory again
            if self._deletes(volume):
                self._reclaim.enqueue(name)
        elif (volume.get("status") or {}).get("phase") == "Released":
            self._reclaim.enqueue(name)

    def _is_own(self, volume: Object) -> bool:
        """Made by us and where we make them: what a volume says of its path is not to be believed."""
        path = ((volume.get("spec") or {}).get("local") or {}).get("path")
        made = objects.annotations(volume).get(_PROVISIONED_BY) == PROVISIONER
        return made and path == str(self.path(objects.name(volume))) and self._node_of(volume)

    def _node_of(self, volume: Object) -> bool:
        required = ((volume["spec"].get("nodeAffinity") or {}).get("required")) or {}
        return any(
            each.get("key") == _HOSTNAME and each.get("values") == [self._settings.node_name]
            for term in required.get("nodeSelectorTerms") or ()
            for each in term.get("matchExpressions") or ()
        )

    def _deletes(self, volume: Object) -> bool:
        policy = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy")
        return bool(policy == "Delete")

    async def reconcile_volume(self, name: str) -> None:
        """Removes the directory of a released or deleted volume, then the object."""
        volume = self._volumes.get("", name)
        if volume is not None:
            released = (volume.get("status") or {}).get("phase") == "Released"
            if not released or not self._deletes(volume) or not self._is_own(volume):
                return
        await asyncio.to_thread(_remove, self.path(name))
        if volume is not None:
            try:
                await self._client.delete(_VOLUMES, name, uid=objects.uid(volume))
            except NotFound:
                return


def _refusal(claim: Object) -> str:
    spec = claim.get("spec") or {}
    if spec.get("volumeMode") == "Block":
        return f"{PROVISIONER} makes directories: volumeMode Block is not available"
    others = [mode for mode in spec.get("accessModes") or () if mode not in _MODES]
    if others:
        return (
            f"{PROVISIONER} makes volumes of one node: access mode {others[0]} is not available, "
            "ReadWriteOnce and ReadWriteOncePod are"
        )
    return ""


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.exists():
        return
    shutil.rmtree(path)
