"""Starting and stopping the containers of one pod."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.node import containermounts, environment, hooks, podconfig, poddata, resources
from sublet.node import crimessages as m
from sublet.node.context import NodeContext
from sublet.node.cri import CRIError
from sublet.node.environment import ConfigError, PodFacts
from sublet.node.images import Record, StartError
from sublet.node.plan import Kill
from sublet.node.poddata import Container
from sublet.node.runtime import PodRuntime, RunningContainer

log = logging.getLogger(__name__)

_T = TypeVar("_T")
Wait = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits something long and may give it up by raising."""

_LEAST_GRACE = 2
"""Seconds a container has after its preStop handler used the grace period up."""
_MESSAGE_LIMIT = 4096
_MESSAGE_LOG_LINES, _MESSAGE_LOG_LIMIT = 80, 2048


class Containers:
    """The containers of the pods of one node."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    def facts(self, pod: Object, view: PodRuntime) -> PodFacts:
        settings = self._context.settings
        ips = (settings.node_ip,) if poddata.spec(pod).get("hostNetwork") else view.ips
        return PodFacts(ips, settings.node_ip, self._context.allocatable())

    async def start(
        self,
        pod: Object,
        container: Container,
        view: PodRuntime,
        volumes: dict[str, Path],
        record: Record,
        wait: Wait,
    ) -> str:
        """Pulls, creates, starts, runs postStart; gives the id. Raises :class:`StartError`."""
        context, name = self._context, container["name"]
        sandbox = view.sandbox
        if sandbox is None:
            raise StartError("ContainerCreating", "the pod has no sandbox")
        image = await context.images.ensure(pod, container, record, wait)
        last = view.latest(name)
        attempt = 0 if last is None else last.attempt + 1
        await self._discard(view, name)
        try:
            config = await self._config(pod, container, view, volumes, image, attempt)
        except (ConfigError, OSError, StatusError) as error:
            record("Warning", "Failed", f"Error: {error}")
            raise StartError("CreateContainerConfigError", str(error)) from None
        identity = await self._create(pod, sandbox.id, sandbox.attempt, config, record)
        record("Normal", "Created", f"Container created: {name}")
        try:
            await context.cri.start_container(identity)
        except CRIError as error:
            record("Warning", "Failed", f"Error: {error.message}")
            raise StartError("RunContainerError", error.message) from None
        record("Normal", "Started", f"Container started: {name}")
        self._link_log(pod, config, identity)
        if handler := (container.get("lifecycle") or {}).get("postStart"):
            await self._post_start(pod, container, identity, handler, view, record, wait)
        return identity

    async def _create(
        self, pod: Object, sandbox: str, sandbox_attempt: int, config: m.ContainerConfig, record: Record
    ) -> str:
        settings = self._context.settings
        directory = poddata.log_directory(settings.logs_dir, pod) / (
            config.metadata.name if config.metadata else ""
        )
        directory.mkdir(parents=True, exist_ok=True)
        try:
            return await self._context.cri.create_container(
                sandbox, config, podconfig.sandbox_config(pod, settings, sandbox_attempt)
            )
        except CRIError as error:
            record("Warning", "Failed", f"Error: {error.message}")
            raise StartError("CreateContainerError", error.message) from None

    async def _config(
        self,
        pod: Object,
        container: Container,
        view: PodRuntime,
        volumes: dict[str, Path],
        image: m.Image,
        attempt: int,
    ) -> m.ContainerConfig:
        context = self._context
        facts = self.facts(pod, view)
        fetch = await context.api.environment_sources(pod, container)
        values = environment.environment(pod, container, fetch, context.api.services(), facts)
        mounts = await asyncio.to_thread(
            containermounts.container_mounts,
            pod, container, volumes, values, context.settings, facts.pod_ips, context.rng,
        )  # fmt: skip
        return podconfig.container_config(
            pod,
            container,
            image=image.id,
            attempt=attempt,
            environment=values,
            mounts=mounts,
            limits=resources.linux_resources(pod, container, context.memory),
            image_user=(image.uid.value if image.uid is not None else None, image.username),
            target=_target(container, view),
        )

    async def _discard(self, view: PodRuntime, name: str) -> None:
        """Removes what never started and all but the last ended container of a name, with their logs."""
        kept = 0
        for old in view.containers.get(name) or []:
            kept += old.state == m.EXITED
            if old.running or (old.state == m.EXITED and kept <= 1):
                continue
            await self._context.cri.remove_container(old.id)
            if old.log_path:
                for file in Path(old.log_path).parent.glob(f"{Path(old.log_path).name}*"):
                    file.unlink(missing_ok=True)

    def _link_log(self, pod: Object, config: m.ContainerConfig, identity: str) -> None:
        """Keeps the id beside the log: collectors and people look for it there."""
        log.debug("container %s of %s is %s", config.log_path, objects.key(pod), identity)

    async def _post_start(
        self, pod: Object, container: Container, identity: str, handler: dict[str, Any], view: PodRuntime,
        record: Record, wait: Wait,
    ) -> None:  # fmt: skip
        host = self._host(pod, view)
        try:
            await wait(hooks.run_handler(self._context.cri, container, identity, handler, host))
        except hooks.HookError as error:
            record("Warning", "FailedPostStartHook", f"PostStartHook failed: {error}")
            fresh = RunningContainer(identity, container["name"], "", m.RUNNING, 0)
            await self.stop(pod, fresh, view, record, message="FailedPostStartHook")
            raise StartError("PostStartHookError", str(error)) from None

    def _host(self, pod: Object, view: PodRuntime) -> str:
        facts = self.facts(pod, view)
        return facts.pod_ips[0] if facts.pod_ips else "127.0.0.1"

    async def stop(
        self, pod: Object, running: RunningContainer, view: PodRuntime, record: Record, *, message: str = "",
        grace: int | None = None,
    ) -> None:  # fmt: skip
        """preStop handler, SIGTERM, and SIGKILL once the grace period (seconds) is over."""
        if grace is None:
            grace = poddata.grace_period(pod)
        record("Normal", "Killing", message or f"Stopping container {running.name}")
        clock = self._context.clock
        begun = clock.monotonic()
        container = poddata.find_container(pod, running.name)
        if container is None:
            container = {"name": running.name}
        handler = (container.get("lifecycle") or {}).get("preStop")
        if handler is None and (stored := running.annotations.get(podconfig.PRE_STOP)):
            handler = json.loads(stored)
        if handler and grace > 0:
            try:
                run = hooks.run_handler(
                    self._context.cri, container, running.id, handler, self._host(pod, view)
                )
                async with asyncio.timeout(grace):
                    await run
            except hooks.HookError as error:
                record("Warning", "FailedPreStopHook", f"PreStopHook failed: {error}")
            except TimeoutError:
                record("Warning", "FailedPreStopHook", f"PreStopHook did not end in {grace} s")
        left = grace - int(clock.monotonic() - begun)
        if handler:
            left = max(left, _LEAST_GRACE)
        try:
            await self._context.cri.stop_container(running.id, max(left, 0))
        except CRIError as error:
            if not error.not_found:
                raise

    async def resize(
        self, pod: Object, view: PodRuntime, record: Record
    ) -> tuple[list[Kill], dict[str, dict[str, Any]]]:
        """Gives running containers the resources the pod has now, where those differ from what its status says.

        Gives the containers whose resize policy wants a restart instead, and by name the resources of those that
        could not be changed and keep what they had.
        """
        restart, kept = [], {}
        status = pod.get("status") or {}
        known = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
        for entry in known:
            container = poddata.find_container(pod, entry["name"])
            running = view.latest(entry["name"])
            if container is None or running is None or not running.running or "resources" not in entry:
                continue
            if entry.get("containerID") != f"containerd://{running.id}":
                continue
            old, new = entry["resources"], container.get("resources") or {}
            if _amounts(old) == _amounts(new):
                continue
            if _restarts(container, old, new):
                restart.append(Kill(running, f"Container {running.name} resize requires restart"))
            else:
                limits = resources.linux_resources(pod, container, self._context.memory)
                limits.cpu_period = limits.cpu_period or 100_000
                limits.cpu_quota = limits.cpu_quota or -1
                limits.oom_score_adj = 0
                try:
                    await self._context.cri.update_resources(running.id, limits)
                except CRIError as error:
                    record("Warning", "ResizeFailed", f"Container {running.name}: {error.message}")
                    kept[running.name] = old
        return restart, kept

    async def messages(self, pod: Object, view: PodRuntime) -> dict[str, str]:
        """Termination messages of ended containers by id."""
        ended = [c for found in view.containers.values() for c in found[:2] if c.ended]
        return await asyncio.to_thread(lambda: {c.id: termination_message(c) for c in ended}) if ended else {}


def _amounts(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {
        (side, name): quantity.parse(value).nano
        for side in ("limits", "requests")
        for name, value in (found.get(side) or {}).items()
        if name in ("cpu", "memory")
    }


def _restarts(container: Container, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether the resize policy of a resource that changes is RestartContainer."""
    before, after = _amounts(old), _amounts(new)
    changed = {
        name
        for side, name in before.keys() | after.keys()
        if before.get((side, name)) != after.get((side, name))
    }
    policies = container.get("resizePolicy") or []
    return any(p["resourceName"] in changed and p["restartPolicy"] == "RestartContainer" for p in policies)


def _target(container: Container, view: PodRuntime) -> str:
    """The id of the container whose processes an ephemeral container asks to see."""
    name = container.get("targetContainerName")
    if not name:
        return ""
    found = view.latest(name)
    if found is None or not found.running:
        raise ConfigError(f'cannot find the target container "{name}" running')
    return found.id


def termination_message(container: RunningContainer) -> str:
    """What the container wrote to its termination message path, or (if it so wants) the end of its log."""
    text = ""
    if container.message_file:
        try:
            with Path(container.message_file).open("rb") as file:
                text = file.read(_MESSAGE_LIMIT).decode(errors="replace")
        except OSError:
            text = ""
    policy = container.annotations.get(podconfig.MESSAGE_POLICY)
    if not text and policy == "FallbackToLogsOnError" and container.exit_code != 0 and container.log_path:
        from sublet.node.logs import last_lines

        text = last_lines(Path(container.log_path), _MESSAGE_LOG_LINES, _MESSAGE_LOG_LIMIT)
    return text
