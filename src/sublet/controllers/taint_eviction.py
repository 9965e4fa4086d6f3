"""taint-eviction-controller: deletes pods from nodes with NoExecute taints they do not tolerate (any longer)."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects, scheduling
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result
from sublet.reconcile.workloads import set_condition

_NODES = resource("nodes")
_PODS = resource("pods")


def no_execute(node: Object) -> list[Object]:
    return scheduling.no_execute(node.get("spec") or {})


def tolerated_for(pod: Object, taints: Sequence[Object]) -> float | None:
    """Seconds the pod may stay under these taints: 0 to go now, None for ever."""
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    shortest: float | None = None
    for taint in taints:
        matching = [each for each in tolerations if scheduling.tolerates(each, taint)]
        if not matching:
            return 0.0
        for each in matching:
            seconds = each.get("tolerationSeconds")
            if seconds is not None:
                shortest = max(0.0, seconds if shortest is None else min(shortest, seconds))
    return shortest


class TaintEviction:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._nodes = context.informers.informer(_NODES)
        self._pods = context.informers.informer(_PODS)
        self._pods.add_index(workloads.NODE_INDEX, workloads.node_keys)
        self._since: dict[str, float] = {}
        """uid -> when the pod was first seen under NoExecute taints (monotonic)."""
        self.controller = Controller("taint-eviction-controller", self.reconcile, workers=4)
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    def _on_node(self, event: str, node: Object, old: Object | None) -> None:
        if event == "delete" or (old is not None and no_execute(old) == no_execute(node)):
            return
        if event == "add" and not no_execute(node):
            return
        for pod in self._pods.by_index(workloads.NODE_INDEX, objects.name(node)):
            self.controller.enqueue(objects.key(pod))

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        if event == "delete":
            self._since.pop(objects.uid(pod), None)
            return
        spec, before = pod.get("spec") or {}, (old or {}).get("spec") or {}
        same = spec.get("nodeName") == before.get("nodeName") and (
            spec.get("tolerations") == before.get("tolerations")
        )
        if not spec.get("nodeName") or (old is not None and same):
            return
        node = self._nodes.get("", spec["nodeName"])
        if node is not None and no_execute(node):
            self.controller.enqueue(objects.key(pod))

    async def reconcile(self, key: str) -> Result | None:
        pod = self._pods.get(*objects.split_key(key))
        if pod is None or objects.is_deleting(pod):
            return None
        uid = objects.uid(pod)
        node = self._nodes.get("", (pod.get("spec") or {}).get("nodeName") or "")
        taints = no_execute(node) if node is not None else []
        seconds = tolerated_for(pod, taints) if taints else None
        if seconds is None:
            if self._since.pop(uid, None) is not None:
                self._event(pod, f"Cancelling deletion of Pod {key}")
            return None
        now = self._context.clock.monotonic()
        if seconds:
            left = self._since.setdefault(uid, now) + seconds - now
            if left > 0:
                return Result(requeue_after=left)
        await self._evict(pod)
        return None

    async def _evict(self, pod: Object) -> None:
        self._event(pod, f"Marking for deletion Pod {objects.key(pod)}")
        now = self._context.clock.now()
        told = "Taint manager: deleting due to NoExecute taint"
        condition = objects.disruption_target("DeletionByTaintManager", told, now)
        status = pod.get("status") or {}
        conditions = set_condition(status.get("conditions") or (), condition)
        client = self._context.client
        try:
            await client.update_status(_PODS, {**pod, "status": {**status, "conditions": conditions}})
            await client.delete(_PODS, objects.name(pod), objects.namespace(pod), uid=objects.uid(pod))
        except NotFound:
            return

    def _event(self, pod: Object, message: str) -> None:
        self._context.events.event(pod, _PODS, "Normal", "TaintManagerEviction", message)


def setup(context: Context) -> Controller:
    return TaintEviction(context).controller


CONTROLLER = Registration("taint-eviction-controller", setup, service_account="node-controller")
