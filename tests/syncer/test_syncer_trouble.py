"""The host away, namespaces ending, tenants in tenants, readiness gates, debug containers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from syncer_clusters import Cluster, pod_spec, running_tenant, until

from sublet.client.exchange import Request, Response, Transport
from sublet.kinds.resources import resource
from sublet.machinery.status import ServiceUnavailable

Start = Callable[..., Awaitable[Any]]
HOST = "sublet-acme"


class Breakable:
    """A way to the host that can be cut: open streams end, new requests fail."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._cut = asyncio.Event()
        self.broken = False

    def cut(self) -> None:
        self.broken = True
        self._cut.set()

    def mend(self) -> None:
        self.broken = False
        self._cut = asyncio.Event()

    async def request(self, request: Request) -> Response:
        self._check()
        return await self._inner.request(request)

    async def stream(self, request: Request) -> Response:
        self._check()
        response = await self._inner.stream(request)
        response.body = self._until_cut(response.body)
        return response

    async def _until_cut(self, body: Any) -> Any:
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            while True:
                chunk = asyncio.ensure_future(anext(body))
                await asyncio.wait({chunk, cut}, return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.gather(chunk, return_exceptions=True)
                    raise ServiceUnavailable("the connection broke")
                yield chunk.result()
        except StopAsyncIteration:
            return
        finally:
            cut.cancel()

    async def close(self) -> None:
        await self._inner.close()

    def _check(self) -> None:
        if self.broken:
            raise ServiceUnavailable("the host cannot be reached")


async def test_the_tenant_stays_usable_while_the_host_is_away(clusters: Start) -> None:
    tenant, host = await clusters()
    line = Breakable(tenant.host_client.transport)
    tenant.host_client.transport = line
    await tenant.restart_syncer()
    await tenant.make("pods", "before", spec=pod_spec())
    await tenant.running("before")
    line.cut()
    await tenant.make("configmaps", "settings", data={"a": "1"})
    spec = pod_spec()
    spec["containers"][0]["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    await tenant.make("pods", "meanwhile", spec=spec)
    await tenant.delete("pods", "before")
    await host.delete("pods", "before-x-default-x-acme", HOST, grace=0)
    await asyncio.sleep(0.3)
    assert len(await tenant.items("pods")) == 2
    line.mend()
    await tenant.running("meanwhile")
    await tenant.gone("pods", "before")


async def test_a_syncer_that_starts_without_its_host_begins_when_it_comes(clusters: Start) -> None:
    tenant, _ = await clusters()
    line = Breakable(tenant.host_client.transport)
    line.cut()
    await tenant.syncer.stop()
    tenant.host_client.transport = line
    await tenant.syncer.start()
    await tenant.make("pods", "web", spec=pod_spec())
    await asyncio.sleep(0.2)
    line.mend()
    await tenant.running("web")


async def test_deleting_a_namespace_leaves_nothing_on_the_host(clusters: Start) -> None:
    tenant, host = await clusters()
    await tenant.make("namespaces", "shop", "")
    await until(lambda: tenant.get("serviceaccounts", "default", "shop"))
    await tenant.make("services", "web", "shop", spec={"ports": [{"port": 80}]})
    await tenant.make("pods", "web", "shop", spec=pod_spec(terminationGracePeriodSeconds=0))
    await tenant.running("web", "shop")
    await tenant.delete("namespaces", "shop", "")
    await tenant.gone("namespaces", "shop", "")

    async def left() -> list[Any]:
        found: list[Any] = []
        for plural in ("pods", "services", "configmaps", "secrets"):
            found += await host.items(plural, HOST, label_selector="sublet.dev/namespace=shop")
        return found

    async def nothing() -> bool:
        return not await left()

    await until(nothing)


async def test_deleting_the_tenants_own_service_removes_its_workload(clusters: Start) -> None:
    """Every host object names it as its owner; the host's garbage collector does the rest."""
    tenant, host = await clusters()
    await tenant.make("services", "web", spec={"ports": [{"port": 80}]})
    await tenant.make("pods", "web", spec=pod_spec(terminationGracePeriodSeconds=0))
    await tenant.running("web")
    await tenant.syncer.stop()
    await host.delete("services", "acme", HOST, propagation="Background")

    async def nothing() -> bool:
        return not (await host.items("pods", HOST) or await host.items("services", HOST))

    await until(nothing)


async def test_readiness_gates_of_the_tenant_hold_on_the_host(clusters: Start) -> None:
    tenant, _ = await clusters()
    gate = "example.org/checked"
    await tenant.make("pods", "web", spec=pod_spec(readinessGates=[{"conditionType": gate}]))
    await tenant.running("web")
    condition = {"type": gate, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    pod = await tenant.get("pods", "web")
    pod["status"]["conditions"] = [*(pod["status"].get("conditions") or []), condition]
    await tenant.client.patch(
        resource("pods"), "web", {"status": {"conditions": pod["status"]["conditions"]}}, "default",
        subresource="status",
    )  # fmt: skip

    async def there() -> bool:
        copy = await tenant.copy("pods", "web")
        return any(each["type"] == gate and each["status"] == "True" for each in copy["status"]["conditions"])

    await until(there)
    await asyncio.sleep(0.2)
    conditions = (await tenant.get("pods", "web"))["status"]["conditions"]
    assert any(each["type"] == gate for each in conditions)


async def test_a_debug_container_reaches_the_host(clusters: Start) -> None:
    tenant, _ = await clusters()
    await tenant.make("pods", "web", spec=pod_spec())
    await tenant.running("web")
    debug = {"name": "debug", "image": "busybox", "targetContainerName": "main"}
    await tenant.client.patch(
        resource("pods"), "web", {"spec": {"ephemeralContainers": [debug]}}, "default",
        kind="strategic", subresource="ephemeralcontainers",
    )  # fmt: skip

    async def there() -> bool:
        spec = (await tenant.copy("pods", "web"))["spec"]
        return [each["name"] for each in spec.get("ephemeralContainers") or ()] == ["debug"]

    await until(there)


async def test_an_image_can_be_changed(clusters: Start) -> None:
    tenant, _ = await clusters(sync={"toHost": {"pods": {"translateImage": {"new": "registry.local/new"}}}})
    await tenant.make("pods", "web", spec=pod_spec())
    await tenant.running("web")
    patch = {"spec": {"containers": [{"name": "main", "image": "new"}]}}
    await tenant.client.patch(resource("pods"), "web", patch, "default", kind="strategic")

    async def changed() -> bool:
        return (await tenant.copy("pods", "web"))["spec"]["containers"][0]["image"] == "registry.local/new"

    await until(changed)


async def test_a_pod_evicted_on_the_host_is_replaced(clusters: Start) -> None:
    tenant, host = await clusters()
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(terminationGracePeriodSeconds=0)}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await tenant.make("deployments.apps", "web", spec=spec)

    async def running() -> Any:
        pods = await tenant.items("pods", label_selector="app=web")
        return next((p for p in pods if p.get("status", {}).get("phase") == "Running"), None)

    first = await until(running)
    copy = await tenant.copy("pods", first["metadata"]["name"])
    await host.delete("pods", copy["metadata"]["name"], HOST)
    await tenant.gone("pods", first["metadata"]["name"])
    second = await until(running)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_a_tenant_can_hold_a_tenant(clusters: Start, tmp_path: Path) -> None:
    outer, host = await clusters()
    async with running_tenant(Cluster(outer.plane), tmp_path / "inner", "inner") as inner:
        await inner.make("pods", "web", spec=pod_spec(), metadata={"labels": {"app": "web"}})
        pod = await inner.running("web")
        middle = await inner.copy("pods", "web")
        outermost = await outer.copy("pods", middle["metadata"]["name"], "sublet-inner")
        assert pod["spec"]["nodeName"] == outermost["spec"]["nodeName"]
        assert middle["metadata"]["annotations"]["sublet.dev/object-name"] == "web"
        assert outermost["metadata"]["annotations"]["sublet.dev/object-name"] == "web-x-default-x-inner"
        await inner.make("services", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
        service = await inner.copy("services", "web")
        far = await outer.copy("services", service["metadata"]["name"], "sublet-inner")
        labels = outermost["metadata"]["labels"]
        assert all(labels.get(key) == value for key, value in far["spec"]["selector"].items())
        assert (await inner.get("services", "web"))["spec"]["clusterIP"] == far["spec"]["clusterIP"]
        # The innermost name still reaches the pod through the downward API.
        path = middle["metadata"]["annotations"]
        assert path["sublet.dev/name"] == "web"
        key = outer.mapping.annotation_key("sublet.dev/name")
        assert outermost["metadata"]["annotations"][key] == "web"
        assert host is not None
