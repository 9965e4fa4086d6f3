"""A tenant and its host, both real control planes in this process: what the syncer is tested on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.node.hollow import run_hollow
from sublet.syncer import catalog
from sublet.syncer.mapping import Mapping
from sublet.syncer.service_allocator import HostServices
from sublet.syncer.settings import SyncerSettings
from sublet.syncer.syncer import Syncer

TENANT_HAS_NO = frozenset(
    {"node-lifecycle-controller", "taint-eviction-controller", "persistentvolume-binder-controller"}
)
"""Controllers whose work the host does."""


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """What ``check`` answers once it is true (an object that is not there is not). Fails with its last answer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    found: Any = None
    while True:
        try:
            found = await check()
        except NotFound as error:
            found = None
            last: Any = error
        else:
            last = found
        if found:
            return found
        if loop.time() > end:
            raise AssertionError(f"still {last!r} after {seconds} s")
        await asyncio.sleep(0.01)


class Cluster:
    """One API with an administrator's client and short ways to say things."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.client: Client = plane.client(user_agent="test")

    async def make(self, plural: str, name: str, namespace: str = "default", **rest: Any) -> Any:
        kind = resource(plural)
        metadata = {"name": name, **rest.pop("metadata", {})}
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **rest}
        return await self.client.create(kind, obj, namespace if kind.namespaced else "")

    async def get(self, plural: str, name: str, namespace: str = "default") -> Any:
        kind = resource(plural)
        return await self.client.get(kind, name, namespace if kind.namespaced else "")

    async def items(self, plural: str, namespace: str = "default", **selectors: str) -> list[Any]:
        found: list[Any] = (await self.client.list(resource(plural), namespace, **selectors))["items"]
        return found

    async def patch(self, plural: str, name: str, patch: Object, namespace: str = "default") -> Any:
        return await self.client.patch(resource(plural), name, patch, namespace)

    async def delete(self, plural: str, name: str, namespace: str = "default", **options: Any) -> Any:
        return await self.client.delete(resource(plural), name, namespace, **options)

    async def gone(self, plural: str, name: str, namespace: str = "default", seconds: float = 10.0) -> None:
        async def check() -> bool:
            try:
                await self.get(plural, name, namespace)
            except NotFound:
                return True
            return False

        await until(check, seconds)


class Tenant(Cluster):
    """A tenant's control plane, its syncer, and where its copies are."""

    def __init__(self, plane: ControlPlane, host: Cluster, settings: SyncerSettings, client: Client) -> None:
        super().__init__(plane)
        self.host = host
        self.settings = settings
        self.mapping: Mapping = settings.mapping
        self.host_client = client
        self.syncer = self.new_syncer()

    def new_syncer(self) -> Syncer:
        return Syncer(self.plane.client(user_agent="sublet-syncer"), self.host_client, self.settings)

    async def restart_syncer(self) -> None:
        await self.syncer.stop()
        self.syncer = self.new_syncer()
        await self.syncer.start()

    async def copy(self, plural: str, name: str, namespace: str = "default") -> Any:
        """The host object of one of the tenant's."""
        return await self.host.get(
            plural, self.mapping.host_name(name, namespace), self.settings.host_namespace
        )

    async def copied(self, plural: str, name: str, namespace: str = "default") -> Any:
        return await until(lambda: self.copy(plural, name, namespace))

    async def copy_gone(self, plural: str, name: str, namespace: str = "default") -> None:
        await self.host.gone(plural, self.mapping.host_name(name, namespace), self.settings.host_namespace)

    async def running(self, name: str, namespace: str = "default") -> Any:
        async def check() -> Any:
            pod = await self.get("pods", name, namespace)
            return pod if pod.get("status", {}).get("phase") == "Running" else None

        return await until(check)


def pod_spec(**more: Any) -> Object:
    return {"containers": [{"name": "main", "image": "busybox"}], **more}


@asynccontextmanager
async def running_host(directory: Path, nodes: int = 1) -> AsyncIterator[Cluster]:
    plane = ControlPlane(Assembly(data_dir=directory, store_url="memory://", nodes=False))
    await plane.start()
    hollow = asyncio.create_task(run_hollow(plane.client(user_agent="hollow"), nodes))
    try:
        yield Cluster(plane)
    finally:
        hollow.cancel()
        await asyncio.gather(hollow, return_exceptions=True)
        await plane.stop()


async def host_side(host: Cluster, name: str, sync: dict[str, Any]) -> tuple[str, Client]:
    """What ``sublet create`` makes on the host: namespace, Service, accounts, Role; the tenant's namespace and client."""
    namespace = f"sublet-{name}"
    await host.make("namespaces", namespace)
    await host.make(
        "services", name, namespace,
        spec={"selector": {"app": "sublet", "release": name}, "ports": [{"name": "https", "port": 443}]},
    )  # fmt: skip
    await host.make("serviceaccounts", f"sublet-workload-{name}", namespace)
    chosen = catalog.settings(sync)
    group = "rbac.authorization.k8s.io"
    user = f"system:serviceaccount:{namespace}:sublet-{name}"
    subject = {"kind": "User", "name": user, "apiGroup": group}
    for scope, rules in (("", catalog.host_rules(chosen)), ("cluster", catalog.cluster_rules(chosen))):
        if not rules:
            continue
        role = f"{scope}role"
        await host.make(f"{role}s.{group}", f"sublet-{name}", namespace, rules=rules)
        kind = "ClusterRole" if scope else "Role"
        reference = {"apiGroup": group, "kind": kind, "name": f"sublet-{name}"}
        await host.make(
            f"{role}bindings.{group}", f"sublet-{name}", namespace, roleRef=reference, subjects=[subject]
        )
    client = host.plane.client(
        User(user, ("system:serviceaccounts", "system:authenticated")), "sublet-syncer"
    )
    return namespace, client


@asynccontextmanager
async def running_tenant(
    host: Cluster,
    directory: Path,
    name: str = "acme",
    sync: dict[str, Any] | None = None,
    *,
    dns: bool = False,
) -> AsyncIterator[Tenant]:
    namespace, client = await host_side(host, name, sync or {})
    settings = SyncerSettings(
        tenant_name=name, host_namespace=namespace, sync=catalog.settings(sync),
        dns_service="kube-system/kube-dns" if dns else "",
    )  # fmt: skip
    plane = ControlPlane(
        Assembly(
            data_dir=directory, store_url="memory://", scheduler=False, nodes=False,
            disabled_controllers=TENANT_HAS_NO,
            api_options={"service_allocator": HostServices(client, settings)},
        )
    )  # fmt: skip
    await plane.start()
    tenant = Tenant(plane, host, settings, client)
    await tenant.syncer.start()
    try:
        await until(lambda: tenant.get("serviceaccounts", "default"))
        yield tenant
    finally:
        await tenant.syncer.stop()
        await plane.stop()
