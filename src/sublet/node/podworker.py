"""One pod on this node: a worker that compares what is wanted with what runs and takes the next step.

It keeps no state that matters: labels in the runtime and the status in the API tell a new worker all it must know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound, StatusError
from sublet.node import plan as planning
from sublet.node import podconfig, poddata, podstatus
from sublet.node.containers import Containers
from sublet.node.context import NodeContext
from sublet.node.cri import CRIError
from sublet.node.images import Record, StartError
from sublet.node.poddata import Container
from sublet.node.probes import Probes
from sublet.node.projection import VolumeError
from sublet.node.runtime import PodRuntime, RunningContainer
from sublet.node.statuswriter import StatusWriter

log = logging.getLogger(__name__)

_RETRY = 0.5
_RETRY_LIMIT = 60.0
_START_RETRY = 10.0


class Interrupted(Exception):
    """Something newer matters more than what was being waited for."""


class PodWorker:
    """Runs until the pod and all it left are gone; :meth:`run` is its task."""

    def __init__(self, context: NodeContext, pod: Object) -> None:
        self._context = context
        self.pod = pod
        self.uid = objects.uid(pod)
        self.view = PodRuntime(self.uid)
        self._containers = Containers(context)
        self._probes = Probes(context.cri, self._record, self.notify, context.rng)
        self._status = StatusWriter(context.client, context.clock)
        self._wake = asyncio.Event()
        self._interrupt = asyncio.Event()
        self._waiting: dict[str, tuple[str, str]] = {}
        self._failed: tuple[str, str] | None = None
        self._rejected = False
        self._gone = False
        self._stopped = False
        self._failures = 0
        self._volumes_at = float("-inf")
        self._volumes: dict[str, Path] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._halted: set[str] = set()
        self._kept: dict[str, dict[str, Any]] = {}
        self.told = asyncio.Event()
        """Set once the API was told how the pod is, or the pod is ending."""

    def update(self, pod: Object) -> None:
        """The API's object changed."""
        old, self.pod = self.pod, self._status.overlay(pod)
        if poddata.grace_period(old) != poddata.grace_period(pod) or objects.is_deleting(
            old
        ) != objects.is_deleting(pod):
            self._interrupt.set()
        if objects.annotations(old) != objects.annotations(pod) or objects.labels(old) != objects.labels(pod):
            self._volumes_at = float("-inf")
        self.notify()

    def removed(self, pod: Object) -> None:
        """The API no longer has the pod (``pod`` is its last state): end it without telling."""
        self.pod = pod
        self._gone = True
        self._interrupt.set()
        self.notify()

    def reject(self, reason: str, message: str) -> None:
        """The node does not take the pod: it fails without running."""
        self._failed = (reason, message)
        self._rejected = True
        self._record("Warning", reason, message)
        self.notify()

    def notify(self) -> None:
        """Look again."""
        self._wake.set()

    @property
    def ending(self) -> bool:
        return (
            self._gone
            or objects.is_deleting(self.pod)
            or self._failed is not None
            or poddata.is_terminal(self.pod)
        )

    async def run(self) -> None:
        try:
            while not await self._turn():
                pass
        finally:
            self.told.set()
            self._probes.stop()
            for task in self._stopping.values():
                task.cancel()

    async def _turn(self) -> bool:
        """One look and the wait for the next reason; True when nothing is left to do, ever."""
        self._wake.clear()
        self._interrupt.clear()
        delay = self._context.settings.volume_period
        try:
            if self.ending:
                if await self._end():
                    return True
            else:
                delay = min(delay, await self._sync())
            self._failures = 0
        except Interrupted:
            return False
        except (StatusError, VolumeError, OSError) as error:
            self._failures += 1
            delay = min(_RETRY * 2 ** min(self._failures - 1, 10), _RETRY_LIMIT)
            log.warning("pod %s: %s; again in %.0f s", objects.key(self.pod), error, delay)
            if isinstance(error, VolumeError):
                self._record("Warning", "FailedMount", str(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._wake.wait()
        return False

    # One step towards what is wanted

    async def _sync(self) -> float:
        """Gives the seconds after which to look again at the latest."""
        context = self._context
        self._probes.know(self.pod)
        self.view = await context.view.pod(self.uid)
        self._probes.follow(self.pod, self.view, self._containers.facts(self.pod, self.view).pod_ips)
        if (left := self._deadline()) is not None and left <= 0:
            message = "Pod was active on the node longer than the specified deadline"
            self._failed = ("DeadlineExceeded", message)
            self._record("Normal", "DeadlineExceeded", message)
            self.notify()
            return 0.0
        if planning.init_failed(self.pod, self.view) or planning.mains_ended(self.pod, self.view):
            return await self._finish()
        resized, self._kept = await self._containers.resize(self.pod, self.view, self._record)
        for kill in resized:
            await self._kill(kill)
        await self._publish()
        steps = planning.plan(self.pod, self.view, self._probes)
        for kill in steps.kill:
            await self._kill(kill)
        if steps.new_sandbox:
            await self._new_sandbox(steps.attempt)
            self.notify()
            return 0.0
        await self._refresh_volumes()
        wait = context.settings.volume_period
        for container in steps.start:
            wait = min(wait, await self._start(container))
        if steps.kill or steps.start:
            self.view = await context.view.pod(self.uid)
            self._probes.follow(self.pod, self.view, self._containers.facts(self.pod, self.view).pod_ips)
            if (
                any(self.view.latest(c["name"]) is None for c in poddata.containers(self.pod))
                and not self._waiting
            ):
                self.notify()
        self._forget_waiting()
        await self._publish()
        return wait if left is None else min(wait, left)

    def _deadline(self) -> float | None:
        seconds = poddata.spec(self.pod).get("activeDeadlineSeconds")
        begun = (self.pod.get("status") or {}).get("startTime")
        if seconds is None or not begun:
            return None
        return objects.parse_time(begun) + float(seconds) - self._context.clock.now()

    async def _finish(self) -> float:
        """All regular containers are through: sidecars end, then the status says Succeeded or Failed."""
        for running in self._in_stop_order():
            await self._stop(running)
        self.view = await self._context.view.pod(self.uid)
        self._probes.stop()
        self._waiting.clear()
        await self._publish()
        await self._stop_sandboxes()
        return self._context.settings.volume_period

    async def _new_sandbox(self, attempt: int) -> None:
        context = self._context
        if attempt:
            self._record("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        await self._stop_sandboxes()
        used = {c.sandbox for found in self.view.containers.values() for c in found}
        for old in self.view.sandboxes:
            if old.id not in used:
                await context.cri.remove_sandbox(old.id)
        await self._refresh_volumes()
        config = podconfig.sandbox_config(self.pod, context.settings, attempt)
        await asyncio.to_thread(Path(config.log_directory).mkdir, parents=True, exist_ok=True)
        try:
            await context.cri.run_sandbox(config, await self._runtime_handler())
        except CRIError as error:
            self._record(
                "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error.message}"
            )
            raise

    async def _runtime_handler(self) -> str:
        name = poddata.spec(self.pod).get("runtimeClassName")
        if not name:
            return ""
        found = await self._context.api.get("runtimeclasses.node.k8s.io", "", name)
        if found is None:
            raise NotFound(f'RuntimeClass "{name}" not found')
        return str(found.get("handler") or "")

    async def _stop_sandboxes(self) -> None:
        """Also those that are dead: only stopping them gives their addresses back."""
        for sandbox in self.view.sandboxes:
            if sandbox.ready or sandbox.id not in self._halted:
                await self._context.cri.stop_sandbox(sandbox.id)
                self._halted.add(sandbox.id)

    async def _refresh_volumes(self) -> None:
        """Makes volumes, or brings ConfigMaps, Secrets and tokens in them up to date when it is time."""
        now = self._context.clock.monotonic()
        if now - self._volumes_at < self._context.settings.volume_period * 0.9:
            return
        facts = self._containers.facts(self.pod, self.view)
        self._volumes = await self._context.volumes.setup(self.pod, facts)
        # Until the sandbox has an address, the downward API could not tell it.
        if facts.pod_ips:
            self._volumes_at = now

    async def _start(self, container: Container) -> float:
        context, name = self._context, container["name"]
        last = self.view.latest(name)
        key, now = (self.uid, name), context.clock.now()
        if last is not None and last.ended:
            ended = (last.finished_at or last.created_at) / 1e9
            if left := context.restarts.remaining(key, ended, now):
                delay = _go_duration(context.restarts.delay(key))
                where = f"{objects.name(self.pod)}_{objects.namespace(self.pod)}({self.uid})"
                message = f"back-off {delay} restarting failed container={name} pod={where}"
                if self._waiting.get(name, ("", ""))[0] != "CrashLoopBackOff":
                    text = f"Back-off restarting failed container {name} in pod {where}"
                    self._record_of(name)("Warning", "BackOff", text)
                self._waiting[name] = ("CrashLoopBackOff", message)
                return left
            context.restarts.next(key, now)
        try:
            await self._containers.start(
                self.pod, container, self.view, self._volumes, self._record_of(name), self._interruptible
            )
        except StartError as error:
            self._waiting[name] = (error.reason, error.message)
            return min(_START_RETRY, context.settings.backoff_start)
        self._waiting.pop(name, None)
        return context.settings.volume_period

    async def _kill(self, kill: planning.Kill) -> None:
        grace = poddata.grace_period(self.pod)
        container = poddata.find_container(self.pod, kill.container.name) or {}
        if kill.probe:
            own = (container.get(f"{kill.probe}Probe") or {}).get("terminationGracePeriodSeconds")
            grace = grace if own is None else int(own)
        record = self._record_of(kill.container.name)
        stop = self._containers.stop(
            self.pod, kill.container, self.view, record, message=kill.message, grace=grace
        )
        await self._interruptible(stop)
        self.notify()

    async def _interruptible(self, work: Awaitable[Any]) -> Any:
        """Awaits, unless a deletion comes: then :class:`Interrupted`."""
        task = asyncio.ensure_future(work)
        flag = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait((task, flag), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                raise Interrupted
            return task.result()
        finally:
            flag.cancel()
            if not task.done():
                task.cancel()

    def _forget_waiting(self) -> None:
        for name in list(self._waiting):
            last = self.view.latest(name)
            if last is not None and last.running:
                del self._waiting[name]

    # The end of a pod

    async def _end(self) -> bool:
        """Stops all, tells the API, removes what is left; True once nothing is."""
        context = self._context
        self.told.set()
        self._probes.know(self.pod)
        self.view = await context.view.pod(self.uid)
        self._probes.stop_kinds("liveness", "startup")
        if self.view.running:
            await self._stop_all()
            self.view = await context.view.pod(self.uid)
            if self.view.running:
                self.notify()
                return False
        self._probes.stop()
        self._waiting.clear()
        if not poddata.is_terminal(self.pod) or objects.is_deleting(self.pod):
            await self._publish(ended=True)
        await self._stop_sandboxes()
        if not (self._gone or objects.is_deleting(self.pod)):
            # ended but not deleted: its containers stay for their logs, its volumes need not
            if not self._stopped:
                await context.volumes.teardown(self.uid)
                self._stopped = True
            return False
        await self._remove()
        if not self._gone:
            await self._delete()
        return True

    async def _stop_all(self) -> None:
        """Stops regular containers together, then sidecars in reverse order; a shorter grace period cuts in."""
        sidecars = {c["name"] for c in poddata.init_containers(self.pod) if poddata.is_sidecar(c)}
        mains = [c for c in self.view.running if c.name not in sidecars]
        for group in ([mains] if mains else []) + [[c] for c in self._in_stop_order() if c.name in sidecars]:
            tasks = []
            for running in group:
                task = self._stopping.get(running.id)
                if task is None or task.done() or self._interrupt.is_set():
                    task = self._stopping[running.id] = asyncio.create_task(self._stop(running))
                tasks.append(task)
            await self._interruptible_group(tasks)

    async def _interruptible_group(self, tasks: list[asyncio.Task[None]]) -> None:
        """Waits for all; an interruption leaves them running and begins the turn anew."""
        flag = asyncio.ensure_future(self._interrupt.wait())
        pending: set[asyncio.Future[Any]] = set(tasks)
        try:
            while pending:
                done, rest = await asyncio.wait({*pending, flag}, return_when=asyncio.FIRST_COMPLETED)
                if flag in done and (rest - {flag}):
                    for task in tasks:
                        self._stopping = {k: t for k, t in self._stopping.items() if t is not task}
                    raise Interrupted
                pending = rest - {flag}
            for task in tasks:
                task.result()
        finally:
            flag.cancel()

    def _in_stop_order(self) -> list[RunningContainer]:
        order = [c["name"] for c in poddata.init_containers(self.pod)]
        return sorted(
            self.view.running, key=lambda c: -order.index(c.name) if c.name in order else -len(order)
        )

    async def _stop(self, running: RunningContainer) -> None:
        grace = max(poddata.grace_period(self.pod), 1)
        record = self._record_of(running.name)
        await self._containers.stop(self.pod, running, self.view, record, grace=grace)

    async def _remove(self) -> None:
        """Containers, sandboxes, volumes, logs, cgroups."""
        context = self._context
        for found in self.view.containers.values():
            for ended in found:
                await context.cri.remove_container(ended.id)
        for sandbox in self.view.sandboxes:
            await context.cri.stop_sandbox(sandbox.id)
            await context.cri.remove_sandbox(sandbox.id)
        await context.volumes.teardown(self.uid)
        await asyncio.to_thread(remove_leftovers, self.pod, context)
        context.view.forget(self.view)
        context.api.forget(self.uid)
        for container in poddata.all_containers(self.pod):
            context.restarts.forget((self.uid, container["name"]))

    async def _delete(self) -> None:
        name, namespace = objects.name(self.pod), objects.namespace(self.pod)
        try:
            await self._context.client.delete(resource("pods"), name, namespace, grace=0, uid=self.uid)
        except NotFound:
            return
        except StatusError as error:
            if error.code != 409:
                raise

    # Telling

    async def _publish(self, ended: bool = False) -> None:
        if self._gone:
            return
        status = podstatus.pod_status(
            podstatus.Observed(
                pod=self.pod,
                view=self.view,
                health=self._probes,
                now=self._context.clock.now(),
                host_ip=self._context.settings.node_ip,
                waiting=self._waiting,
                messages=await self._containers.messages(self.pod, self.view),
                ended=ended,
                failed=self._failed,
                rejected=self._rejected,
                resources=self._kept,
            )
        )
        self.pod = await self._status.write(self.pod, status)
        self.told.set()

    def _record(self, kind: str, reason: str, message: str, field: str = "") -> None:
        if not self._gone:
            self._context.events.event(self.pod, resource("pods"), kind, reason, message, field=field)

    def _record_of(self, container: str) -> Record:
        """Records what happens to one container."""
        return partial(self._record, field=poddata.field_path(self.pod, container))


def remove_leftovers(pod: Object, context: NodeContext) -> None:
    """The pod's logs and its cgroup directories (which the runtime leaves empty)."""
    import shutil

    from sublet.node import cgroups, resources

    shutil.rmtree(poddata.log_directory(context.settings.logs_dir, pod), ignore_errors=True)
    cgroups.remove(resources.cgroup_parent(context.settings.cgroup_root, pod, objects.uid(pod)))


def _go_duration(seconds: float) -> str:
    """``10s``, ``2m40s``, ``5m0s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
