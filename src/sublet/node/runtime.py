"""What the container runtime says about one pod: its sandboxes and the containers of each name, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field

from sublet.node import crimessages as m
from sublet.node import podconfig
from sublet.node.cri import CRI, CRIError


@dataclass(frozen=True, slots=True)
class Sandbox:
    id: str
    ready: bool
    attempt: int
    created_at: int
    """Unix nanoseconds, as all times here."""
    ips: tuple[str, ...] = ()
    host_network: bool = False

    @property
    def usable(self) -> bool:
        return self.ready and (self.host_network or bool(self.ips))


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """One container of the runtime, whatever its state."""

    id: str
    name: str
    sandbox: str
    state: int
    """``CREATED``, ``RUNNING``, ``EXITED`` or ``UNKNOWN`` of :mod:`crimessages`."""
    attempt: int
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    hash: str = ""
    log_path: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    message_file: str = ""
    """Where on the node its termination message is."""

    @property
    def running(self) -> bool:
        return self.state == m.RUNNING

    @property
    def ended(self) -> bool:
        return self.state in (m.EXITED, m.UNKNOWN)


@dataclass(slots=True)
class PodRuntime:
    uid: str
    sandboxes: list[Sandbox] = field(default_factory=list)
    containers: dict[str, list[RunningContainer]] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ips(self) -> tuple[str, ...]:
        sandbox = self.sandbox
        return sandbox.ips if sandbox is not None and sandbox.ready else ()

    def latest(self, name: str) -> RunningContainer | None:
        found = self.containers.get(name)
        return found[0] if found else None

    def previous(self, name: str) -> RunningContainer | None:
        found = self.containers.get(name) or []
        return found[1] if len(found) > 1 else None

    @property
    def running(self) -> list[RunningContainer]:
        return [c for found in self.containers.values() for c in found if c.running]

    def by_id(self, container: str) -> RunningContainer | None:
        return next((c for found in self.containers.values() for c in found if c.id == container), None)


class RuntimeView:
    """Reads pods from CRI; remembers what cannot change any more (ended containers)."""

    def __init__(self, cri: CRI) -> None:
        self._cri = cri
        self._ended: dict[str, RunningContainer] = {}
        self._addresses: dict[str, Sandbox] = {}

    async def pod(self, uid: str) -> PodRuntime:
        labels = {podconfig.POD_UID: uid}
        sandboxes = await self._cri.sandboxes(labels)
        containers = await self._cri.containers(labels)
        view = PodRuntime(uid)
        for sandbox in sorted(sandboxes, key=lambda s: -s.created_at):
            view.sandboxes.append(await self._sandbox(sandbox))
        for container in sorted(containers, key=lambda c: (-c.created_at, c.id)):
            seen = await self._container(container)
            if seen is not None:
                view.containers.setdefault(seen.name, []).append(seen)
        return view

    async def _sandbox(self, sandbox: m.PodSandbox) -> Sandbox:
        attempt = sandbox.metadata.attempt if sandbox.metadata else 0
        held = self._addresses.get(sandbox.id)
        if held is not None and held.ready == (sandbox.state == m.SANDBOX_READY):
            return held
        try:
            status = (await self._cri.sandbox_status(sandbox.id)).status
        except CRIError as error:
            if not error.not_found:
                raise
            status = None
        if status is None:
            return Sandbox(sandbox.id, False, attempt, sandbox.created_at)
        network = status.network
        ips = (network.ip, *(a.ip for a in network.additional_ips)) if network and network.ip else ()
        linux = status.linux
        options = linux.namespaces.options if linux and linux.namespaces else None
        host = options is not None and options.network == m.NAMESPACE_NODE
        seen = Sandbox(sandbox.id, status.state == m.SANDBOX_READY, attempt, sandbox.created_at, ips, host)
        if seen.usable or not seen.ready:
            self._addresses[sandbox.id] = seen
        return seen

    async def _container(self, container: m.Container) -> RunningContainer | None:
        if held := self._ended.get(container.id):
            return held
        try:
            status = (await self._cri.container_status(container.id)).status
        except CRIError as error:
            if not error.not_found:
                raise
            return None
        if status is None:
            return None
        seen = _seen(container, status)
        if seen.state == m.EXITED:
            self._ended[container.id] = seen
        return seen

    def forget(self, view: PodRuntime) -> None:
        for sandbox in view.sandboxes:
            self._addresses.pop(sandbox.id, None)
        for found in view.containers.values():
            for container in found:
                self._ended.pop(container.id, None)


def _seen(container: m.Container, status: m.ContainerStatus) -> RunningContainer:
    notes = status.annotations
    path = notes.get(podconfig.MESSAGE_PATH, "")
    attempt = notes.get(podconfig.RESTART_COUNT, "")
    own = status.metadata.attempt if status.metadata else 0
    return RunningContainer(
        id=container.id,
        name=container.labels.get(podconfig.CONTAINER_NAME, ""),
        sandbox=container.pod_sandbox_id,
        state=status.state,
        attempt=int(attempt) if attempt.isdigit() else own,
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image if status.image else "",
        image_ref=status.image_ref,
        hash=notes.get(podconfig.HASH, ""),
        log_path=status.log_path,
        annotations=notes,
        message_file=next((x.host_path for x in status.mounts if path and x.container_path == path), ""),
    )
