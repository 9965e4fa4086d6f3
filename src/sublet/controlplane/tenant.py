"""A control plane that is a tenant of a host cluster: its pods run on the host's nodes, through the syncer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os

from msgspec import structs

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess
from sublet.controlplane import clusterdns
from sublet.controlplane.applied import Applied
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.controlplane.config import Configuration
from sublet.controlplane.run import RunSettings, assembly
from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import NotFound, ServiceUnavailable, StatusError
from sublet.syncer import catalog
from sublet.syncer.podstreams import HostPodStreams
from sublet.syncer.service_allocator import HostServices
from sublet.syncer.settings import SyncerSettings
from sublet.syncer.syncer import Syncer

logger = logging.getLogger(__name__)

HOST_CONTROLLERS = frozenset(
    {
        # What these care for are the host's nodes and volumes; the host's own controllers do.
        "node-lifecycle-controller",
        "taint-eviction-controller",
        "pod-garbage-collector-controller",
        "persistentvolume-binder-controller",
        "persistentvolume-attach-detach-controller",
        "persistentvolume-expander-controller",
    }
)
_NODE_CONTROLLERS = frozenset({"node-lifecycle-controller", "taint-eviction-controller"})
_RETRY_SECONDS = 10.0
_RENEW_SECONDS = 30 * 86400.0
"""Each time the kubeconfig Secret gets a client certificate of a year."""
_HOST_WAIT_SECONDS = 60.0


async def start_tenant(settings: RunSettings, chosen: Configuration) -> ControlPlane:
    """Assembles and starts the tenant. Raises what a user can act on."""
    access = kubeconfig.load(settings.host_kubeconfig, settings.host_context)
    namespace = settings.namespace or os.environ.get("POD_NAMESPACE") or access.namespace
    if not namespace:
        raise ConfigurationError("--namespace is needed: where the tenant's objects live on the host cluster")
    host = Client(HTTPTransport(access), "sublet-syncer")
    try:
        service = await _own_service(host, settings.tenant, namespace)
        plane = _assemble(settings, chosen, access, host, namespace, service)
        await plane.start()
    except BaseException:
        await host.close()
        raise
    return plane


async def _own_service(host: Client, name: str, namespace: str) -> Object:
    """The Service that owns everything the tenant has on the host; waits a while for a host that is away."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _HOST_WAIT_SECONDS
    while True:
        try:
            return await host.get(resource("services"), name, namespace)
        except NotFound:
            raise ConfigurationError(
                f"the host cluster has no Service {name} in namespace {namespace}; `sublet create {name}` makes it"
            ) from None
        except ServiceUnavailable as error:
            if loop.time() > deadline:
                raise
            logger.warning("waiting for the host cluster: %s", error)
            await asyncio.sleep(1)


def _assemble(
    settings: RunSettings,
    chosen: Configuration,
    access: ClusterAccess,
    host: Client,
    namespace: str,
    service: Object,
) -> ControlPlane:
    sync = catalog.settings(chosen.sync)
    syncing = SyncerSettings(
        tenant_name=settings.tenant,
        host_namespace=namespace,
        sync=sync,
        cluster_domain=chosen.networking.advanced.cluster_domain,
        dns_service="kube-system/kube-dns" if chosen.control_plane.coredns.enabled else "",
    )
    base = assembly(settings, chosen)
    off = (*base.settings.get("disabled_admission", ()), "TaintNodesByCondition")
    own_scheduler = chosen.control_plane.distro.k8s.scheduler.enabled
    made: Assembly = structs.replace(
        base,
        sans=(*base.sans, *_sans(settings.tenant, namespace, service)),
        advertise_address=os.environ.get("POD_IP") or base.advertise_address,
        scheduler=own_scheduler,
        disabled_controllers=base.disabled_controllers
        | (HOST_CONTROLLERS - (_NODE_CONTROLLERS if own_scheduler else frozenset())),
        nodes=False,
        resource_metrics=False,
        api_options={"service_allocator": HostServices(host, syncing)},
        settings={**base.settings, "disabled_admission": off},
    )
    plane = ControlPlane(made)
    plane.set_pod_streams(HostPodStreams(access, host, syncing.mapping))
    plane.add_worker(_Syncing(plane, host, syncing))
    plane.add_worker(_KubeconfigSecret(plane, host, settings.tenant, namespace, service, chosen))
    image = os.environ.get("SUBLET_IMAGE") or chosen.control_plane.stateful_set.image.name
    if chosen.control_plane.coredns.enabled:
        plane.add_worker(_DNS(plane, image))
    return plane


def _sans(name: str, namespace: str, service: Object) -> list[str]:
    spec = service.get("spec") or {}
    sans = [name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"]
    sans += [
        address
        for address in spec.get("clusterIPs") or [spec.get("clusterIP")]
        if address and address != "None"
    ]
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        sans += [value for value in (ingress.get("ip"), ingress.get("hostname")) if value]
    if pod_ip := os.environ.get("POD_IP"):
        sans.append(pod_ip)
    return sans


class _Syncing:
    """The syncer, once the API server it works on is there."""

    def __init__(self, plane: ControlPlane, host: Client, settings: SyncerSettings) -> None:
        self._plane = plane
        self._host = host
        self._settings = settings
        self._syncer: Syncer | None = None

    async def start(self) -> None:
        user = User("system:sublet:syncer", ("system:masters", "system:authenticated"))
        tenant = self._plane.client(user, "sublet-syncer")
        self._syncer = Syncer(tenant, self._host, self._settings, self._plane.clock, self._plane.rng)
        await self._syncer.start()

    async def stop(self) -> None:
        if self._syncer is not None:
            await self._syncer.stop()
        await self._host.close()


class _DNS:
    """The tenant's DNS Deployment, once the API server it is written to is there."""

    def __init__(self, plane: ControlPlane, image: str) -> None:
        self._plane = plane
        self._wanted = lambda: clusterdns.manifests(image, plane.assembly.cluster_domain)
        self._applied: Applied | None = None

    async def start(self) -> None:
        self._applied = Applied("cluster DNS", self._plane.client(), self._wanted)
        await self._applied.start()

    async def stop(self) -> None:
        if self._applied is not None:
            await self._applied.stop()


class _KubeconfigSecret:
    """Writes the administrator's kubeconfig into the host namespace, where `connect` and other tools find it."""

    def __init__(
        self,
        plane: ControlPlane,
        host: Client,
        name: str,
        namespace: str,
        service: Object,
        chosen: Configuration,
    ) -> None:
        self._plane = plane
        self._host = host
        self._name = name
        self._namespace = namespace
        self._service = service
        self._export = chosen.export_kube_config
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._write(), name="kubeconfig-secret")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _write(self) -> None:
        while True:
            try:
                await self._host.patch(
                    resource("secrets"), f"sublet-{self._name}", self._secret(), self._namespace,
                    kind="apply", field_manager="sublet-control-plane", force=True,
                )  # fmt: skip
                await asyncio.sleep(_RENEW_SECONDS)
                continue
            except StatusError as error:
                logger.warning("the kubeconfig Secret cannot be written: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    def _secret(self) -> Object:
        access = self._plane.access(self._export.server or "https://localhost:8443")
        context = self._export.context or self._name
        config = codec.encode_yaml(kubeconfig.to_config(access, context))
        data = {
            "config": config,
            "certificate-authority": access.ca_data,
            "client-certificate": access.client_cert,
            "client-key": access.client_key,
            "token": b"",
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"sublet-{self._name}",
                "namespace": self._namespace,
                "labels": {"app": "sublet", "sublet.dev/tenant": self._name},
                "ownerReferences": [
                    objects.owner_reference(self._service, resource("services"), controller=False)
                ],
            },
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
