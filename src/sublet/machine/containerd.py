"""A containerd of our own: configuration, start or adoption, health, and removal without a trace.

It shares nothing with a containerd the system may run: root, state, socket, CNI directories, network namespaces
and runc's state are all below one directory. Its shims keep containers alive while it is away, so stopping or
killing it does not stop a pod.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from sublet.machine import leftovers
from sublet.machinery.status import ServiceUnavailable, StatusError

log = logging.getLogger(__name__)

NAMESPACE = "k8s.io"
"""containerd's namespace for everything of CRI."""


@dataclass(frozen=True, slots=True)
class ContainerdSettings:
    """Where one private containerd lives and what it runs."""

    directory: Path
    """Everything it has is below; ``teardown`` removes it. Short: a socket's path may have 107 bytes."""
    sandbox_image: str = "registry.k8s.io/pause:3.10"
    snapshotter: str = ""
    """``overlayfs`` or ``native``; empty: overlayfs where the kernel can, else native."""
    cni_bin_dir: Path = Path("/usr/lib/cni")
    binary: str = "containerd"
    cgroup_root: str = "/sublet"
    """The cgroup below which pods live (see ``NodeSettings.cgroup_root``); removed by ``teardown``."""
    registry_mirrors: dict[str, str] = field(default_factory=dict)
    """Registry host to the URL that is asked in its place."""
    start_timeout: float = 30.0
    """Seconds until the CRI socket must answer."""

    @property
    def socket(self) -> Path:
        return self.directory / "containerd.sock"

    @property
    def config_file(self) -> Path:
        return self.directory / "config.toml"

    @property
    def cni_conf_dir(self) -> Path:
        return self.directory / "cni"

    @property
    def log_file(self) -> Path:
        return self.directory / "containerd.log"

    def snapshotter_in_use(self) -> str:
        """The chosen snapshotter, or the best this machine can; kept once chosen, as images are unpacked in it."""
        if self.snapshotter:
            return self.snapshotter
        chosen = self.directory / "snapshotter"
        if not chosen.exists():
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
            chosen.write_text("overlayfs" if overlay_works(self.directory) else "native")
        return chosen.read_text()

    @property
    def pid_file(self) -> Path:
        return self.directory / "containerd.pid"


def missing(settings: ContainerdSettings) -> list[str]:
    """What this machine lacks to run pods, each with the way out; empty when nothing does."""
    lacking = []
    if os.geteuid() != 0:
        lacking.append("root rights (run as root)")
    if not shutil.which(settings.binary):
        lacking.append(f"{settings.binary} (apt-get install containerd)")
    if not shutil.which("runc"):
        lacking.append("runc (apt-get install runc)")
    for plugin in ("bridge", "host-local", "portmap", "loopback"):
        if not (settings.cni_bin_dir / plugin).exists():
            lacking.append(
                f"the CNI plug-ins in {settings.cni_bin_dir} (apt-get install containernetworking-plugins)"
            )
            break
    if len(str(settings.socket)) > 100:
        lacking.append(
            f"a shorter directory than {settings.directory} (a socket's path has at most 107 bytes)"
        )
    return lacking


def overlay_works(directory: Path) -> bool:
    """Whether overlayfs can be mounted with its upper layer in ``directory`` (not on an overlay, for instance)."""
    probe = directory / "overlay-probe"
    layers = [probe / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir(parents=True, exist_ok=True)
    options = "lowerdir={},upperdir={},workdir={}".format(*layers[:3])
    try:
        done = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, str(layers[3])],
            capture_output=True,
            timeout=20,
        )
        if done.returncode == 0:
            subprocess.run(["umount", str(layers[3])], capture_output=True, timeout=20, check=True)
        return done.returncode == 0
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def configuration(settings: ContainerdSettings, snapshotter: str) -> str:
    """containerd's ``config.toml`` (version 2)."""
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    quote = json.dumps
    lines = [
        "version = 2",
        f"root = {quote(str(settings.directory / 'root'))}",
        f"state = {quote(str(settings.directory / 'state'))}",
        "oom_score = 0",
        'disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", '
        '"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", '
        '"io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]',
        "[grpc]",
        f"address = {quote(str(settings.socket))}",
        f"{cri}]",
        f"sandbox_image = {quote(settings.sandbox_image)}",
        "# without CAP_SYS_RESOURCE nobody may lower an OOM score: keep what the process has",
        "restrict_oom_score_adj = true",
        "tolerate_missing_hugetlb_controller = true",
        "netns_mounts_under_state_dir = true",
        "disable_apparmor = " + ("false" if Path("/sys/kernel/security/apparmor").exists() else "true"),
        'stream_server_address = "127.0.0.1"',
        'stream_server_port = "0"',
        f"{cri}.cni]",
        f"bin_dir = {quote(str(settings.cni_bin_dir))}",
        f"conf_dir = {quote(str(settings.cni_conf_dir))}",
        f"{cri}.containerd]",
        f"snapshotter = {quote(snapshotter)}",
        f"{cri}.containerd.runtimes.runc]",
        'runtime_type = "io.containerd.runc.v2"',
        f"{cri}.containerd.runtimes.runc.options]",
        f"Root = {quote(str(settings.directory / 'runc'))}",
        f"{cri}.registry]",
        f"config_path = {quote(str(settings.directory / 'certs.d'))}",
    ]
    return "\n".join(lines) + "\n"


class Containerd:
    """The private containerd as a process of this machine."""

    def __init__(self, settings: ContainerdSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it, or adopts the one that runs here already; returns once CRI answers.

        Raises :class:`ServiceUnavailable` with the end of its log when it does not come up.
        """
        if lacking := missing(self.settings):
            raise ServiceUnavailable("containers cannot run here; missing: " + "; ".join(lacking))
        if self.running_pid() is None:
            self._spawn()
        deadline = time.monotonic() + self.settings.start_timeout
        while not await self.healthy():
            if self._process is not None and self._process.poll() is not None:
                raise ServiceUnavailable(f"containerd ended at once:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"containerd gave no answer on {self.settings.socket} in {self.settings.start_timeout:.0f} s:\n"
                    + self._log_end()
                )
            await asyncio.sleep(0.05)

    async def run(self) -> None:
        """Keeps it running until cancelled: an ended containerd is started again, ever more slowly."""
        delay = 0.5
        while True:
            await asyncio.sleep(1.0)
            if self.running_pid() is not None:
                delay = 0.5
                continue
            log.warning("containerd has ended; starting it again", extra={"log": str(self.settings.log_file)})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 30.0)
            try:
                await self.start()
            except ServiceUnavailable as error:
                log.error("containerd does not come up: %s", error.message)

    async def healthy(self) -> bool:
        """Whether CRI answers on its socket."""
        from sublet.node.cri import CRI

        if not self.settings.socket.exists():
            return False
        cri = CRI(str(self.settings.socket))
        try:
            await cri.status(timeout=2.0)
        except StatusError:
            return False
        finally:
            await cri.close()
        return True

    def running_pid(self) -> int | None:
        """The process id of the containerd of this directory, ours or an earlier one's."""
        if self._process is not None:
            if self._process.poll() is None:
                return self._process.pid
            self._process = None
        try:
            pid = int(self.settings.pid_file.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if str(self.settings.config_file).encode() in arguments and state != "Z" else None

    async def stop(self, timeout: float = 20.0) -> None:
        """Ends the daemon; containers go on running under their shims."""
        pid = self.running_pid()
        if pid is None:
            return
        leftovers.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.running_pid() is not None:
            if time.monotonic() > deadline:
                leftovers.kill(pid, signal.SIGKILL)
                deadline += timeout
            await asyncio.sleep(0.02)
        self.settings.pid_file.unlink(missing_ok=True)

    async def import_image(self, archive: Path) -> None:
        """Imports a docker or OCI archive into CRI's namespace and unpacks it."""
        from sublet.machine.images import import_archive

        await import_archive(self.settings.socket, archive, self.settings.snapshotter_in_use())

    def _spawn(self) -> None:
        settings = self.settings
        for directory in (settings.directory, settings.cni_conf_dir, settings.directory / "certs.d"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._write_mirrors()
        snapshotter = settings.snapshotter_in_use()
        settings.config_file.write_text(configuration(settings, snapshotter))
        settings.socket.unlink(missing_ok=True)
        with settings.log_file.open("ab") as output:
            # A session of its own: neither our terminal's Ctrl-C nor our death reaches it.
            self._process = subprocess.Popen(
                [settings.binary, "--config", str(settings.config_file), "--log-level", "warn"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, "TMPDIR": str(settings.directory)},
            )  # fmt: skip
        settings.pid_file.write_text(str(self._process.pid))

    def _write_mirrors(self) -> None:
        for host, mirror in self.settings.registry_mirrors.items():
            directory = self.settings.directory / "certs.d" / host
            directory.mkdir(parents=True, exist_ok=True)
            server = "https://registry-1.docker.io" if host == "docker.io" else f"https://{host}"
            text = f'server = "{server}"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n'
            (directory / "hosts.toml").write_text(text)

    def _log_end(self, size: int = 2000) -> str:
        try:
            return self.settings.log_file.read_bytes()[-size:].decode(errors="replace")
        except OSError as error:
            return f"(no log: {error.strerror})"

    async def teardown(self) -> None:
        """Removes everything: pods, the daemon, shims, mounts, cgroups, namespaces and the directory."""
        settings = self.settings
        if settings.directory.exists():
            try:
                await self.start()
                await self._remove_pods()
            except ServiceUnavailable as error:
                log.warning("removing without containerd's help: %s", error.message)
        await self.stop()
        await leftovers.remove_processes(settings.socket, settings.cgroup_root)
        leftovers.unmount_below(settings.directory)
        leftovers.remove_cgroups(settings.cgroup_root)
        shutil.rmtree(settings.directory, ignore_errors=True)
        leftovers.remove_empty_shim_directories()

    async def _remove_pods(self) -> None:
        from sublet.node.cri import CRI

        cri = CRI(str(self.settings.socket))
        try:
            for sandbox in await cri.sandboxes():
                await cri.stop_sandbox(sandbox.id)
                await cri.remove_sandbox(sandbox.id)
        finally:
            await cri.close()
