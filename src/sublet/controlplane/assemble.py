"""Puts one control plane together: store, API server, controllers, scheduler; the syncer where it has a host.

This is the only place that knows all rooms. Workers get in-process clients that act as their own ServiceAccounts.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from sublet.apiserver import metricsources
from sublet.apiserver.api import APIServer
from sublet.apiserver.authentication.build import AuthenticationSettings
from sublet.apiserver.authentication.x509 import ProxyHeaders
from sublet.apiserver.handlers.health import handle as answer_health
from sublet.apiserver.health import ENDPOINTS
from sublet.apiserver.requestinfo import parse
from sublet.apiserver.server import HTTPServer, TLSChoice, tls_context
from sublet.apiserver.settings import APIServerSettings
from sublet.apiserver.shutdown import ShuttingDown
from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.exchange import Application, Request, Response, User
from sublet.client.kubeconfig import ClusterAccess, KubeconfigError
from sublet.client.podstreams import PodStreams
from sublet.controlplane import addresses
from sublet.controlplane.config import DEFAULT_MINOR
from sublet.controlplane.controlling import Controlling
from sublet.machinery import codec
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable
from sublet.pki.controlplane import ControlPlanePKI, open_control_plane
from sublet.pki.files import PKIError
from sublet.pki.rotation import Rotation
from sublet.store.interface import Store
from sublet.store.open import open_store

if TYPE_CHECKING:
    import ssl

    from sublet.apiserver.servingcerts import ServingCertificates, ServingFiles
    from sublet.scheduler.configuration import SchedulerSettings

logger = logging.getLogger(__name__)

SANS = (
    "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    "localhost", "127.0.0.1", "::1",
)  # fmt: skip
KUBECONFIG = "kubeconfig.yaml"
_STORE = "state.db"
SERVICE_CIDR = "10.96.0.0/16"
"""Where ClusterIPs come from, unless it is said."""
_STARTING_SECONDS = 1.0
_ANSWERED_SECONDS = 2.0
"""For the answers of a server whose requests have all been answered, or of one that never served."""


class Worker(Protocol):
    """Something that works on the API beside the controllers: syncer, DNS."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Shutdown(Struct, frozen=True):
    """How the server goes, once it is asked to. ``/readyz`` fails from the first moment."""

    delay: float = 0.0
    """Seconds it goes on serving as before, so that clients find out and go elsewhere."""
    retry_after: bool = False
    """Whether it then goes on listening, and tells whoever comes to come again, until no request is owed its answer."""
    watches: float = 0.0
    """Seconds over which watches are ended; 0: all at once."""


class Assembly(Struct, frozen=True):
    """What one control plane is made of."""

    data_dir: Path
    """Holds certificates, the embedded store and ``kubeconfig.yaml``."""
    store_url: str = ""
    """Empty: SQLite in the data directory."""
    minor: str = DEFAULT_MINOR
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one."""
    sans: Sequence[str] = ()
    """Further names and addresses of the serving certificate."""
    advertise_address: str = "127.0.0.1"
    service_cidr: str = SERVICE_CIDR
    pod_cidr: str = ""
    """From which every node gets a range of its own; empty: nodes bring their own."""
    cluster_domain: str = "cluster.local"
    controllers: bool = True
    disabled_controllers: frozenset[str] = frozenset()
    controller_settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of controllers, as their files name them."""
    controller_workers: Mapping[str, int] = field(default_factory=dict)
    """Controller -> how many keys it may work on at once; as its file says where it is not named."""
    scheduler: bool = True
    leader_elect: bool = False
    """Whether controllers and scheduler wait for a Lease: several processes may share one store."""
    scheduler_settings: SchedulerSettings | None = None
    """None: upstream's defaults."""
    api_options: Mapping[str, Any] = field(default_factory=dict)
    """Further keyword arguments of :class:`APIServer`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of :class:`APIServerSettings`; ``authentication`` holds further fields of its own settings."""
    resource_metrics: bool = False
    """Whether ``metrics.k8s.io`` is served, from what nodes report."""
    tls: TLSChoice = TLSChoice()
    certificates: ServingFiles | None = None
    """What is served besides the control plane's own certificate, or in its place; None: nothing."""
    shutdown: Shutdown = field(default_factory=Shutdown)
    nodes: bool = True
    """Whether it has nodes of its own, whose agents serve logs and exec."""


class ControlPlane:
    """One control plane between :meth:`start` and :meth:`stop`."""

    def __init__(
        self, assembly: Assembly, *, clock: Clock | None = None, rng: random.Random | None = None
    ) -> None:
        self.assembly = assembly
        self.clock = clock or SystemClock()
        self.rng: random.Random = rng or random.SystemRandom()
        self.api: APIServer
        self.pki: ControlPlanePKI
        self._store: Store | None = None
        self._server: HTTPServer | None = None
        self._controlling: Controlling | None = None
        self._workers: list[Worker] = []
        self._pod_streams: PodStreams | None = None
        self._certificates: ServingCertificates | None = None
        self._following: asyncio.Task[None] | None = None
        self.rotation: Rotation | None = None
        """Renews certificates, once started."""

    # -- what others use --

    @property
    def port(self) -> int:
        return self._server.port if self._server else 0

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        host = self.assembly.host if self.assembly.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def kubeconfig_path(self) -> Path:
        """The administrator's kubeconfig; there before the control plane is ready."""
        return self.assembly.data_dir / KUBECONFIG

    def access(self, server: str = "") -> ClusterAccess:
        """The administrator's access, with the client certificate that lies beside the others and is renewed as they."""
        certificate, key = self.pki.pair("admin")
        return ClusterAccess(
            server or self.url, self.pki.cert("ca").read_bytes(), certificate, key,
            tls_server_name=self._loopback_name(),
        )  # fmt: skip

    def client(self, user: User | None = None, user_agent: str = "sublet") -> Client:
        """A client in this process; by default it may do everything."""
        return self.api.client_as(user or User("system:admin", ("system:masters",)), user_agent)

    # -- life --

    async def start(self) -> None:
        """Returns once ``/readyz`` passes; controllers go on starting. What was begun is undone on failure."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        assembly = self.assembly
        assembly.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory, sans = assembly.data_dir / "pki", [*SANS, *self._own_sans(), *assembly.sans]
        self.pki = open_control_plane(directory, sans, self.clock)
        gate = _Gate()
        stated = assembly.settings.get("authentication", {})
        proxy: ProxyHeaders = stated.get("front_proxy_headers", ProxyHeaders())
        certificates = self._certificates = self._serving_certificates()
        self._server = HTTPServer(
            gate,
            host=assembly.host,
            port=assembly.port,
            ssl_context=self._context(self.pki.cert("apiserver"), self.pki.key("apiserver"))
            if certificates is None
            else certificates.context,
            choose=None if certificates is None else certificates.choose,
            listed_headers=proxy.group,
            listed_prefixes=proxy.extra_prefixes,
        )
        await self._server.start()
        if certificates is not None:
            self._following = asyncio.create_task(certificates.follow(self._server.use))
        url = assembly.store_url or f"sqlite://{assembly.data_dir.absolute() / _STORE}"
        self._store = await open_store(url)
        # Now that the directory is known to be ours: another process's kubeconfig must not be overwritten.
        kubeconfig.write(self.kubeconfig_path, self.access(), "sublet")
        self.api = self._make_api(self._store)
        gate.show_health(self.api)
        await self.api.start()
        gate.open(self.api)
        self._controlling = Controlling(assembly, self.api, self.pki, self.clock, self.rng)
        self.api.metrics.sources += [self._controlling.lines, self._server.metric_lines]
        if not assembly.store_url:
            self.api.metrics.sources.append(partial(metricsources.storage, assembly.data_dir / _STORE))
        self.api.health.parts = {**self._controlling.parts(), **self.api.health.parts}
        await self._controlling.start()
        if assembly.nodes:
            self._workers.insert(0, self._joining())
        if assembly.resource_metrics:
            self._workers.insert(0, self._serve_metrics())
        for worker in self._workers:
            await worker.start()
        self.rotation = Rotation(directory, sans, self.clock, self._renewed)
        self.rotation.start()

    def _renewed(self, pki: ControlPlanePKI) -> None:
        """Has whatever shows a certificate show the renewed one, and keeps the administrator's kubeconfig good."""
        self.pki = pki
        if self._server is not None and self._certificates is None and "apiserver" in pki.renewed:
            self._server.renew(pki.cert("apiserver"), pki.key("apiserver"))
        if "front-proxy-client" in pki.renewed:
            self.api.aggregation.renew(*pki.pair("front-proxy-client"))
        renew = getattr(self._pod_streams, "renew", None)
        if renew is not None and "apiserver-kubelet-client" in pki.renewed:
            renew(*pki.pair("apiserver-kubelet-client"))
        if _is_due(self.kubeconfig_path, self.clock.now()):
            kubeconfig.write(self.kubeconfig_path, self.access(), "sublet")

    def add_worker(self, worker: Worker) -> None:
        """Runs with the control plane; add before :meth:`start`, or start it yourself after."""
        self._workers.append(worker)

    def set_pod_streams(self, streams: PodStreams) -> None:
        """Who carries logs, exec and the like; by default the node agents."""
        self._pod_streams = streams

    async def stop(self) -> None:
        """Ends everything in the reverse order; acknowledged writes are on disk.

        Requests that have come get their answers, for which controllers and whatever else works on the API may be
        needed: those end after them.
        """
        if hasattr(self, "api"):
            self.api.begin_shutdown()
            await self.api.withdraw()
        if self._server is not None:
            await self._stop_serving(self._server)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self.rotation is not None:
            await self.rotation.stop()
        for worker in reversed(self._workers):
            await worker.stop()
        if self._controlling is not None:
            await self._controlling.stop()
        if hasattr(self, "api"):
            await self.api.stop()
        if self._store is not None:
            await self._store.close()
        self._controlling = self._server = self._store = None

    async def _stop_serving(self, server: HTTPServer) -> None:
        """The order is upstream's. A request may take as long as requests may."""
        how = self.assembly.shutdown
        seconds = _STARTING_SECONDS
        if hasattr(self, "api"):
            seconds = self.api.settings.request_timeout
            await asyncio.sleep(how.delay)
        if how.retry_after:
            server.refer(ShuttingDown(server.application))
            await server.answered(seconds)
            seconds = _ANSWERED_SECONDS
        await server.stop(seconds, streams=how.watches)

    # -- parts --

    def _context(self, certificate: Path, key: Path) -> ssl.SSLContext:
        authorities = (self.pki.cert("ca"), self.pki.cert("front-proxy-ca"))
        return tls_context(certificate, key, authorities, self.assembly.tls)

    def _serving_certificates(self) -> ServingCertificates | None:
        if self.assembly.certificates is None:
            return None
        from sublet.apiserver.servingcerts import Pair, ServingCertificates

        own = Pair(self.pki.cert("apiserver"), self.pki.key("apiserver"))
        return ServingCertificates(self.assembly.certificates, own, self._context)

    def _loopback_name(self) -> str:
        """What to ask the server for, so that it shows its own certificate; empty where it does anyway."""
        files = self.assembly.certificates
        if files is None or files.default is None:
            return ""
        from sublet.apiserver.servingcerts import LOOPBACK

        return LOOPBACK

    def _own_sans(self) -> list[str]:
        assembly = self.assembly
        names = [f"kubernetes.default.svc.{assembly.cluster_domain}", assembly.advertise_address]
        names.append(self._loopback_name())
        if assembly.host not in ("", "0.0.0.0", "::"):
            names.append(assembly.host)
        if assembly.service_cidr:
            names.append(first_address(assembly.service_cidr))
        return [name for name in names if name]

    def _make_api(self, store: Store) -> APIServer:
        assembly, pki = self.assembly, self.pki
        stated = dict(assembly.settings)
        proxy_certificate, proxy_key = pki.pair("front-proxy-client")
        settings = APIServerSettings(
            minor=assembly.minor,
            service_cidr=assembly.service_cidr,
            advertise_address=assembly.advertise_address,
            machine_address=addresses.of_machine(assembly.advertise_address),
            secure_port=self.port,
            proxy_client_cert=proxy_certificate,
            proxy_client_key=proxy_key,
            authentication=self._authentication(stated.pop("authentication", {})),
            **stated,
        )
        api = APIServer(settings, store, clock=self.clock, rng=self.rng, **assembly.api_options)
        if self._pod_streams is None and assembly.nodes:
            self._pod_streams = self._node_streams(api)
        api.pod_streams = self._pod_streams
        return api

    def _authentication(self, stated: Mapping[str, Any]) -> AuthenticationSettings:
        """By the control plane's own keys and authorities, and what the flags state besides."""
        pki, further = self.pki, dict(stated)
        return AuthenticationSettings(
            client_ca=pki.cert("ca").read_bytes() + further.pop("further_client_ca", b""),
            front_proxy_ca=pki.cert("front-proxy-ca").read_bytes()
            + further.pop("further_front_proxy_ca", b""),
            service_account_key=pki.key("sa").read_bytes(),
            issuer=further.pop("issuer", f"https://kubernetes.default.svc.{self.assembly.cluster_domain}"),
            **further,
        )

    def _node_streams(self, api: APIServer) -> PodStreams:
        from sublet.client.nodestreams import NodeStreams

        client = api.client_as(User("system:apiserver", ("system:masters",)), "kube-apiserver")
        certificate, key = self.pki.pair("apiserver-kubelet-client")
        return NodeStreams(
            client,
            ClusterAccess(
                server="",
                client_cert=certificate,
                client_key=key,
            ),
        )

    def _serve_metrics(self) -> Worker:
        from sublet.controlplane.applied import Applied
        from sublet.resourcemetrics import manifests
        from sublet.resourcemetrics.server import MetricsServer

        place = (manifests.NAMESPACE, manifests.SERVICE)
        self.api.aggregation.hosted[place] = MetricsServer(self.clock)
        return Applied("metrics", self.client(user_agent="sublet-metrics"), manifests.manifests)

    def _joining(self) -> Worker:
        """What machines need to join, at the address they are told."""
        from sublet.controlplane.applied import Applied

        return Applied("joining", self.client(user_agent="sublet-joining"), self._join_manifests)

    def _join_manifests(self) -> list[Object]:
        from sublet.node.joining import ClusterNetwork, manifests

        assembly = self.assembly
        host = assembly.advertise_address
        server = f"https://{f'[{host}]' if ':' in host else host}:{self.port}"
        network = ClusterNetwork(assembly.pod_cidr, assembly.service_cidr, assembly.cluster_domain)
        authority = self.pki.cert("ca").read_bytes()
        return manifests(network, ClusterAccess(server, authority, tls_server_name=self._loopback_name()))


def _is_due(path: Path, now: float) -> bool:
    """Whether the client certificate of a kubeconfig that is there must be renewed."""
    from sublet.pki.authority import read_certificate
    from sublet.pki.certificates import needs_renewal

    try:
        pem = kubeconfig.load(path).client_cert
        return bool(pem) and needs_renewal(read_certificate(pem, str(path)), now)
    except (KubeconfigError, PKIError, OSError):
        # It is the owner's now: somebody wrote another one there, or took it away.
        return False


class _Gate:
    """Answers 503 until the API server behind it has started; the port is taken (or found taken) first.

    Health is told as soon as there is something to tell.
    """

    def __init__(self) -> None:
        self._application: Application | None = None
        self._starting: APIServer | None = None

    def show_health(self, api: APIServer) -> None:
        self._starting = api

    def open(self, application: Application) -> None:
        self._application = application

    async def handle(self, request: Request) -> Response:
        if self._application is not None:
            return await self._application.handle(request)
        if self._starting is not None:
            info = parse(request)
            if info.parts[0] in ENDPOINTS:
                return await answer_health(request, info, self._starting)
        error = ServiceUnavailable("the control plane is starting", retry_after=1)
        headers = [("Content-Type", "application/json"), ("Retry-After", "1")]
        return Response(error.code, headers, codec.encode_json(error.to_object()))


def first_address(cidr: str) -> str:
    """The first usable address of a network: the API server's own Service."""
    import ipaddress

    return str(ipaddress.ip_network(cidr.split(",")[0], strict=False)[1])
