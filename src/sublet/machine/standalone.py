"""A whole cluster on one Linux machine: a control plane and a node as supervised background processes.

``up`` may be interrupted anywhere and repeated any time, also after a reboot: what is on disk is kept, what runs is
adopted, what is missing is made. ``down`` ends processes and pods and keeps the data; ``clean`` leaves nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from msgspec import structs

from sublet import __version__
from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess, KubeconfigError
from sublet.kinds.resources import resource
from sublet.machine import addons, removal, supervision
from sublet.machine.containerd import Containerd
from sublet.machine.join import (
    JoinMachineSettings,
    lacking,
    node_exists,
    own_address,
    read_settings,
    write_settings,
)
from sublet.machine.names import NodePlaces
from sublet.machine.processes import Processes, Program, exclusive, write_whole
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.status import BadRequest, ServiceUnavailable, StatusError, Timeout
from sublet.node import joining

Mode = Literal["auto", "containers", "hollow"]
Progress = Callable[[str], None]
"""Told of each step in a few words."""

CONTROL_PLANE, NODE = "control-plane", "node"
_STARTED_TOO_OFTEN = 3


def default_data_dir() -> Path:
    """``/var/lib/sublet`` for root, ``~/.sublet`` for others."""
    return Path("/var/lib/sublet") if os.geteuid() == 0 else Path.home() / ".sublet"


@dataclass(frozen=True, slots=True)
class StandaloneSettings:
    """What a standalone cluster is made with; kept in its directory, so that later commands need not repeat it."""

    data_dir: Path = field(default_factory=default_data_dir)
    mode: Mode = "auto"
    """``auto``: containers where the machine can run them, else a hollow node."""
    port: int = 6443
    host: str = "0.0.0.0"
    """Where the control plane listens; joining machines and pods need more than loopback."""
    node_name: str = ""
    node_ip: str = ""
    agent_port: int = 10250
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    cluster_domain: str = "cluster.local"
    timeout: float = 120.0
    """Seconds until control plane and node must be ready."""

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, on this machine."""
        return self.data_dir / "kubeconfig.yaml"

    @property
    def places(self) -> NodePlaces:
        return NodePlaces(self.data_dir / "node")

    @property
    def join_file(self) -> Path:
        return self.data_dir / "node.json"

    @property
    def settings_file(self) -> Path:
        return self.data_dir / "standalone.json"

    @property
    def network(self) -> joining.ClusterNetwork:
        return joining.ClusterNetwork(self.pod_cidr, self.service_cidr, self.cluster_domain)

    @property
    def name(self) -> str:
        return self.node_name or socket.gethostname().lower()


@dataclass(frozen=True, slots=True)
class Preflight:
    """What this machine can be: ``missing`` says all that containers lack, each with how to get it."""

    mode: Literal["containers", "hollow"]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What ``up`` brought up."""

    preflight: Preflight
    kubeconfig: Path
    url: str
    node: str
    seconds: float


def saved(data_dir: Path) -> StandaloneSettings | None:
    """The settings of the cluster in a directory; None when there is none."""
    path = data_dir / "standalone.json"
    try:
        return StandaloneSettings(**{**json.loads(path.read_text()), "data_dir": data_dir})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise BadRequest(f"{path} holds no settings of a standalone cluster: {error}") from None


def preflight(settings: StandaloneSettings) -> Preflight:
    """What can be brought up here. Raises :class:`ServiceUnavailable` when containers are asked for and cannot be."""
    missing = tuple(lacking(_join_settings(settings)))
    if settings.mode == "containers" and missing:
        raise ServiceUnavailable("containers cannot run here; missing: " + "; ".join(missing))
    if settings.mode == "hollow" or missing:
        return Preflight("hollow", missing)
    return Preflight("containers")


async def up(
    settings: StandaloneSettings, progress: Progress = lambda text: None, clock: Clock | None = None
) -> Result:
    """Brings the cluster up, or what of it is missing. Raises ``StatusError`` saying what to do."""
    clock = clock or SystemClock()
    begun = clock.monotonic()
    settings = replace(settings, data_dir=settings.data_dir.absolute())
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    what = f"another 'standalone' command is at work in {settings.data_dir}; try again when it is done"
    with exclusive(settings.run_dir / "command.lock", what, seconds=1.0):
        found = preflight(settings)
        processes = Processes(settings.run_dir)
        if processes.pid(CONTROL_PLANE) is None:
            await _check_port(settings)
        _save(settings)
        address = settings.node_ip or _address(found.mode)
        first = [_control_plane(settings, address)]
        second = [_node(settings, found)] if _may_start_node(settings, found) else []
        progress("starting the control plane")
        supervision.supervise(settings.run_dir, [*first, *second])
        access = await _ready(settings, processes)
        client = Client(HTTPTransport(access), "sublet-standalone")
        try:
            progress("writing the cluster's own objects")
            join = structs.replace(access, server=f"https://{address}:{settings.port}")
            await joining.ensure(client, settings.network, join)
            await addons.ensure(client, settings.network)
            if not second:
                await _write_join_settings(settings, found, client, access, clock)
                supervision.supervise(settings.run_dir, [*first, _node(settings, found)])
            progress(f"starting the node {settings.name}")
            await _node_ready(settings, found, client, processes)
        finally:
            await client.close()
    return Result(found, settings.kubeconfig, access.server, settings.name, clock.monotonic() - begun)


async def down(settings: StandaloneSettings) -> bool:
    """Ends all processes and pods; data stay. Whether anything ran."""
    what = f"another 'standalone' command is at work in {settings.data_dir}; try again when it is done"
    if not settings.data_dir.exists():
        return False
    with exclusive(settings.run_dir / "command.lock", what, seconds=1.0):
        ran = await supervision.stop(settings.run_dir)
        await removal.stop_node(settings.places)
        return ran


async def clean(settings: StandaloneSettings) -> None:
    """Removes the cluster: no process, mount, interface, table, cgroup or file of it stays."""
    if not settings.data_dir.exists():
        return
    await down(settings)
    await removal.remove_node(settings.places)
    await asyncio.to_thread(shutil.rmtree, settings.data_dir, ignore_errors=True)
    if settings.data_dir.exists():
        left = sorted(str(path) for path in settings.data_dir.iterdir())
        raise ServiceUnavailable(f"these files could not be removed: {', '.join(left)}")


@dataclass(frozen=True, slots=True)
class Status:
    """Of a standalone cluster."""

    exists: bool
    mode: str
    url: str
    ready: bool
    nodes: tuple[tuple[str, bool], ...]
    """Name and readiness."""
    programs: tuple[supervision.ProgramStatus, ...]
    problem: str = ""

    def to_object(self) -> dict[str, Any]:
        programs = [{**asdict(each), "log_file": str(each.log_file)} for each in self.programs]
        nodes = [{"name": name, "ready": ready} for name, ready in self.nodes]
        return {**asdict(self), "programs": programs, "nodes": nodes}


async def status(settings: StandaloneSettings) -> Status:
    """What runs, asked of the processes and of the API."""
    if not settings.settings_file.exists():
        return Status(False, "", "", False, (), (), f"no cluster in {settings.data_dir}")
    programs = tuple(supervision.status(settings.run_dir))
    mode = "containers" if settings.join_file.exists() else "hollow"
    try:
        access = kubeconfig.load(settings.kubeconfig)
    except KubeconfigError as error:
        return Status(True, mode, "", False, (), programs, str(error))
    client = Client(HTTPTransport(access, request_seconds=5.0, connect_seconds=2.0), "sublet-standalone")
    try:
        found = (await client.list(resource("nodes")))["items"]
        names = [node["metadata"]["name"] for node in found]
        nodes = tuple([(name, await node_exists(client, name)) for name in names])
    except StatusError as error:
        return Status(True, mode, access.server, False, (), programs, error.message)
    finally:
        await client.close()
    return Status(True, mode, access.server, True, nodes, programs)


async def load_image(settings: StandaloneSettings, archive: Path) -> None:
    """Imports a docker or OCI archive on this machine's node. Raises :class:`ServiceUnavailable`."""
    containerd = Containerd(settings.places.containerd)
    if not await containerd.healthy():
        raise ServiceUnavailable("the node's containerd does not run; bring the cluster up first")
    await containerd.import_image(archive)


# -- steps of up --


async def _check_port(settings: StandaloneSettings) -> None:
    """A process that was just killed may hold its port for a moment longer."""
    for _ in range(60):
        if not (why := _taken(settings)):
            return
        await asyncio.sleep(0.05)
    raise ServiceUnavailable(
        f"the control plane cannot listen on {settings.host}:{settings.port} ({why}); choose another with --port"
    )


def _taken(settings: StandaloneSettings) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _save(settings: StandaloneSettings) -> None:
    fields = {name: getattr(settings, name) for name in StandaloneSettings.__slots__ if name != "data_dir"}
    write_whole(settings.settings_file, json.dumps(fields, indent=1))


def _address(mode: str) -> str:
    if mode == "containers":
        return own_address()
    try:
        return own_address()
    except ServiceUnavailable:
        return "127.0.0.1"


def _environment() -> dict[str, str]:
    """A new release makes the supervisor start the programs again."""
    return {"SUBLET_RELEASE": __version__}


def _control_plane(settings: StandaloneSettings, address: str) -> Program:
    configuration = settings.data_dir / "sublet.yaml"
    networking = {
        "podCIDR": settings.pod_cidr,
        "serviceCIDR": settings.service_cidr,
        "advanced": {"clusterDomain": settings.cluster_domain},
    }
    wanted = {"networking": networking, "deploy": {"metricsServer": {"enabled": True}}}
    write_whole(configuration, json.dumps(wanted, indent=1))
    command = (
        sys.executable, "-m", "sublet.cli.main", "run", "--data-dir", str(settings.data_dir / "control-plane"),
        "--host", settings.host, "--port", str(settings.port), "--config", str(configuration),
        "--advertise-address", address, "--san", address, "--san", socket.gethostname().lower(),
    )  # fmt: skip
    return Program(CONTROL_PLANE, command, _environment())


def _join_settings(settings: StandaloneSettings) -> JoinMachineSettings:
    return JoinMachineSettings(
        server=f"https://127.0.0.1:{settings.port}",
        token="",
        ca_file=settings.data_dir / "ca.crt",
        data_dir=settings.places.directory,
        node_name=settings.name,
        node_ip=settings.node_ip,
        agent_port=settings.agent_port,
        dns=True,
    )


def _may_start_node(settings: StandaloneSettings, found: Preflight) -> bool:
    """Whether the node can start along with the control plane: it has been joined before."""
    if found.mode == "hollow":
        return settings.kubeconfig.exists()
    if not (settings.places.directory / "kubelet.conf").exists() or not settings.join_file.exists():
        return False
    try:
        kept = read_settings(settings.join_file)
    except BadRequest:
        return False
    return replace(kept, token="") == _join_settings(settings)


def _node(settings: StandaloneSettings, found: Preflight) -> Program:
    command: tuple[str, ...] = (sys.executable, "-m", "sublet.machine.join", str(settings.join_file))
    if found.mode == "hollow":
        volumes = str(settings.places.volumes)
        command = (
            sys.executable, "-m", "sublet.machine.hollow", str(settings.kubeconfig), settings.name, volumes
        )  # fmt: skip
    return Program(NODE, command, _environment())


async def _ready(settings: StandaloneSettings, processes: Processes) -> ClusterAccess:
    """Waits for ``/readyz``; puts the administrator's kubeconfig in its place."""
    watch = _Watch(settings, processes)
    written = settings.data_dir / "control-plane" / "kubeconfig.yaml"
    end = time.monotonic() + settings.timeout
    while time.monotonic() < end:
        watch.check(CONTROL_PLANE)
        if processes.pid(CONTROL_PLANE) is not None and written.exists():
            access = kubeconfig.load(written)
            client = Client(HTTPTransport(access, request_seconds=5.0), "sublet-standalone")
            try:
                if (await client.raw("GET", "/readyz")).status == 200:
                    kubeconfig.write(settings.kubeconfig, access, "sublet-standalone")
                    return access
            except StatusError:
                pass  # not yet
            finally:
                await client.close()
        await asyncio.sleep(0.05)
    raise Timeout(
        f"the control plane was not ready within {settings.timeout:.0f} s; the end of its log:\n"
        + processes.log_end(CONTROL_PLANE)
    )


class _Watch:
    """Sees, while ``up`` waits, that what it waits for can still come."""

    def __init__(self, settings: StandaloneSettings, processes: Processes) -> None:
        self._directory = settings.run_dir
        self._processes = processes
        self._left = _STARTED_TOO_OFTEN

    def check(self, name: str) -> None:
        """Raises :class:`ServiceUnavailable` with the end of its log for a program that ends again and again."""
        log_end = self._processes.log_end
        for each in supervision.status(self._directory):
            if each.name == name and each.restarts >= _STARTED_TOO_OFTEN:
                raise ServiceUnavailable(
                    f"the {name} does not stay up; the end of its log {each.log_file}:\n{log_end(name)}"
                )
        if self._processes.pid(supervision.SUPERVISOR) is not None:
            return
        if not self._left:
            raise ServiceUnavailable(
                f"the supervisor does not stay up; the end of its log:\n{log_end(supervision.SUPERVISOR)}"
            )
        # one that was being killed when it was asked to work
        self._left -= 1
        supervision.supervise(self._directory, supervision.read_programs(self._directory))


async def _write_join_settings(
    settings: StandaloneSettings, found: Preflight, client: Client, access: ClusterAccess, clock: Clock
) -> None:
    if found.mode == "hollow":
        return
    join = _join_settings(settings)
    if join.ca_file is not None:
        write_whole(join.ca_file, access.ca_data.decode())
    token = await joining.create_token(client, clock, 3600.0)
    write_settings(settings.join_file, replace(join, token=token))


async def _node_ready(
    settings: StandaloneSettings, found: Preflight, client: Client, processes: Processes
) -> None:
    watch = _Watch(settings, processes)
    end = time.monotonic() + settings.timeout
    while time.monotonic() < end:
        watch.check(NODE)
        pid = processes.pid(NODE)
        if pid is not None and _is_ready(settings, found, pid):
            try:
                if await node_exists(client, settings.name):
                    return
            except StatusError:
                pass  # a control plane that restarts
        await asyncio.sleep(0.1)
    raise Timeout(
        f"the node {settings.name} was not ready within {settings.timeout:.0f} s; the end of its log:\n"
        + processes.log_end(NODE)
    )


def _is_ready(settings: StandaloneSettings, found: Preflight, pid: int) -> bool:
    """Whether this very process says so: what the API knows may be from before a reboot."""
    if found.mode == "hollow":
        return True
    try:
        return settings.places.ready_file.read_text() == str(pid)
    except OSError:
        return False
