"""A standalone host cluster of its own, the real commands on it, and all that it leaves on the machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sublet.machine import leftovers, standalone
from sublet.machine.join import lacking
from sublet.machine.standalone import StandaloneSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LACKING = "; ".join(lacking(standalone._join_settings(StandaloneSettings(Path("/tmp/x")))))
MARKS = [
    pytest.mark.containers,
    pytest.mark.skipif(bool(LACKING), reason=f"real containers need: {LACKING}"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl"),
    pytest.mark.timeout(240),
]
_PASSING = frozenset({"events", "events.events.k8s.io", "leases.coordination.k8s.io"})
"""What comes and goes by itself on a cluster at rest."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CommandFailed(AssertionError):
    pass


class Ran:
    """What a command printed, and its exit code."""

    def __init__(self, command: tuple[str, ...], code: int, out: str, err: str) -> None:
        self.command, self.code, self.out, self.err = command, code, out, err

    def ok(self) -> str:
        if self.code:
            raise CommandFailed(f"{' '.join(self.command)}: exit code {self.code}\n{self.out}{self.err}")
        return self.out


def until(check: Callable[[], Any], seconds: float = 30, what: str = "") -> Any:
    """Asks until the answer is true; gives it."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


class Surroundings:
    """A home, a kubeconfig and a PATH of their own for every command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig.yaml"
        for name in ("home", "sublet"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.environment = {
            "HOME": str(directory / "home"),
            "SUBLET_HOME": str(directory / "sublet"),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
        }

    def run(self, *command: str, given: str = "", timeout: float = 90, **environment: str) -> Ran:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=timeout, check=False,
            env={**self.environment, **environment}, cwd=self.directory,
        )  # fmt: skip
        return Ran(command, done.returncode, done.stdout, done.stderr)

    def sublet(self, *arguments: str, **rest: Any) -> Ran:
        return self.run("sublet", *arguments, **rest)

    def kubectl(self, *arguments: str, **rest: Any) -> str:
        return self.run("kubectl", *arguments, **rest).ok()


class Cluster:
    """One cluster by its kubeconfig: the host, or a tenant on it."""

    def __init__(self, around: Surroundings, kubeconfig: Path, namespace: str = "default") -> None:
        self.around = around
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def run(self, *arguments: str, binary: str = "kubectl", **rest: Any) -> Ran:
        whole = (binary, "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *arguments)
        return self.around.run(*whole, **rest)

    def kubectl(self, *arguments: str, **rest: Any) -> str:
        return self.run(*arguments, **rest).ok()

    def items(self, kinds: str, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kinds, *arguments, "-o", "json"))[
            "items"
        ]
        return found

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def everything(self) -> dict[tuple[str, str, str], str]:
        """(kind, namespace, name) -> uid of all that can be listed."""
        kinds = self.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        wanted = [kind for kind in kinds if kind not in _PASSING]
        return {
            (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]): item["metadata"]["uid"]
            for item in self.items(",".join(wanted), "-A")
            if item["metadata"].get("uid")  # componentstatuses have none
        }  # fmt: skip


class TenantsHost(Surroundings):
    """The host cluster: ``sublet standalone up`` with containers and sublet's own image."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        number = os.getpid() % 60
        self.data_dir = directory / "d"
        self.settings = StandaloneSettings(self.data_dir)
        self.arguments = (
            "--mode", "containers", "--port", str(free_port()), "--agent-port", str(free_port()),
            "--node-name", "host-node", "--pod-cidr", f"10.{150 + number % 50}.0.0/16",
            "--service-cidr", f"10.{200 + number % 50}.0.0/16",
        )  # fmt: skip
        self._seen: set[str] = set()

    @property
    def host(self) -> Cluster:
        return Cluster(self, self.settings.kubeconfig)

    def up(self) -> None:
        self.sublet("standalone", "up", "--data-dir", str(self.data_dir), *self.arguments, timeout=200).ok()
        self.use_host()

    def use_host(self) -> None:
        """A fresh kubeconfig whose only context is the host's."""
        shutil.copy(self.settings.kubeconfig, self.kubeconfig)

    def clean(self) -> None:
        self.sublet("standalone", "clean", "--data-dir", str(self.data_dir)).ok()

    def connected(self, name: str) -> Cluster:
        """The tenant through a kubeconfig of its own."""
        path = self.directory / f"{name}.yaml"
        path.write_text(self.sublet("connect", name, "--print").ok())
        path.chmod(0o600)
        return Cluster(self, path)

    def shell(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout

    def note_names(self) -> None:
        """Remembers what only the running cluster can tell is its own: network namespaces and links."""
        for file in self.data_dir.glob(
            "node/containerd/state/io.containerd.runtime.v2.task/k8s.io/*/config.json"
        ):
            self._seen.update(re.findall(r"/netns/(cni-[0-9a-f-]+)", file.read_text()))
        links = self.shell("ip", "-o", "link", "show", "master", self.settings.places.bridge)
        self._seen.update(re.findall(r"(veth[0-9a-f]+)", links))

    def traces(self) -> list[str]:
        """Everything on this machine that bears the cluster's names."""
        places, here = self.settings.places, str(self.directory)
        links = self.shell("ip", "-o", "link").splitlines()
        found = [line for line in links if places.bridge in line]
        found += [f"seen: {name}" for name in self._seen if any(name in line for line in links)]
        found += [f"netns {p.name}" for p in Path("/run/netns").glob("*") if p.name in self._seen]
        found += [line for line in self.shell("nft", "list", "tables").splitlines() if places.suffix in line]
        found += [line for line in self.shell("iptables-save").splitlines() if places.bridge in line]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if here in line]
        found += map(str, leftovers.cgroup_directories(places.cgroup_root))
        found += map(str, Path("/var/lib/cni/results").glob(f"{places.bridge}-*"))
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if here.encode() in entry.read_bytes():
                    found.append(f"{entry}: {entry.read_bytes()!r}")
            except OSError:
                continue
        return found

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def tenants_host_cluster() -> Iterator[TenantsHost]:
    directory = Path(tempfile.mkdtemp(prefix="th-", dir="/tmp"))
    made = TenantsHost(directory)
    try:
        made.up()
        yield made
    finally:
        made.clean()
        made.remove()


class CutConnection:
    """A TCP way to a server that goes away after so many bytes from the client, for good until mended."""

    def __init__(self, port: int, after: int) -> None:
        self._target = port
        self._left = after
        self._whole = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            if self.cut and not self._whole.is_set():
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, target, counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=(source, target, counted), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(65536):
                if counted and not self._whole.is_set():
                    self._left -= len(data)
                    if self._left < 0:
                        self.cut = True
                        break
                target.sendall(data)
        except OSError:
            pass  # the other direction ended it
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
