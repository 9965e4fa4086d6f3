"""persistentvolume-attach-detach-controller: VolumeAttachments for CSI volumes that must be attached to nodes.

Source: kube-controller-manager's attachdetach; Kubernetes CSI documentation, "Skip Attach". Wanted is one attachment
for every (volume, node) that a pod needs; a driver's attacher does the work and says so in the attachment's status,
which is repeated in the node's ``status.volumesAttached``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result
from sublet.reconcile.volumes import claim_keys

_PODS, _NODES = resource("pods"), resource("nodes")
_CLAIMS, _VOLUMES = resource("persistentvolumeclaims"), resource("persistentvolumes")
_ATTACHMENTS, _DRIVERS = resource("volumeattachments.storage.k8s.io"), resource("csidrivers.storage.k8s.io")
_DETACH_ANYWAY = 360.0
"""Seconds after which a volume that a node still reports in use is detached (upstream's maxWaitForUnmountDuration)."""
_SHARED = ("ReadWriteMany", "ReadOnlyMany")


def attachment_name(driver: str, handle: str, node: str) -> str:
    """The name CSI attachers and kubelets look for."""
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node}".encode()).hexdigest()


def unique_name(volume: Object) -> str:
    """The volume as nodes report it."""
    csi = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{csi['driver']}^{csi['volumeHandle']}"


class _Work:
    """Looks at one node at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        informers = context.informers
        self.pods, self.nodes = informers.informer(_PODS), informers.informer(_NODES)
        self.claims, self.volumes = informers.informer(_CLAIMS), informers.informer(_VOLUMES)
        self.attachments, self.drivers = informers.informer(_ATTACHMENTS), informers.informer(_DRIVERS)
        self.pods.add_index(workloads.NODE_INDEX, workloads.node_keys)
        self.attachments.add_index(workloads.NODE_INDEX, workloads.node_keys)
        self._waits: dict[str, float] = {}
        """Attachment -> since when it is waited for that the node lets go of its volume."""
        self._told: set[tuple[str, str]] = set()
        self._made: set[str] = set()
        """Names of attachments that were seen to be ours: their volume may be gone before them."""

    async def reconcile(self, name: str) -> Result | None:
        node = self.nodes.get("", name)
        wanted = self._wanted(name) if node is not None else {}
        later = 0.0
        for attachment in self.attachments.by_index(workloads.NODE_INDEX, name):
            volume = _volume_of(attachment)
            if volume in wanted or objects.is_deleting(attachment) or not self._is_ours(attachment):
                continue
            later = max(later, await self._detach(attachment, node))
        for volume, users in wanted.items():
            await self._attach(volume, name, users)
        if node is not None:
            await self._report(node)
        return Result(requeue_after=later) if later else None

    def _wanted(self, node: str) -> dict[str, list[Object]]:
        """Volume -> the pods of the node that need it attached."""
        found: dict[str, list[Object]] = {}
        for pod in self.pods.by_index(workloads.NODE_INDEX, node):
            if workloads.is_finished(pod):
                continue
            for key in claim_keys(pod):
                claim = self.claims.get_key(key)
                volume = self.volumes.get("", ((claim or {}).get("spec") or {}).get("volumeName") or "")
                if volume is not None and self._is_attached_by_us(volume):
                    found.setdefault(objects.name(volume), []).append(pod)
        return found

    def _is_attached_by_us(self, volume: Object) -> bool:
        driver = ((volume.get("spec") or {}).get("csi") or {}).get("driver")
        if not driver:
            return False
        stated = self.drivers.get("", driver)
        return stated is None or (stated.get("spec") or {}).get("attachRequired") is not False

    def _is_ours(self, attachment: Object) -> bool:
        """Others may make attachments too, under other names; those are theirs to remove."""
        volume = self.volumes.get("", _volume_of(attachment))
        if volume is None:
            return objects.name(attachment) in self._made
        csi, node = (volume.get("spec") or {}).get("csi") or {}, attachment["spec"].get("nodeName")
        name = attachment_name(str(csi.get("driver")), str(csi.get("volumeHandle")), str(node))
        if name == objects.name(attachment):
            self._made.add(name)
        return name == objects.name(attachment)

    async def _attach(self, name: str, node: str, users: list[Object]) -> None:
        volume = self.volumes.get("", name)
        if volume is None:
            return
        csi = volume["spec"]["csi"]
        mine = attachment_name(csi["driver"], csi["volumeHandle"], node)
        found = self.attachments.get("", mine)
        if found is not None:
            self._tell(found, name, users)
            return
        others = [a for a in self.attachments.list() if _volume_of(a) == name]
        if others and not any(mode in _SHARED for mode in volume["spec"].get("accessModes") or ()):
            self._refuse(name, users, {str((a.get("spec") or {}).get("nodeName")) for a in others})
            return
        made = {
            "apiVersion": _ATTACHMENTS.api_version,
            "kind": _ATTACHMENTS.kind,
            "metadata": {"name": mine},
            "spec": {
                "attacher": csi["driver"],
                "nodeName": node,
                "source": {"persistentVolumeName": name},
            },
        }
        try:
            await self._client.create(_ATTACHMENTS, made)
        except AlreadyExists:
            return  # the informer will show it

    def _refuse(self, volume: str, users: list[Object], nodes: set[str]) -> None:
        for pod in users:
            same = [
                objects.name(other)
                for node in nodes
                for other in self.pods.by_index(workloads.NODE_INDEX, node)
                if objects.namespace(other) == objects.namespace(pod)
                and any(
                    (self.claims.get_key(key) or {}).get("spec", {}).get("volumeName") == volume
                    for key in claim_keys(other)
                )
            ]
            who = f"Volume is already used by pod(s) {', '.join(sorted(same))}" if same else (
                "Volume is already exclusively attached to one node and can't be attached to another"
            )  # fmt: skip
            self._event(
                pod, "Warning", "FailedAttachVolume", f'Multi-Attach error for volume "{volume}" {who}'
            )

    def _tell(self, attachment: Object, volume: str, users: list[Object]) -> None:
        status = attachment.get("status") or {}
        error = (status.get("attachError") or {}).get("message")
        for pod in users:
            if status.get("attached") and (objects.uid(pod), volume) not in self._told:
                self._told.add((objects.uid(pod), volume))
                text = f'AttachVolume.Attach succeeded for volume "{volume}" '
                self._event(pod, "Normal", "SuccessfulAttachVolume", text)
            elif error:
                text = f'AttachVolume.Attach failed for volume "{volume}" : {error}'
                self._event(pod, "Warning", "FailedAttachVolume", text)

    def forget(self, pod: Object) -> None:
        self._told = {each for each in self._told if each[0] != objects.uid(pod)}

    async def _detach(self, attachment: Object, node: Object | None) -> float:
        """Seconds to wait before it can be tried again; 0 once the attachment is on its way out."""
        name = objects.name(attachment)
        volume = self.volumes.get("", _volume_of(attachment))
        in_use = ((node or {}).get("status") or {}).get("volumesInUse") or ()
        if volume is not None and node is not None and not _is_lost(node) and unique_name(volume) in in_use:
            now = self._context.clock.monotonic()
            left = self._waits.setdefault(name, now) + _DETACH_ANYWAY - now
            if left > 0:
                return left
        self._waits.pop(name, None)
        self._made.discard(name)
        with contextlib.suppress(NotFound):
            await self._client.delete(_ATTACHMENTS, name, uid=objects.uid(attachment))
        return 0.0

    async def _report(self, node: Object) -> None:
        """``status.volumesAttached``: what attachers say is attached; a kubelet waits for it."""
        attached = sorted(
            unique_name(volume)
            for attachment in self.attachments.by_index(workloads.NODE_INDEX, objects.name(node))
            if (attachment.get("status") or {}).get("attached")
            and (volume := self.volumes.get("", _volume_of(attachment))) is not None
        )
        said = sorted(
            each.get("name", "") for each in (node.get("status") or {}).get("volumesAttached") or ()
        )
        if attached != said:
            listed = [{"name": name, "devicePath": ""} for name in attached]
            patch = {"status": {"volumesAttached": listed or None}}
            await self._client.patch(_NODES, objects.name(node), patch, subresource="status")

    def _event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(pod, _PODS, kind, reason, message)


def _is_lost(node: Object) -> bool:
    """Taken out of service by its administrator: nothing runs there, whatever it reported last."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(taint.get("key") == "node.kubernetes.io/out-of-service" for taint in taints)


def _volume_of(attachment: Object) -> str:
    source = (attachment.get("spec") or {}).get("source") or {}
    return str(source.get("persistentVolumeName") or "")


def setup(context: Context) -> Controller:
    work = _Work(context)
    controller = Controller("persistentvolume-attach-detach-controller", work.reconcile, workers=4)

    def on_pod(event: str, pod: Object, old: Object | None) -> None:
        if event == "delete":
            work.forget(pod)
        if any(claim_keys(pod)):
            ended = event == "delete" or workloads.is_finished(pod)
            if ended or old is None or workloads.node_keys(old) != workloads.node_keys(pod):
                _enqueue(controller, workloads.node_keys(pod))

    def on_attachment(event: str, attachment: Object, _old: Object | None) -> None:
        _enqueue(controller, workloads.node_keys(attachment))
        # A volume that was let go may be wanted elsewhere.
        for other in work.nodes.list() if event == "delete" else ():
            controller.enqueue(objects.name(other))

    def on_claim(_event: str, claim: Object, old: Object | None) -> None:
        bound = (claim.get("spec") or {}).get("volumeName")
        if bound and bound != ((old or {}).get("spec") or {}).get("volumeName"):
            for pod in work.pods.list(objects.namespace(claim)):
                if objects.key(claim) in claim_keys(pod):
                    _enqueue(controller, workloads.node_keys(pod))

    def on_node(event: str, node: Object, old: Object | None) -> None:
        before = ((old or {}).get("status") or {}).get("volumesInUse")
        if event != "update" or ((node.get("status") or {}).get("volumesInUse") != before):
            controller.enqueue(objects.name(node))

    work.pods.add_handler(on_pod)
    work.attachments.add_handler(on_attachment)
    work.claims.add_handler(on_claim)
    work.nodes.add_handler(on_node)
    return controller


def _enqueue(controller: Controller, nodes: Iterable[str]) -> None:
    for name in nodes:
        controller.enqueue(name)


CONTROLLER = Registration(
    "persistentvolume-attach-detach-controller", setup, service_account="attachdetach-controller"
)
