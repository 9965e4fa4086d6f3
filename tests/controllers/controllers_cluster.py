"""A whole control plane in this process, over the memory store, with hollow nodes: what controllers are tested on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from sublet.apiserver.api import APIServer
from sublet.apiserver.authentication.build import AuthenticationSettings
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.events import EventRecorder
from sublet.client.exchange import User
from sublet.client.informer import InformerFactory
from sublet.controllers import catalog
from sublet.controllers.daemonset import placement
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.status import NotFound
from sublet.node.hollow import HollowNodes
from sublet.node.hollow_registration import HollowSettings
from sublet.pki.authority import Authority, write_key
from sublet.pki.signing import SigningKey
from sublet.reconcile.manager import Context, Manager, Registration
from sublet.store.open import open_store

DETECT = True
ROOT_CA = {"root_ca": "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"}


class Cluster:
    """An API server with running controllers; ``client`` is the administrator's."""

    def __init__(self, api: APIServer, manager: Manager) -> None:
        self.api = api
        self.manager = manager
        self.client = api.client_as(User("admin", ("system:masters", "system:authenticated")), "test")

    async def namespace(self, name: str = "test", *, account: bool = False) -> str:
        """``account``: with the ServiceAccount pods need, where no controller makes it."""
        await self.client.create(resource("namespaces"), {"apiVersion": "v1", "kind": "Namespace",
                                                          "metadata": {"name": name}})  # fmt: skip
        if account:
            made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await self.client.create(resource("serviceaccounts"), made, name)
        return name

    async def make(self, plural: str, name: str, spec: Any, namespace: str = "test", **metadata: Any) -> Any:
        kind = resource(plural)
        made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, **metadata}}
        return await self.client.create(kind, {**made, "spec": spec}, namespace)

    async def items(self, plural: str, namespace: str = "test", **selectors: str) -> list[Any]:
        found: list[Any] = (await self.client.list(resource(plural), namespace, **selectors))["items"]
        return found

    async def get(self, plural: str, name: str, namespace: str = "test") -> Any:
        return await self.client.get(resource(plural), name, namespace)


class HandClock(SystemClock):
    """The system's time, put forward or back by hand."""

    def __init__(self, moved: float = 0.0) -> None:
        self.moved = moved

    def now(self) -> float:
        return super().now() + self.moved

    def monotonic(self) -> float:
        return super().monotonic() + max(0.0, self.moved)


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """What ``check`` answers once it is true. Fails with its last answer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        found = await check()
        if found:
            return found
        if loop.time() > end:
            raise AssertionError(f"still {found!r} after {seconds} s")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    names: set[str] | None,
    nodes: int,
    *,
    clock: Clock | None = None,
    resolve_service: Any = None,
    proxy: tuple[bytes, bytes] = (b"", b""),
    **hollow: Any,
) -> AsyncIterator[Cluster]:
    """``names`` of the controllers to run (None: all), with ``clock`` as their time.

    ``resolve_service`` and ``proxy`` (certificate and key): how the API server reaches aggregated ones.
    """
    key = write_key(ec.generate_private_key(ec.SECP256R1()))
    settings = APIServerSettings(
        authentication=AuthenticationSettings(service_account_key=key),
        proxy_client_cert=proxy[0],
        proxy_client_key=proxy[1],
    )
    api = APIServer(
        settings, await open_store("memory://"), resolve_service=resolve_service, detect_mutation=DETECT
    )
    await api.start()
    tasks: list[asyncio.Task[Any]] = []
    rng = random.Random(1)
    authority = Authority.create("ca")
    clock = clock or SystemClock()
    shared = api.client_as(
        User("system:kube-controller-manager", ("system:authenticated",)), "kube-controller-manager"
    )
    informers = InformerFactory(shared, clock)

    def context_for(registration: Registration) -> Context:
        groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
        client = api.client_as(User(registration.user_name, groups), registration.name)
        events = EventRecorder(client, registration.component or registration.name)
        return Context(
            client,
            informers,
            events,
            clock,
            rng,
            {**ROOT_CA, "sign": SigningKey(key).sign, "authority": authority},
        )

    chosen = [each for each in catalog.load() if names is None or each.name in names]
    manager = Manager(chosen, context_for)
    cluster = Cluster(api, manager)
    try:
        await manager.start()
        if nodes:
            hollow_settings = HollowSettings(
                names=[f"node-{n}" for n in range(nodes)], **{"stop_seconds": 0.0, **hollow}
            )
            hollow_nodes = HollowNodes(cluster.client, hollow_settings)
            tasks.append(asyncio.create_task(hollow_nodes.run()))
            tasks.append(asyncio.create_task(bind(cluster.client, list(hollow_settings.names))))
            await asyncio.wait_for(hollow_nodes.registered.wait(), 10)
        yield cluster
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.stop()
        await informers.stop()
        await api.stop()


async def bind(client: Client, nodes: list[str]) -> None:
    """The least a scheduler does: every pod that asks for no other scheduler gets the next node."""
    pods = resource("pods")
    informers = InformerFactory(client)
    informer = informers.informer(pods)
    waiting: asyncio.Queue[Any] = asyncio.Queue()

    def handler(event: str, pod: Any, _old: Any) -> None:
        spec = pod["spec"]
        if event == "add" and not spec.get("nodeName") and spec["schedulerName"] == "default-scheduler":
            waiting.put_nowait(pod)

    informer.add_handler(handler)
    await informers.start()
    number = 0
    try:
        while True:
            pod = await waiting.get()
            number += 1
            name = placement.node_of(pod) or nodes[number % len(nodes)]
            target = {"apiVersion": "v1", "kind": "Node", "name": name}
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": objects.name(pod)},
                "target": target,
            }
            try:
                await client.create(
                    pods, binding, objects.namespace(pod), name=objects.name(pod), subresource="binding"
                )
            except NotFound:
                continue  # it is gone again
    finally:
        await informers.stop()
