"""What has to be done so that the runtime has what a pod wants: pure, level-triggered, restartable at any point.

Source: kubernetes.io, "Pod Lifecycle", "Init Containers", "Sidecar Containers".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import poddata
from sublet.node.poddata import Container
from sublet.node.runtime import PodRuntime, RunningContainer


class Health(Protocol):
    """What probes found; by container id."""

    def started(self, container: RunningContainer) -> bool: ...
    def ready(self, container: RunningContainer) -> bool: ...
    def alive(self, container: RunningContainer) -> str:
        """Empty, or the probe that failed too often: ``liveness`` or ``startup``."""
        ...


@dataclass(frozen=True, slots=True)
class Kill:
    container: RunningContainer
    message: str
    probe: str = ""
    """The probe that asks for it, whose own grace period then holds."""


@dataclass(slots=True)
class Plan:
    new_sandbox: bool = False
    attempt: int = 0
    start: list[Container] = field(default_factory=list)
    kill: list[Kill] = field(default_factory=list)


def should_restart(pod: Object, container: Container, last: RunningContainer | None) -> bool:
    """Whether a container that never ran, or ended as ``last``, is to be started."""
    if last is None or last.state == m.CREATED:
        return True
    if not last.ended:
        return False
    policy = poddata.restart_policy(pod)
    if poddata.is_sidecar(container) or policy == "Always":
        return True
    return policy == "OnFailure" and last.exit_code != 0


def is_initialized(pod: Object, view: PodRuntime, health: Health) -> bool:
    """Whether all init containers are through in the present sandbox."""
    sandbox = view.sandbox
    if sandbox is None:
        return not poddata.init_containers(pod)
    for container in poddata.containers(pod):
        last = view.latest(container["name"])
        if last is not None and last.sandbox == sandbox.id:
            return True
    return all(_is_through(c, _in_sandbox(view, c), health) for c in poddata.init_containers(pod))


def _in_sandbox(view: PodRuntime, container: Container) -> RunningContainer | None:
    last = view.latest(container["name"])
    sandbox = view.sandbox
    return last if last is not None and sandbox is not None and last.sandbox == sandbox.id else None


def _is_through(container: Container, last: RunningContainer | None, health: Health) -> bool:
    if last is None:
        return False
    if poddata.is_sidecar(container):
        return last.running and health.started(last)
    return last.state == m.EXITED and last.exit_code == 0


def init_failed(pod: Object, view: PodRuntime) -> bool:
    """Whether an init container ended in failure and may not run again."""
    if poddata.restart_policy(pod) != "Never":
        return False
    for container in poddata.init_containers(pod):
        last = view.latest(container["name"])
        if not poddata.is_sidecar(container) and last is not None and last.ended and last.exit_code != 0:
            return True
    return False


def mains_ended(pod: Object, view: PodRuntime) -> bool:
    """Whether every regular container has ended for good."""
    for container in poddata.containers(pod):
        last = view.latest(container["name"])
        if last is None or not last.ended or should_restart(pod, container, last):
            return False
    return True


def plan(pod: Object, view: PodRuntime, health: Health) -> Plan:
    """The next steps. Nothing for a pod that has ended for good."""
    if init_failed(pod, view) or (view.sandboxes and mains_ended(pod, view)):
        return Plan()
    sandbox = view.sandbox
    if sandbox is None or not sandbox.usable:
        fresh = Plan(new_sandbox=True, attempt=0 if sandbox is None else sandbox.attempt + 1)
        fresh.kill = [Kill(c, "Pod sandbox changed, it will be killed and re-created.") for c in view.running]
        return fresh
    result = Plan()
    if is_initialized(pod, view, health):
        for container in (
            *filter(poddata.is_sidecar, poddata.init_containers(pod)),
            *poddata.containers(pod),
        ):
            _consider(result, pod, container, view, health)
        for container in poddata.ephemeral_containers(pod):
            if view.latest(container["name"]) is None:
                result.start.append(container)
    else:
        for container in _until_unfinished(pod, view, health):
            _consider(result, pod, container, view, health)
    return result


def _until_unfinished(pod: Object, view: PodRuntime, health: Health) -> Iterator[Container]:
    """Init containers that need a look: sidecars passed on the way, and the first that is not through."""
    for container in poddata.init_containers(pod):
        through = _is_through(container, _in_sandbox(view, container), health)
        if poddata.is_sidecar(container) or not through:
            yield container
        if not through:
            return


def _consider(result: Plan, pod: Object, container: Container, view: PodRuntime, health: Health) -> None:
    last = view.latest(container["name"])
    sandbox = view.sandbox
    if last is not None and sandbox is not None and last.sandbox != sandbox.id:
        in_old = should_restart(pod, container, last) or last.exit_code != 0 or not last.ended
        if in_old or container in poddata.init_containers(pod):
            result.start.append(container)
        return
    if last is None or not last.running:
        if container in poddata.init_containers(pod) and last is not None and last.ended:
            if poddata.is_sidecar(container) or last.exit_code != 0:
                result.start.append(container)
        elif should_restart(pod, container, last):
            result.start.append(container)
        return
    name = container["name"]
    if last.hash and last.hash != poddata.container_hash(container):
        result.kill.append(Kill(last, f"Container {name} definition changed, will be restarted"))
    elif probe := health.alive(last):
        result.kill.append(Kill(last, f"Container {name} failed {probe} probe, will be restarted", probe))
