"""Services through real nftables between network namespaces."""

from __future__ import annotations

import asyncio
import os
import shutil
import time

import pytest
from netproxy_lab import lab

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.netproxy.conntrack import Conntrack
from sublet.netproxy.nft import NFT
from sublet.netproxy.proxy import NetProxy
from sublet.netproxy.rules import ProxySettings
from sublet.store.open import open_store

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft"),
]

SERVICES, SLICES = resource("services"), resource("endpointslices.discovery.k8s.io")


class World:
    """A lab whose node runs the proxy against a real API server."""

    def __init__(self, place, client, proxy):
        self.lab, self.client, self.proxy = place, client, proxy

    async def service(self, name, endpoints, *, ports=({"port": 80, "targetPort": 8080},), **spec):
        made = await self.client.create(
            SERVICES,
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
                "spec": {"ports": list(ports), **spec},
            },
        )  # fmt: skip
        await self.endpoints(name, endpoints, ports)
        return made

    async def endpoints(self, name, endpoints, ports=({"port": 80},)):
        """Endpoints as POD or (POD, node)."""
        found = [(each, "here") if isinstance(each, str) else each for each in endpoints]
        obj = {
            "apiVersion": SLICES.api_version, "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name},
            },
            "ports": [
                {"name": p.get("name", ""), "port": 8080, "protocol": p.get("protocol", "TCP")} for p in ports
            ],
            "endpoints": [
                {
                    "addresses": [f"10.244.0.{pod.removeprefix('pod')}"], "nodeName": node,
                    "conditions": {"ready": True},
                }
                for pod, node in found
            ],
        }  # fmt: skip
        before = self.proxy.applied
        try:
            await self.client.create(SLICES, obj)
        except Exception:
            live = await self.client.get(SLICES, name, "default")
            await self.client.update(SLICES, {**obj, "metadata": live["metadata"]})
        await self.change(before)

    async def change(self, before):
        """Returns once the proxy has written after its ``before``th transaction."""
        async with asyncio.timeout(10):
            while self.proxy.applied == before:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.15)

    async def ask(self, *arguments, **more):
        return await asyncio.to_thread(self.lab.ask, *arguments, **more)


@pytest.fixture
async def world():
    store = await open_store("memory://")
    server = APIServer(APIServerSettings(), store)
    await server.start()
    client = server.client_as(User("admin", ("system:masters", "system:authenticated")), "test")
    with lab() as place:
        settings = ProxySettings("test", "here", ("10.244.0.0/16",), pod_bridge="br0")
        nft = NFT(("ip", "netns", "exec", place.node, "nft"))
        proxy = NetProxy(client, settings, nft=nft, conntrack=Conntrack(place.node))
        task = asyncio.create_task(proxy.run())
        async with asyncio.timeout(5):
            await proxy.ready.wait()
        yield World(place, client, proxy)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await server.stop()
    await store.close()


def names(answers):
    return {answer.split()[0] for answer in answers}


async def test_a_cluster_ip_is_served_by_every_endpoint_from_pods_and_from_the_node(world):
    for pod in ("pod2", "pod3"):
        world.lab.serve(pod)
    address = (await world.service("web", ["pod2", "pod3"]))["spec"]["clusterIP"]
    assert set(await world.ask("pod4", address, 80, times=30)) == {"pod2 10.244.0.4", "pod3 10.244.0.4"}
    assert names(await world.ask("node", address, 80, times=30)) == {"pod2", "pod3"}


async def test_a_pod_reaches_itself_through_its_service(world):
    world.lab.serve("pod2")
    address = (await world.service("web", ["pod2"]))["spec"]["clusterIP"]
    assert await world.ask("pod2", address, 80) == ["pod2 10.244.0.1"]


async def test_a_service_without_endpoints_refuses_at_once(world):
    made = await world.service("web", [], type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    begun = time.monotonic()
    address = made["spec"]["clusterIP"]
    assert await world.ask("pod4", address, 80) == ["ConnectionRefusedError"]
    assert await world.ask("node", address, 80) == ["ConnectionRefusedError"]
    assert await world.ask("stranger", "198.51.100.1", 30080) == ["ConnectionRefusedError"]
    assert await world.ask("pod4", address, 81) == ["ConnectionRefusedError"]
    assert time.monotonic() - begun < 3


async def test_a_node_port_answers_on_every_local_address_and_masquerades(world):
    world.lab.serve("pod2")
    await world.service("web", ["pod2"], type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    assert await world.ask("stranger", "198.51.100.1", 30080) == ["pod2 10.244.0.1"]
    assert names(await world.ask("node", "10.244.0.1", 30080)) == {"pod2"}
    assert names(await world.ask("pod3", "198.51.100.1", 30080)) == {"pod2"}


async def test_a_node_port_answers_on_loopback_which_pods_cannot_reach(world):
    world.lab.serve("pod2")
    world.lab.serve("node", 7777)
    await world.service("web", ["pod2"], type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    assert await world.ask("node", "127.0.0.1", 30080) == ["pod2 10.244.0.1"]
    assert names(await world.ask("node", "127.0.0.1", 7777)) == {"node"}
    world.lab.route_loopback("pod3")
    assert names(await world.ask("pod3", "127.0.0.1", 7777)) == {"TimeoutError"}


async def test_external_traffic_policy_local_keeps_the_clients_address(world):
    world.lab.serve("pod2")
    await world.service(
        "web", ["pod2", ("pod3", "elsewhere")], type="NodePort", externalTrafficPolicy="Local",
        ports=[{"port": 80, "nodePort": 30080}],
    )  # fmt: skip
    assert set(await world.ask("stranger", "198.51.100.1", 30080, times=10)) == {"pod2 198.51.100.2"}
    await world.endpoints("web", [("pod2", "elsewhere")])
    assert await world.ask("stranger", "198.51.100.1", 30080) == ["TimeoutError"]


async def test_external_addresses_and_load_balancer_addresses_lead_to_the_service(world):
    world.lab.serve("pod2")
    made = await world.service("web", ["pod2"], type="LoadBalancer", externalIPs=["203.0.113.9"])
    made["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}
    before = world.proxy.applied
    await world.client.update_status(SERVICES, made)
    await world.change(before)
    for address in ("203.0.113.9", "203.0.113.10"):
        assert names(await world.ask("pod3", address, 80)) == {"pod2"}
        assert names(await world.ask("node", address, 80)) == {"pod2"}


async def test_session_affinity_keeps_a_client_at_its_endpoint(world):
    for pod in ("pod2", "pod3"):
        world.lab.serve(pod)
    address = (await world.service("web", ["pod2", "pod3"], sessionAffinity="ClientIP"))["spec"]["clusterIP"]
    first = await world.ask("pod4", address, 80)
    assert set(await world.ask("pod4", address, 80, times=20)) == set(first)


async def test_udp_reaches_its_endpoint(world):
    world.lab.serve("pod2")
    made = await world.service("dns", ["pod2"], ports=[{"name": "dns", "port": 53, "protocol": "UDP"}])
    assert await world.ask("pod4", made["spec"]["clusterIP"], 53, kind="udp") == ["pod2 10.244.0.4"]


async def test_a_udp_client_that_keeps_its_port_finds_the_next_endpoint(world):
    for pod in ("pod2", "pod3"):
        world.lab.serve(pod)
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    address = (await world.service("dns", ["pod2"], ports=ports))["spec"]["clusterIP"]
    assert names(await world.ask("pod4", address, 53, kind="udp", source=5353)) == {"pod2"}
    await world.endpoints("dns", ["pod3"], ports)
    for _ in range(50):
        found = names(await world.ask("pod4", address, 53, kind="udp", source=5353))
        if found == {"pod3"}:
            break
        await asyncio.sleep(0.1)
    assert found == {"pod3"}


async def test_endpoints_come_and_go_without_a_pause_for_others(world):
    for pod in ("pod2", "pod3"):
        world.lab.serve(pod)
    address = (await world.service("web", ["pod2"]))["spec"]["clusterIP"]
    await world.endpoints("web", ["pod3"])
    assert names(await world.ask("pod4", address, 80, times=10)) == {"pod3"}
    await world.client.delete(SERVICES, "web", "default")
    await asyncio.sleep(0.5)
    table = world.lab.rules("sublet-test")
    assert "default/web" not in table and address not in table


async def test_nothing_is_written_while_nothing_changes(world):
    await world.service("web", ["pod2"])
    await asyncio.sleep(0.3)
    applied = world.proxy.applied
    service = await world.client.get(SERVICES, "web", "default")
    service["metadata"]["annotations"] = {"a": "b"}
    await world.client.update(SERVICES, service)
    await asyncio.sleep(0.4)
    assert world.proxy.applied == applied


async def test_teardown_leaves_no_table(world):
    await world.service("web", ["pod2"])
    assert "sublet-test" in world.lab.tables()
    await world.proxy.teardown()
    assert "sublet-test" not in world.lab.tables()
