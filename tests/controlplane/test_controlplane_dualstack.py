"""A control plane whose pods and Services have addresses of both families."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sublet.client.client import Client
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.networks import family
from sublet.node.hollow import names, run_hollow
from sublet.node.hollow_registration import HollowSettings

NODES, PODS, SERVICES = resource("nodes"), resource("pods"), resource("services")
SLICES, ENDPOINTS = resource("endpointslices.discovery.k8s.io"), resource("endpoints")


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            if found := await check():
                return found
            await asyncio.sleep(0.05)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    plane = ControlPlane(
        Assembly(
            data_dir=tmp_path, store_url="memory://", service_cidr="10.96.0.0/16,fd00:96::/112",
            pod_cidr="10.244.0.0/16,fd00:244::/56",
        )
    )  # fmt: skip
    await plane.start()
    made = plane.client()
    nodes = asyncio.create_task(
        run_hollow(plane.client(), settings=HollowSettings(names=names(1), lease_seconds=1))
    )
    yield made
    nodes.cancel()
    await asyncio.gather(nodes, return_exceptions=True)
    await plane.stop()


async def node_ranges(client: Client) -> list[str]:
    items = (await client.list(NODES))["items"]
    return items[0]["spec"].get("podCIDRs") or [] if items else []


async def running(client: Client, name: str) -> Object | None:
    found = await client.get(PODS, name, "default")
    return found if found.get("status", {}).get("phase") == "Running" else None


async def test_nodes_pods_and_slices_have_both_families(client: Client) -> None:
    ranges = await until(lambda: node_ranges(client))
    assert [family(each) for each in ranges] == ["IPv4", "IPv6"] and ranges[1].endswith("/64")

    async def account() -> bool:
        items = (await client.list(resource("serviceaccounts"), "default"))["items"]
        return bool(items)

    await until(account)

    async def addresses() -> list[Object]:
        found = (await client.list(NODES))["items"][0]["status"]["addresses"]
        return found if len(found) == 3 else []

    own = await until(addresses)
    assert [each["type"] for each in own] == ["InternalIP", "InternalIP", "Hostname"]
    spec = {"containers": [{"name": "c", "image": "web"}]}
    await client.create(
        PODS, {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec}, "default"
    )
    pod = await until(lambda: running(client, "web"))
    ips = [each["ip"] for each in pod["status"]["podIPs"]]
    assert [family(ip) for ip in ips] == ["IPv4", "IPv6"] and pod["status"]["podIP"] == ips[0]

    assert pod["status"]["hostIPs"] == [{"ip": each["address"]} for each in own[:2]]

    wanted = {"selector": {"app": "web"}, "ports": [{"port": 80}], "ipFamilyPolicy": "RequireDualStack"}
    await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": wanted}, "default")

    async def slices() -> dict[str, list[str]]:
        items = (await client.list(SLICES, "default", label_selector="kubernetes.io/service-name=web"))[
            "items"
        ]
        found = {
            each["addressType"]: each["endpoints"][0]["addresses"] for each in items if each["endpoints"]
        }
        return found if len(found) == 2 else {}

    assert await until(slices) == {"IPv4": ips[:1], "IPv6": ips[1:]}

    async def endpoints() -> list[Object]:
        items = (await client.list(ENDPOINTS, "default", field_selector="metadata.name=web"))["items"]
        found = items[0].get("subsets") or [] if items else []
        return [subset for subset in found if subset.get("addresses")]

    assert [each["ip"] for subset in await until(endpoints) for each in subset["addresses"]] == ips[:1]
