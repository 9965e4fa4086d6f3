"""pod-garbage-collector-controller: pods that nobody will finish: of lost nodes, terminated beyond the limit, unscheduled.

Settings: ``terminated_pod_gc_threshold`` (12500) is how many finished pods may stay; 0 or less: all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound, StatusError
from sublet.reconcile import workloads
from sublet.reconcile.manager import Context, Registration

log = logging.getLogger(__name__)

_EVERY = 20.0
_QUARANTINE = 40.0
_THRESHOLD = 12500
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_PODS = resource("pods")
_NODES = resource("nodes")


def terminated_surplus(pods: Sequence[Object], threshold: int) -> list[Object]:
    """Finished pods beyond the threshold: evicted ones first, then the oldest."""
    if threshold <= 0:
        return []
    done = [pod for pod in pods if workloads.is_finished(pod)]
    done.sort(key=lambda pod: (not _is_evicted(pod), workloads.creation_key(pod)))
    return done[: max(0, len(done) - threshold)]


def _is_evicted(pod: Object) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") == "Failed" and status.get("reason") == "Evicted"


def orphans(pods: Sequence[Object], nodes: Collection[str]) -> list[Object]:
    """Pods of nodes that do not exist."""
    return [pod for pod in pods if (name := (pod.get("spec") or {}).get("nodeName")) and name not in nodes]


def unscheduled(pods: Sequence[Object]) -> list[Object]:
    """Pods that are being deleted and never got a node."""
    return [pod for pod in pods if objects.is_deleting(pod) and not (pod.get("spec") or {}).get("nodeName")]


def out_of_service(pods: Sequence[Object], nodes: Sequence[Object]) -> list[Object]:
    """Pods being deleted on nodes that were declared dead."""
    dead = {
        objects.name(node)
        for node in nodes
        if not objects.is_true(node, "Ready")
        and any(t.get("key") == _OUT_OF_SERVICE for t in (node.get("spec") or {}).get("taints") or ())
    }
    return [
        pod for pod in pods if objects.is_deleting(pod) and (pod.get("spec") or {}).get("nodeName") in dead
    ]


class PodGarbageCollector:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._pods = context.informers.informer(_PODS)
        self._nodes = context.informers.informer(_NODES)
        self._threshold = int(context.settings.get("terminated_pod_gc_threshold", _THRESHOLD))
        self._missing: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.collect()
            except StatusError as error:
                log.warning("pod garbage collection: %s", error)

    async def collect(self) -> None:
        """One round; a pod that cannot go keeps no other."""
        pods = self._pods.list()
        nodes = self._nodes.list()
        for pod in (*terminated_surplus(pods, self._threshold), *out_of_service(pods, nodes)):
            await self._remove(pod)
        lost = orphans(pods, {objects.name(node) for node in nodes})
        gone = await self._confirmed({pod["spec"]["nodeName"] for pod in lost})
        for pod in lost:
            if pod["spec"]["nodeName"] in gone:
                await self._remove(pod, self._lost())
        for pod in unscheduled(pods):
            await self._remove(pod)

    async def _remove(self, pod: Object, *conditions: Object) -> None:
        try:
            await self._fail(pod, *conditions)
            await self._delete(pod)
        except StatusError as error:
            log.warning("pod garbage collection: %s: %s", objects.key(pod), error)

    async def _confirmed(self, names: set[str]) -> set[str]:
        """Nodes missing for 40 s, which the API does not know either."""
        now = self._context.clock.monotonic()
        self._missing = {name: self._missing.get(name, now) for name in names}
        confirmed = set()
        for name in names:
            if now - self._missing[name] < _QUARANTINE:
                continue
            try:
                await self._client.get(_NODES, name)
            except NotFound:
                confirmed.add(name)
        return confirmed

    def _lost(self) -> Object:
        now = self._context.clock.now()
        return objects.disruption_target("DeletionByPodGC", "PodGC: node no longer exists", now)

    async def _fail(self, pod: Object, *conditions: Object) -> None:
        """Whoever owns the pod learns that it failed, and why: nobody else will say it."""
        if workloads.is_finished(pod):
            return
        status: Object = {"phase": "Failed"} | ({"conditions": list(conditions)} if conditions else {})
        patch = {"metadata": {"uid": objects.uid(pod)}, "status": status}
        try:
            await self._client.patch(
                _PODS,
                objects.name(pod),
                patch,
                objects.namespace(pod),
                kind="strategic",
                subresource="status",
            )
        except NotFound:
            return

    async def _delete(self, pod: Object) -> None:
        try:
            await self._client.delete(
                _PODS, objects.name(pod), objects.namespace(pod), grace=0, uid=objects.uid(pod)
            )
        except NotFound:
            return


def setup(context: Context) -> PodGarbageCollector:
    return PodGarbageCollector(context)


CONTROLLER = Registration("pod-garbage-collector-controller", setup, service_account="pod-garbage-collector")
