"""Reaching a tenant's API from where the user is, and the kubeconfig context that stands for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess
from sublet.client.portforward import PortForwarder
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound, ServiceUnavailable, StatusError
from sublet.tenants.kubernetes import Tenant, Tenants
from sublet.tenants.manifests import TenantError, TenantNames

CONTEXT_PREFIX = "sublet"
_PROBE_SECONDS = 1.0
_PROXY_SECONDS = 20.0


def context_name(tenant: str, namespace: str, parent: str) -> str:
    """``sublet_NAME_NAMESPACE_PARENT``; the parent may itself be a tenant's context (nesting)."""
    return f"{CONTEXT_PREFIX}_{tenant}_{namespace}_{parent}"


def parse_context(name: str) -> tuple[str, str, str] | None:
    """(tenant, namespace, parent) of a tenant's context; None for any other."""
    parts = name.split("_", 3)
    if len(parts) != 4 or parts[0] != CONTEXT_PREFIX:
        return None
    return parts[1], parts[2], parts[3]


def home() -> Path:
    """Where this user's tenants and background proxies are noted: $SUBLET_HOME, else ``~/.sublet``."""
    return Path(os.environ.get("SUBLET_HOME") or Path.home() / ".sublet")


def state_directory() -> Path:
    """Where running background proxies are noted."""
    return home() / "connections"


@dataclass(frozen=True)
class Endpoint:
    """How the tenant's API is reached."""

    access: ClusterAccess
    how: str
    """For people: ``directly``, ``through its load balancer``, ``through a background proxy``."""


async def find_endpoint(
    tenants: Tenants,
    tenant: Tenant,
    parent_context: str,
    kubeconfig: str | None,
    local_port: int = 0,
    background_proxy: bool | None = None,
) -> Endpoint:
    """The best way that works from here: load balancer, straight to the Service, else a background proxy.

    ``background_proxy`` True: always through one; False: never. Raises :class:`TenantError`.
    """
    access = await tenants.access(tenant)
    servers = [] if background_proxy else _direct_servers(await tenants.service(tenant))
    for server, how in servers:
        candidate = replace(access, server=server)
        if await answers(candidate):
            return Endpoint(candidate, how)
    if background_proxy is False:
        tried = ", ".join(server for server, _how in servers) or "nothing: its Service has no address"
        raise TenantError(
            f"the API of tenant {tenant.name} does not answer directly (tried {tried}); "
            "leave out --no-background-proxy, or give the way to it with --server"
        )
    proxy = BackgroundProxy(context_name(tenant.name, tenant.namespace, parent_context))
    port = await proxy.ensure(tenant, parent_context, kubeconfig, local_port)
    candidate = replace(access, server=f"https://localhost:{port}")
    await _wait_answers(candidate, proxy)
    return Endpoint(candidate, f"through a background proxy on port {port}")


def _direct_servers(service: Object) -> list[tuple[str, str]]:
    servers = []
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        address = ingress.get("ip") or ingress.get("hostname")
        if address:
            servers.append((f"https://{_bracketed(address)}:443", "through its load balancer"))
    address = (service.get("spec") or {}).get("clusterIP")
    if address and address != "None":
        servers.append((f"https://{_bracketed(address)}:443", "directly"))
    return servers


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def answers(access: ClusterAccess) -> bool:
    """Whether the API behind ``access`` takes its credentials, within a second."""
    transport = HTTPTransport(access, connect_seconds=_PROBE_SECONDS, request_seconds=_PROBE_SECONDS * 3)
    try:
        async with asyncio.timeout(_PROBE_SECONDS * 3):
            await Client(transport).get(resource("namespaces"), "default")
    except (StatusError, OSError, TimeoutError):
        return False
    finally:
        await transport.close()
    return True


async def _wait_answers(access: ClusterAccess, proxy: BackgroundProxy) -> None:
    deadline = time.monotonic() + _PROXY_SECONDS
    while not await answers(access):
        if not proxy.alive():
            raise TenantError(f"the background proxy ended; its log is {proxy.log_path}")
        if time.monotonic() > deadline:
            raise TenantError(
                f"the tenant's API does not answer through the proxy at {access.server}; "
                f"the proxy's log is {proxy.log_path}"
            )
        await asyncio.sleep(0.2)


class BackgroundProxy:
    """A detached ``sublet port-forward``: noted in a file, found again, replaced when it died."""

    def __init__(self, context: str) -> None:
        self._base = state_directory() / context
        self.log_path = self._base.with_name(self._base.name + ".log")
        self._note_path = self._base.with_name(self._base.name + ".json")

    def alive(self) -> bool:
        note = self._note()
        return note is not None and _is_process(note["pid"], note["started"])

    def _note(self) -> dict[str, int] | None:
        try:
            found = json.loads(self._note_path.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and {"pid", "started", "port"} <= set(found) else None

    async def ensure(self, tenant: Tenant, parent: str, kubeconfig: str | None, local_port: int) -> int:
        """The local port of a running proxy; starts one on the port it had before, else on any free one."""
        note = self._note()
        if note is not None and self.alive() and local_port in (0, note["port"]):
            return int(note["port"])
        self.stop()
        port = local_port or (int(note["port"]) if note else 0)
        return await self._start(tenant, parent, kubeconfig, port)

    async def _start(self, tenant: Tenant, parent: str, kubeconfig: str | None, port: int) -> int:
        self._base.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        announced = self._base.with_name(self._base.name + ".port")
        announced.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "sublet.cli.main", "port-forward", tenant.name, "--namespace", tenant.namespace,
            "--context", parent, "--local-port", str(port), "--announce", str(announced),
            *(["--kubeconfig", kubeconfig] if kubeconfig else []),
        ]  # fmt: skip
        with self.log_path.open("w") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _PROXY_SECONDS
        while not announced.exists():
            if process.poll() is not None:
                if port:  # the port of before is taken by something else now
                    return await self._start(tenant, parent, kubeconfig, 0)
                raise TenantError(f"the background proxy did not start: {self.log_path.read_text().strip()}")
            if time.monotonic() > deadline:
                process.kill()
                raise TenantError(f"the background proxy did not start; its log is {self.log_path}")
            await asyncio.sleep(0.05)
        actual = int(announced.read_text())
        announced.unlink(missing_ok=True)
        note = {"pid": process.pid, "started": _started(process.pid), "port": actual}
        self._note_path.write_text(json.dumps(note))
        return actual

    def stop(self) -> None:
        """Ends the proxy if it runs, and forgets it."""
        note = self._note()
        if note is not None and _is_process(note["pid"], note["started"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(note["pid"], signal.SIGTERM)
        for path in (self._note_path, self.log_path):
            path.unlink(missing_ok=True)


def _started(pid: int) -> int:
    """The start time of a process in clock ticks since boot: with the pid it names one process for ever.

    0 for one that has ended, also when nobody has asked for its exit code yet.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def _is_process(pid: int, started: int) -> bool:
    return started != 0 and _started(pid) == started


def forwarder(client: Client, access: ClusterAccess, tenant: Tenant, port: int = 8443) -> PortForwarder:
    """Forwards local connections to the tenant's control-plane pod, found anew for each."""

    async def find_pod() -> tuple[str, str]:
        selector = ",".join(f"{k}={v}" for k, v in TenantNames(tenant.name).selector.items())
        found = await client.list(resource("pods"), tenant.namespace, label_selector=selector)
        for pod in found["items"]:
            if objects.is_true(pod, "Ready") and not objects.is_deleting(pod):
                return tenant.namespace, objects.name(pod)
        raise ServiceUnavailable(f"no pod of tenant {tenant.name} is ready")

    return PortForwarder(access, find_pod, port)


async def wait_running(
    tenants: Tenants, name: str, namespace: str, timeout: float, progress: Callable[[str], None]
) -> Tenant:
    """The tenant once it is running. Raises :class:`TenantError` when it is scaled down or does not come up."""
    deadline = time.monotonic() + timeout
    said = False
    while True:
        tenant = await tenants.find(name, namespace)
        if tenant.status == "Running":
            return tenant
        if tenant.status == "ScaledDown":
            raise TenantError(
                f"tenant {name} is scaled down to zero replicas; "
                f"kubectl -n {tenant.namespace} scale statefulset {name} --replicas=1 brings it back"
            )
        if time.monotonic() > deadline:
            raise TenantError(f"tenant {name} is not running after {timeout:.0f} s (status {tenant.status})")
        if not said:
            progress(f"waiting for {name} (status {tenant.status})")
            said = True
        with contextlib.suppress(NotFound):
            await asyncio.sleep(0.3)
