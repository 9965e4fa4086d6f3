"""A machine as a node: containerd, pod network, node agent, service proxy, volumes and, on one node, DNS.

``python -m sublet.machine.join FILE`` runs one with the settings of a JSON file, under a supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.dns.server import DNSServer, DNSSettings
from sublet.kinds.resources import resource
from sublet.machine import addons
from sublet.machine.containerd import Containerd, missing
from sublet.machine.images import base_images
from sublet.machine.names import DEFAULT_DIRECTORY, NodePlaces
from sublet.machine.network import NetworkWorker, allow_loopback_sources
from sublet.machine.processes import write_whole
from sublet.machine.provisioner import Provisioner, ProvisionerSettings
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import BadRequest, ServiceUnavailable, StatusError
from sublet.netproxy.nft import NFT
from sublet.netproxy.proxy import NetProxy
from sublet.netproxy.rules import ProxySettings
from sublet.node import joining

log = logging.getLogger(__name__)

_DNS_PORT = 1053
_STATUS_PERIOD = 2.0
"""Seconds: a node is not ready before it has a pod network, which comes right after it has registered."""
_RETRY_FIRST, _RETRY_LAST = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class JoinMachineSettings:
    """What a machine is told to join with."""

    server: str
    """``https://HOST:PORT`` of the control plane."""
    token: str
    """Bootstrap token; not needed again once the node has its certificate."""
    ca_cert_hash: str = ""
    """``sha256:…``; this or ``ca_file`` says whom to trust."""
    ca_file: Path | None = None
    data_dir: Path = DEFAULT_DIRECTORY
    node_name: str = ""
    """Empty: the host name."""
    node_ip: str = ""
    """Empty: the address by which this machine reaches the control plane."""
    cluster_dns: str = ""
    """Empty: what the cluster says."""
    agent_port: int = 10250
    dns: bool = False
    """Whether this node serves the cluster's DNS."""
    version: str = "v1.36.0"

    @property
    def name(self) -> str:
        return self.node_name or socket.gethostname().lower()

    @property
    def places(self) -> NodePlaces:
        return NodePlaces(self.data_dir)


def lacking(settings: JoinMachineSettings) -> list[str]:
    """Everything this machine lacks to be a node, each with the way out."""
    return [*missing(settings.places.containerd), *NFT().missing()]


async def run_node(settings: JoinMachineSettings) -> None:
    """Joins and works until cancelled; containers run on afterwards.

    Raises :class:`StatusError` saying what to do when the machine or the token does not serve.
    """
    if found := lacking(settings):
        raise ServiceUnavailable("this machine cannot be a node yet; missing: " + "; ".join(found))
    await _Node(settings).run()


class _Node:
    def __init__(self, settings: JoinMachineSettings) -> None:
        self.settings = settings
        self.places = settings.places
        self.containerd = Containerd(self.places.containerd)
        self._proxy_ready, self._dns_ready = asyncio.Event(), asyncio.Event()
        self._agent_started = asyncio.Event()

    async def run(self) -> None:
        from sublet.node.join import credentials

        self.places.ready_file.unlink(missing_ok=True)
        self.places.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        join = self._join_settings()
        # First who it is: a machine that is refused starts nothing.
        access = await credentials(join, SystemClock())
        await self._start_containerd()
        async with self._client() as client:
            network = await _patiently("the cluster's network", lambda: joining.read_network(client))
        worker = NetworkWorker(self.places, self._node_ip(), network.pod_cidrs[0])
        await _all(
            self.containerd.run(),
            self._agent(join, access.ca_data, network, worker),
            self._companions(network, worker),
            self._announce(worker),
        )

    async def _announce(self, worker: NetworkWorker) -> None:
        """Says once that pods can run, reach Services and resolve names, and that the API tells how they are."""
        await worker.ready.wait()
        await self._agent_started.wait()
        await self._proxy_ready.wait()
        allow_loopback_sources(self.places.bridge)
        if self.settings.dns:
            await self._dns_ready.wait()
        write_whole(self.places.ready_file, str(os.getpid()))
        await asyncio.Event().wait()

    def _node_ip(self) -> str:
        return self.settings.node_ip or own_address(self.settings.server)

    async def _start_containerd(self) -> None:
        await self.containerd.start()
        await import_base_images(self.containerd)

    def _join_settings(self) -> Any:
        from sublet.node.join import JoinSettings

        settings = self.settings
        ca_data = b""
        if settings.ca_file is not None:
            try:
                ca_data = settings.ca_file.read_bytes()
            except OSError as error:
                raise BadRequest(
                    f"the authority {settings.ca_file} cannot be read: {error.strerror}"
                ) from None
        return JoinSettings(
            server=settings.server.rstrip("/"),
            token=settings.token,
            node_name=settings.name,
            data_dir=settings.data_dir,
            ca_data=ca_data,
            ca_hashes=(settings.ca_cert_hash,) if settings.ca_cert_hash else (),
        )

    async def _agent(
        self, join: Any, client_ca: bytes, network: joining.ClusterNetwork, worker: NetworkWorker
    ) -> None:
        from sublet.node.join import run_joined
        from sublet.node.settings import NodeSettings

        settings = self.settings
        await run_joined(
            join,
            NodeSettings(
                node_name=settings.name,
                data_dir=settings.data_dir,
                cri_socket=str(self.places.containerd.socket),
                node_ip=self._node_ip(),
                cluster_dns=(settings.cluster_dns or network.cluster_dns,),
                cluster_domain=network.cluster_domain,
                client_ca=client_ca,
                port=settings.agent_port,
                cgroup_root=self.places.cgroup_root,
                registry_may_be_absent=True,
                status_period=_STATUS_PERIOD,
                version=settings.version,
            ),
            on_pod_range=worker.set_range,
            on_started=self._agent_started.set,
        )

    async def _companions(self, network: joining.ClusterNetwork, worker: NetworkWorker) -> None:
        """Everything beside the agent that works on the API as this node."""
        proxy = ProxySettings(
            self.places.cluster, self.settings.name, network.pod_cidrs, pod_bridge=self.places.bridge
        )
        provisioner = ProvisionerSettings(self.settings.name, self.places.volumes)
        works: list[Coroutine[Any, Any, None]] = [
            self._keep("pod network", worker.run),
            self._keep("service proxy", lambda client: self._proxy(client, proxy)),
            self._keep("local-path provisioner", lambda client: Provisioner(client, provisioner).run()),
        ]
        if self.settings.dns:
            works.append(self._keep("DNS", lambda client: self._dns(client, network, worker)))
        await _all(*works)

    async def _keep(self, what: str, work: Callable[[Client], Awaitable[None]]) -> None:
        """Runs a worker; one that fails starts again, one whose certificate was renewed gets the new one."""
        delay = _RETRY_FIRST
        while True:
            async with self._client() as client:
                working = asyncio.ensure_future(work(client))
                renewed = asyncio.create_task(self._renewed())
                try:
                    await asyncio.wait((working, renewed), return_when=asyncio.FIRST_COMPLETED)
                    if working.done():
                        working.result()
                except Exception:
                    log.exception("the %s failed and starts again in %.0f s", what, delay)
                finally:
                    for task in (working, renewed):
                        task.cancel()
                    await asyncio.gather(working, renewed, return_exceptions=True)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_LAST)

    async def _renewed(self) -> None:
        path = self._join_settings().kubeconfig
        before = path.stat().st_mtime
        while True:
            await asyncio.sleep(600)
            if path.stat().st_mtime != before:
                return

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        client = Client(HTTPTransport(kubeconfig.load(self._join_settings().kubeconfig)), "sublet-machine")
        try:
            yield client
        finally:
            await client.close()

    async def _proxy(self, client: Client, settings: ProxySettings) -> None:
        proxy = NetProxy(client, settings)
        telling = asyncio.create_task(_pass_on(proxy.ready, self._proxy_ready))
        try:
            await proxy.run()
        finally:
            telling.cancel()

    async def _dns(self, client: Client, network: joining.ClusterNetwork, worker: NetworkWorker) -> None:
        await worker.ready.wait()
        server = await _dns_server(client, worker.gateway, network.cluster_domain)
        try:
            await addons.publish_dns(client, self.settings.name, worker.gateway, server.port)
            self._dns_ready.set()
            await asyncio.Event().wait()
        finally:
            await server.stop()


async def _dns_server(client: Client, host: str, domain: str) -> DNSServer:
    """On the usual port of the pod network's own address, or on any, should someone have taken it."""
    for port in (_DNS_PORT, 0):
        server = DNSServer(client, DNSSettings(host=host, port=port, domain=domain))
        try:
            await server.start()
        except OSError:
            await server.stop()
        else:
            return server
    raise ServiceUnavailable(f"the cluster's DNS cannot listen on {host}")


async def _pass_on(source: asyncio.Event, target: asyncio.Event) -> None:
    await source.wait()
    target.set()


async def import_base_images(containerd: Containerd) -> None:
    """Makes pause and busybox available where no registry answers; once for each content."""
    archive = await asyncio.to_thread(base_images)
    directory = containerd.settings.directory
    marker = directory / f"base-images-{hashlib.sha256(archive).hexdigest()[:12]}"
    if marker.exists():
        return
    path = directory / "base-images.tar"
    await asyncio.to_thread(path.write_bytes, archive)
    try:
        await containerd.import_image(path)
    finally:
        path.unlink(missing_ok=True)
    marker.touch()


def own_address(server: str = "") -> str:
    """The address this machine uses to reach a server, else any network. Raises :class:`ServiceUnavailable`."""
    from urllib.parse import urlsplit

    for host in (urlsplit(server).hostname or "", "192.0.2.1"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            found = str(probe.getsockname()[0])
            if not found.startswith(("127.", "0.")):
                return found
    raise ServiceUnavailable("this machine has no network address; name one with --node-ip")


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """Runs all until one fails or ends; ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _patiently(what: str, ask: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await ask()
        except StatusError as error:
            log.info("waiting for %s: %s", what, error.message)
        await asyncio.sleep(0.5)


# -- as a process of its own --

_PATHS = ("ca_file", "data_dir")


def write_settings(path: Path, settings: JoinMachineSettings) -> None:
    """For the process ``python -m sublet.machine.join``; only for its owner, as it holds the token."""
    fields = {name: getattr(settings, name) for name in JoinMachineSettings.__slots__}
    text = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    write_whole(path, json.dumps(text, indent=1))


def read_settings(path: Path) -> JoinMachineSettings:
    """Raises :class:`BadRequest` for a file that holds none."""
    try:
        fields = json.loads(path.read_text())
        paths = {name: Path(fields[name]) for name in _PATHS if fields.get(name)}
        return JoinMachineSettings(**{**fields, **paths})
    except (OSError, ValueError, TypeError) as error:
        raise BadRequest(f"{path} holds no settings of a node: {error}") from None


async def node_exists(client: Client, name: str) -> bool:
    """Whether a node of this name is ready in the cluster."""
    found = await client.list(resource("nodes"), field_selector=f"metadata.name={name}")
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for node in found["items"]
        for condition in (node.get("status") or {}).get("conditions") or ()
    )


async def _until_terminated(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print("usage: python -m sublet.machine.join FILE", file=sys.stderr)
        return 2
    level = os.environ.get("SUBLET_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_until_terminated(run_node(read_settings(Path(given[0])))))
    except StatusError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
