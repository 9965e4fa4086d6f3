"""Tenants whose control planes are processes of this machine, with their workloads on any host cluster.

For hosts whose nodes cannot run sublet's image: hollow nodes, and machines without root or containerd.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sublet import __version__
from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess
from sublet.controlplane.config import Configuration
from sublet.kinds.resources import resource
from sublet.machine import supervision
from sublet.machine.processes import Program
from sublet.machinery.status import StatusError
from sublet.tenants.kubernetes import Progress, Tenant, Tenants
from sublet.tenants.manifests import TenantError, check_name

_PROGRAM = "control-plane"


@dataclass(frozen=True)
class _Record:
    """What is remembered of a tenant; written before its process starts."""

    name: str
    namespace: str
    context: str
    """Of the host in the user's kubeconfig."""
    port: int
    created: float


class LocalTenants:
    """The tenants below one directory of this machine, for one host context."""

    def __init__(self, directory: Path, context: str) -> None:
        self._directory = directory
        self._context = context

    def _home(self, name: str) -> Path:
        return self._directory / name

    def _record(self, name: str) -> _Record | None:
        try:
            return _Record(**json.loads((self._home(name) / "tenant.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def list(self) -> list[Tenant]:
        """Those of this host context."""
        found = []
        for path in sorted(self._directory.glob("*/tenant.json")):
            record = self._record(path.parent.name)
            if record is not None and record.context == self._context:
                found.append(self._tenant(record))
        return found

    def _tenant(self, record: _Record) -> Tenant:
        running = any(
            program.name == _PROGRAM and program.pid is not None
            for program in supervision.status(self._home(record.name) / "run")
        )
        return Tenant(
            name=record.name,
            namespace=record.namespace,
            status="Running" if running else "Stopped",
            version=__version__,
            created=record.created,
            image="",
            driver="local",
        )

    async def create(
        self,
        name: str,
        namespace: str,
        configuration: Configuration,
        config_yaml: str,
        host: ClusterAccess,
        tenants: Tenants,
        *,
        timeout: float = 60.0,
        progress: Progress = lambda _step: None,
    ) -> None:
        """Prepares the namespace on the host and starts the process; safe to repeat (a stopped one starts again)."""
        check_name(name)
        record = self._record(name)
        if record is not None and record.context != self._context:
            raise TenantError(
                f"this machine already runs a tenant {name} for the host context {record.context}"
            )
        await tenants.prepare(name, namespace, configuration, config_yaml, image="", progress=progress)
        home = self._home(name)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = record or _Record(name, namespace, self._context, _free_port(), time.time())
        kubeconfig.write(home / "host.yaml", host, "host")
        (home / "config.yaml").write_text(config_yaml)
        (home / "tenant.json").write_text(json.dumps(record.__dict__))
        progress("starting the control plane as a process of this machine")
        self._start(record)
        await self._wait_ready(record, timeout)

    def _start(self, record: _Record) -> None:
        home = self._home(record.name)
        command = (
            sys.executable, "-m", "sublet.cli.main", "run",
            "--data-dir", str(home / "data"), "--config", str(home / "config.yaml"),
            "--host", "127.0.0.1", "--port", str(record.port),
            "--tenant", record.name, "--namespace", record.namespace, "--host-kubeconfig", str(home / "host.yaml"),
        )  # fmt: skip
        supervision.supervise(home / "run", [Program(_PROGRAM, command)])

    def resume(self, name: str) -> None:
        """Starts the process of a stopped tenant again."""
        record = self._record(name)
        if record is None:
            raise TenantError(f"this machine has no tenant {name}")
        self._start(record)

    def access(self, name: str) -> ClusterAccess:
        path = self._home(name) / "data" / "kubeconfig.yaml"
        if not path.exists():
            raise TenantError(
                f"tenant {name} has not written its kubeconfig yet; its log is {self.log_path(name)}"
            )
        return kubeconfig.load(path)

    def configuration(self, name: str) -> str:
        return (self._home(name) / "config.yaml").read_text()

    def log_path(self, name: str) -> Path:
        return self._home(name) / "run" / f"{_PROGRAM}.log"

    async def _wait_ready(self, record: _Record, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(TenantError, StatusError, OSError):
                transport = HTTPTransport(self.access(record.name), request_seconds=3, connect_seconds=1)
                try:
                    await Client(transport).get(resource("namespaces"), "default")
                    return
                finally:
                    await transport.close()
            if time.monotonic() > deadline:
                log = self.log_path(record.name)
                end = log.read_text()[-1500:] if log.exists() else ""
                raise TenantError(
                    f"the control plane of {record.name} does not become ready; {log} ends:\n{end}"
                )
            await asyncio.sleep(0.1)

    async def delete(self, name: str) -> None:
        """Ends the process and removes its files; what it had on the host is ``Tenants.delete``'s."""
        await supervision.stop(self._home(name) / "run")
        shutil.rmtree(self._home(name), ignore_errors=True)

    async def stop_all(self) -> None:
        """Ends every process, keeping the data."""
        for path in self._directory.glob("*/run"):
            await supervision.stop(path)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
