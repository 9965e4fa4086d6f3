"""The node agent: registers its node and runs the pods that are bound to it, one worker each.

Ending it, however hard, ends no container: the next agent finds them by their labels in the runtime and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.node import logrotation, nodestatus, podconfig, poddata, volumes
from sublet.node.admission import Admission, has_run
from sublet.node.context import make_context
from sublet.node.httpserver import HTTPServer
from sublet.node.metricsreport import NodeUsage, Reporter
from sublet.node.noderegistration import NodeRegistration
from sublet.node.podworker import PodWorker
from sublet.node.server import NodeServer, server_context
from sublet.node.serving import serving_pair
from sublet.node.settings import NodeSettings
from sublet.node.usage import Meter

log = logging.getLogger(__name__)

_SETTLE = 0.01
_AFTER_EVENT = (0.03, 0.2, 1.0, 3.0)
"""Seconds between looks after an event: containerd tells of a task's end before CRI shows it."""
_QUIET_RELIST = 10.0
_FIRST_LOOKS = 10.0


class Agent:
    """``on_pod_range`` is told the node's pod range once the control plane has given it one; ``on_started`` is called
    once every pod that was bound to the node before has said how it is now."""

    def __init__(
        self,
        settings: NodeSettings,
        client: Client,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        on_pod_range: Callable[[str], None] | None = None,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self._client = client
        self._clock = clock or SystemClock()
        rng = rng or random.Random()
        selector = f"spec.nodeName={settings.node_name}"
        self.pods = Informer(client, resource("pods"), field_selector=selector, clock=self._clock, rng=rng)
        self.services = Informer(client, resource("services"), clock=self._clock, rng=rng)
        own = f"metadata.name={settings.node_name}"
        self.nodes = Informer(client, resource("nodes"), field_selector=own, clock=self._clock, rng=rng)
        self.context = make_context(
            settings, client, self._clock, rng, lambda: self.services.list(), nodestatus.memory()[0]
        )
        allocatable = nodestatus.allocatable(settings)
        self.context.allocatable = lambda: allocatable
        self._admission = Admission(allocatable, settings.node_name)
        self._meter = Meter(self._clock)
        self._on_pod_range = on_pod_range
        self._on_started = on_started
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._known: set[str] = set()
        self._seen: dict[str, frozenset[tuple[str, int]]] = {}
        self._relist = asyncio.Event()
        self._registration: NodeRegistration | None = None
        self.port = 0
        """Where the endpoint listens, once :meth:`run` has started it."""
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Works until cancelled. Raises ``OSError`` when the endpoint's port is taken."""
        settings = self.settings
        for directory in (settings.pods_dir, settings.logs_dir):
            directory.mkdir(parents=True, exist_ok=True)
        certificate, key = serving_pair(settings, self._clock)
        application = NodeServer(
            settings, self.context.cri, self.context.view, self, self._clock, self._metrics
        )
        server = HTTPServer(
            application, server_context(settings, certificate, key), settings.address, settings.port
        )
        self.port = await server.start()
        registration = self._registration = NodeRegistration(
            self._client, self.context.cri, settings, self._clock, self.port
        )
        self.nodes.add_handler(self._node_event)
        work = [
            registration.run(), self.pods.run(), self.services.run(), self.nodes.run(), self._run_pods(),
            self._follow_runtime(), self._relist_loop(), self._rotate_logs(),
            Reporter(self._client, self._usage, self._clock).run(),
        ]  # fmt: skip
        tasks = [asyncio.create_task(each) for each in work]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, *self._tasks.values()):
                task.cancel()
            await asyncio.gather(*tasks, *self._tasks.values(), return_exceptions=True)
            await server.stop()
            await self.context.events.close()
            await self.context.cri.close()

    # What the endpoint asks

    def pod(self, namespace: str, name: str) -> Object | None:
        """The pod with its newest status, which the API may not have yet."""
        for worker in self._workers.values():
            if (objects.namespace(worker.pod), objects.name(worker.pod)) == (namespace, name):
                return worker.pod
        return self.pods.get(namespace, name)

    def all_pods(self) -> list[Object]:
        return [worker.pod for worker in self._workers.values()]

    def health(self) -> str:
        """Empty when pods can run here."""
        return (
            nodestatus.not_ready(self._registration.runtime) if self._registration else "not registered yet"
        )

    def _metrics(self) -> str:
        running = sum(len(worker.view.running) for worker in self._workers.values())
        return (
            "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n"
            "# TYPE kubelet_running_pods gauge\n"
            f"kubelet_running_pods {len(self._workers)}\n"
            "# HELP kubelet_running_containers Number of containers currently running\n"
            "# TYPE kubelet_running_containers gauge\n"
            f'kubelet_running_containers{{container_state="running"}} {running}\n'
        )

    async def _usage(self) -> list[NodeUsage]:
        name = self.settings.node_name
        node = self.nodes.get("", name)
        try:
            stats = await self.context.cri.container_stats()
        except StatusError as error:
            log.debug("the container runtime does not tell what is used: %s", error.message)
            return []
        return [self._meter.node(name, objects.labels(node) if node else {}, self.all_pods(), stats)]

    # Pods

    async def _run_pods(self) -> None:
        await self.services.synced()
        await self.pods.synced()
        await self._find_pods()
        self.pods.add_handler(self._pod_event)
        await self._remove_orphans()
        self.started.set()
        await self._first_looks()
        if self._on_started is not None:
            self._on_started()
        await asyncio.Event().wait()

    async def _first_looks(self) -> None:
        """What the API says of pods may be from before a reboot: waits until their workers have corrected it."""
        looks = [worker.told.wait() for worker in self._workers.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOKS):
                await asyncio.gather(*looks)

    async def _find_pods(self) -> None:
        """Learns from the runtime which pods were here before this agent."""
        while True:
            try:
                sandboxes = await self.context.cri.sandboxes()
                break
            except StatusError as error:
                log.warning("the container runtime does not answer: %s", error.message)
                await asyncio.sleep(1.0)
        self._orphans = {
            s.labels[podconfig.POD_UID]: {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": s.labels.get(podconfig.POD_NAME, ""),
                    "namespace": s.labels.get(podconfig.POD_NAMESPACE, ""),
                    "uid": s.labels[podconfig.POD_UID],
                },
                "spec": {"containers": [], "terminationGracePeriodSeconds": 1},
            }
            for s in sandboxes
            if podconfig.POD_UID in s.labels
        }
        self._known = set(self._orphans)

    async def _remove_orphans(self) -> None:
        """Ends what belongs to no pod of the API: it was deleted while no agent ran."""
        wanted = {objects.uid(pod) for pod in self.pods.list()}
        for uid, pod in self._orphans.items():
            if uid not in wanted:
                self._work(pod).removed(pod)
        for directory in self.settings.pods_dir.iterdir():
            if directory.name not in wanted and directory.name not in self._orphans:
                await asyncio.to_thread(volumes.remove_directory, directory)

    def _pod_event(self, kind: str, pod: Object, old: Object | None) -> None:
        uid = objects.uid(pod)
        if old is not None and objects.uid(old) != uid:
            self._removed(old)
        if kind == "delete":
            self._removed(pod)
            return
        worker = self._workers.get(uid)
        if worker is not None:
            worker.update(pod)
            return
        refusal = None
        if not poddata.is_terminal(pod):
            refusal = self._admission.admit(pod, checked=not has_run(pod, self._known))
        worker = self._work(pod)
        if refusal is not None:
            worker.reject(*refusal)

    def _removed(self, pod: Object) -> None:
        if worker := self._workers.get(objects.uid(pod)):
            worker.removed(pod)

    def _work(self, pod: Object) -> PodWorker:
        uid = objects.uid(pod)
        worker = self._workers[uid] = PodWorker(self.context, pod)
        self._tasks[uid] = asyncio.create_task(self._run_worker(uid, worker), name=f"pod {objects.key(pod)}")
        return worker

    async def _run_worker(self, uid: str, worker: PodWorker) -> None:
        delay = 1.0
        while True:
            try:
                await worker.run()
                break
            except Exception:
                log.exception("the worker of pod %s failed; again in %.0f s", objects.key(worker.pod), delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 60.0)
        self._admission.release(uid)
        self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        self._seen.pop(uid, None)
        self._known.discard(uid)

    def _node_event(self, kind: str, node: Object, old: Object | None) -> None:
        given = (node.get("spec") or {}).get("podCIDR")
        before = ((old or {}).get("spec") or {}).get("podCIDR")
        if given and given != before and kind != "delete" and self._on_pod_range is not None:
            self._on_pod_range(given)

    # What happens in the runtime

    async def _follow_runtime(self) -> None:
        """Looks at once when containerd tells of a task; other runtimes are only asked regularly."""
        while True:
            try:
                async for _ in self.context.cri.task_events():
                    self._relist.set()
            except StatusError as error:
                log.debug("no events from the runtime: %s", error.message)
            self._relist.set()
            await asyncio.sleep(self.settings.relist_period)

    async def _relist_loop(self) -> None:
        await self.started.wait()
        quiet = 0
        while True:
            try:
                delay = _AFTER_EVENT[quiet] if quiet < len(_AFTER_EVENT) else _QUIET_RELIST
                # not wait_for: before Python 3.12 it can lose a cancellation
                async with asyncio.timeout(delay):
                    await self._relist.wait()
                quiet = 0
            except TimeoutError:
                quiet += 1
            await asyncio.sleep(_SETTLE)
            self._relist.clear()
            try:
                await self._look()
            except StatusError as error:
                log.warning("the container runtime does not answer: %s", error.message)
                await asyncio.sleep(self.settings.relist_period)

    async def _look(self) -> None:
        """Wakes the workers whose sandboxes or containers changed."""
        found: dict[str, set[tuple[str, int]]] = {}
        for sandbox in await self.context.cri.sandboxes():
            found.setdefault(sandbox.labels.get(podconfig.POD_UID, ""), set()).add(
                (sandbox.id, sandbox.state)
            )
        for container in await self.context.cri.containers():
            found.setdefault(container.labels.get(podconfig.POD_UID, ""), set()).add(
                (container.id, container.state)
            )
        for uid, worker in self._workers.items():
            now = frozenset(found.get(uid, ()))
            if self._seen.get(uid) != now:
                self._seen[uid] = now
                worker.notify()

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(10.0)
            for worker in list(self._workers.values()):
                for container in worker.view.running:
                    await logrotation.rotate(self.context.cri, container, self.settings)


async def run_agent(
    settings: NodeSettings,
    client: Client | None = None,
    *,
    on_pod_range: Callable[[str], None] | None = None,
    on_started: Callable[[], None] | None = None,
) -> None:
    """Runs a node agent until cancelled, by default as the user of ``settings.access``."""
    owned = client is None
    if client is None:
        if settings.access is None:
            raise ValueError("a node agent needs access to an API server: settings.access, or a client")
        client = Client(HTTPTransport(settings.access), "kubelet")
    try:
        await Agent(settings, client, on_pod_range=on_pod_range, on_started=on_started).run()
    finally:
        if owned:
            await client.close()
