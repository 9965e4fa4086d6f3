"""device-taint-eviction-controller: deletes pods whose devices have NoExecute taints that their claims do not bear.

A driver taints a device in its ResourceSlice; what a claim tolerates stands beside each device that it has got.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sublet.kinds.resources import resource
from sublet.machinery import objects, scheduling
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

_PODS = resource("pods")
_CLAIMS = resource("resourceclaims.resource.k8s.io")
_SLICES = resource("resourceslices.resource.k8s.io")
_BY_DEVICE, _BY_USER = "device", "user"


def _key(driver: object, pool: object, device: object) -> str:
    return f"{driver}/{pool}/{device}"


def tainted(piece: Object) -> dict[str, list[Object]]:
    """The devices of a ResourceSlice that have NoExecute taints, by driver, pool and name, and these taints."""
    spec = piece.get("spec") or {}
    found = {}
    for device in spec.get("devices") or ():
        if taints := scheduling.no_execute(device):
            found[_key(spec.get("driver"), (spec.get("pool") or {}).get("name"), device["name"])] = taints
    return found


def _results(claim: Object) -> list[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return list((allocation.get("devices") or {}).get("results") or ())


def _devices(claim: Object) -> Iterator[str]:
    for result in _results(claim):
        yield _key(result.get("driver"), result.get("pool"), result.get("device"))


def _users(claim: Object) -> list[Object]:
    users = (claim.get("status") or {}).get("reservedFor") or ()
    return [user for user in users if user.get("resource") == "pods" and not user.get("apiGroup")]


def goes_at(result: Object, taints: Iterable[Object]) -> float | None:
    """When a pod with this device has to go, as Unix seconds; None: it may stay."""
    times = []
    for taint in taints:
        added = objects.parse_time(taint["timeAdded"]) if taint.get("timeAdded") else 0.0
        matching = [each for each in result.get("tolerations") or () if scheduling.tolerates(each, taint)]
        if not matching:
            times.append(added)
            continue
        seconds = [
            each["tolerationSeconds"] for each in matching if each.get("tolerationSeconds") is not None
        ]
        if seconds:
            times.append(added + max(0, min(seconds)))
    return min(times, default=None)


class DeviceTaintEviction:
    """Looks at pods whose claims' devices become tainted, and at claims that get devices that are."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pods = context.informers.informer(_PODS)
        self._claims = context.informers.informer(_CLAIMS)
        self._slices = context.informers.informer(_SLICES)
        self._claims.add_index(_BY_DEVICE, _devices)
        self._claims.add_index(_BY_USER, lambda claim: [str(user.get("uid")) for user in _users(claim)])
        self._taints: dict[str, dict[str, list[Object]]] = {}
        """Slice -> device -> its NoExecute taints; slices without any are not here."""
        self._leaving: set[str] = set()
        """uids of pods that will have to go."""
        self.controller = Controller("device-taint-eviction-controller", self.reconcile, workers=2)
        self._slices.add_handler(self._on_slice)
        self._claims.add_handler(self._on_claim)
        self._pods.add_handler(self._on_pod)

    def _on_slice(self, event: str, piece: Object, _old: Object | None) -> None:
        name = objects.name(piece)
        before = self._taints.pop(name, {})
        now = {} if event == "delete" else tainted(piece)
        if now:
            self._taints[name] = now
        for device in before.keys() | now.keys():
            if before.get(device) != now.get(device):
                for claim in self._claims.by_index(_BY_DEVICE, device):
                    self._look_at_users(claim)

    def _on_claim(self, event: str, claim: Object, _old: Object | None) -> None:
        if event != "delete" and self._taints and _results(claim):
            self._look_at_users(claim)

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        if event == "delete":
            self._leaving.discard(objects.uid(pod))
            return
        spec, before = pod.get("spec") or {}, (old or {}).get("spec") or {}
        fresh = spec.get("nodeName") and not before.get("nodeName")
        if fresh and self._taints and spec.get("resourceClaims"):
            self.controller.enqueue(objects.key(pod))

    def _look_at_users(self, claim: Object) -> None:
        for user in _users(claim):
            self.controller.enqueue(f"{objects.namespace(claim)}/{user.get('name')}")

    async def reconcile(self, key: str) -> Result | None:
        pod = self._pods.get(*objects.split_key(key))
        if pod is None or objects.is_deleting(pod) or workloads.is_finished(pod):
            return None
        if not (pod.get("spec") or {}).get("nodeName"):
            return None
        due, uid = self._goes_at(pod), objects.uid(pod)
        if due is None:
            if uid in self._leaving:
                self._leaving.discard(uid)
                self._event(pod, "Cancelling deletion")
            return None
        self._leaving.add(uid)
        left = due - self._context.clock.now()
        if left > 0:
            return Result(requeue_after=left)
        await self._evict(pod)
        return None

    def _goes_at(self, pod: Object) -> float | None:
        times = [
            due
            for claim in self._claims.by_index(_BY_USER, objects.uid(pod))
            for result, device in zip(_results(claim), _devices(claim), strict=True)
            for taints in self._taints.values()
            if device in taints and (due := goes_at(result, taints[device])) is not None
        ]
        return min(times, default=None)

    async def _evict(self, pod: Object) -> None:
        self._event(pod, "Marking for deletion")
        told = "Device Taint manager: deleting due to NoExecute taint"
        now = self._context.clock.now()
        condition = objects.disruption_target("DeletionByDeviceTaintManager", told, now)
        name, namespace, uid = objects.name(pod), objects.namespace(pod), objects.uid(pod)
        patch = {"metadata": {"uid": uid}, "status": {"conditions": [condition]}}
        client = self._context.client
        try:
            await client.patch(_PODS, name, patch, namespace, kind="strategic", subresource="status")
            await client.delete(_PODS, name, namespace, uid=uid)
        except NotFound:
            return

    def _event(self, pod: Object, message: str) -> None:
        self._context.events.event(pod, _PODS, "Normal", "DeviceTaintManagerEviction", message)


def setup(context: Context) -> Controller:
    return DeviceTaintEviction(context).controller


CONTROLLER = Registration(
    "device-taint-eviction-controller", setup, needs=(_CLAIMS, _SLICES), feature="DRADeviceTaints"
)
