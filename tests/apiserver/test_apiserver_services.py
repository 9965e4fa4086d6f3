from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import InternalError, Invalid, NotFound, StatusError
from sublet.store.interface import Store

SERVICES, ADDRESSES = resource("services"), resource("ipaddresses.networking.k8s.io")
RANGES, EVENTS = resource("servicecidrs.networking.k8s.io"), resource("events")
ENDPOINTS = resource("endpoints")


def service(name: str = "web", ports: list[Object] | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": ports or [{"port": 80}], **spec},
    }


async def addresses(client: Client) -> set[str]:
    return {objects.name(item) for item in (await client.list(ADDRESSES))["items"]}


async def test_a_service_gets_an_address_that_an_object_holds(client: Client) -> None:
    made = await client.create(SERVICES, service())
    spec = made["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    held = await client.get(ADDRESSES, spec["clusterIP"])
    assert held["spec"]["parentRef"] == {
        "group": "",
        "resource": "services",
        "namespace": "default",
        "name": "web",
    }


async def test_deletion_gives_the_address_back(client: Client) -> None:
    made = await client.create(SERVICES, service())
    await client.delete(SERVICES, "web", "default")
    assert made["spec"]["clusterIP"] not in await addresses(client)


@pytest.mark.parametrize("kept", [True, False])
async def test_endpoints_go_with_their_service(client: Client, kept: bool) -> None:
    """Those somebody wrote by hand too, at once, and only when the Service is really gone."""
    finalizers = ["example.com/kept"] if kept else []
    made = service()
    await client.create(SERVICES, {**made, "metadata": {**made["metadata"], "finalizers": finalizers}})
    for name in ("web", "other"):
        await client.create(ENDPOINTS, {"metadata": {"name": name, "namespace": "default"}})
    await client.raw("DELETE", "/api/v1/namespaces/default/services/web", query="dryRun=All")
    assert await client.get(ENDPOINTS, "web", "default")
    await client.delete(SERVICES, "web", "default")
    if kept:
        assert await client.get(ENDPOINTS, "web", "default")
        marked = await client.get(SERVICES, "web", "default")
        marked["metadata"]["finalizers"] = []
        await client.update(SERVICES, marked)
    with pytest.raises(NotFound):
        await client.get(ENDPOINTS, "web", "default")
    assert await client.get(ENDPOINTS, "other", "default")


async def test_a_chosen_address_is_had_once(client: Client) -> None:
    await client.create(SERVICES, service(clusterIP="10.0.0.9"))
    with pytest.raises(Invalid) as refused:
        await client.create(SERVICES, service("other", clusterIP="10.0.0.9"))
    assert refused.value.message == (
        'Service "other" is invalid: spec.clusterIPs: Invalid value: ["10.0.0.9"]: '
        "failed to allocate IP 10.0.0.9: provided IP is already allocated"
    )


async def test_an_address_outside_the_range_is_refused(client: Client) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create(SERVICES, service(clusterIP="10.9.0.1"))
    assert refused.value.message == (
        'Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.9.0.1"]: '
        "failed to allocate IP 10.9.0.1: the provided network does not match the current range"
    )


async def test_an_invalid_service_takes_no_address(client: Client) -> None:
    before = await addresses(client)
    with pytest.raises(StatusError):
        await client.create(SERVICES, service(type="NodePort", ports=[{"port": 80, "nodePort": 80}]))
    assert await addresses(client) == before


async def test_a_name_that_is_taken_takes_no_address(client: Client) -> None:
    await client.create(SERVICES, service())
    before = await addresses(client)
    with pytest.raises(StatusError, match=r"already exists"):
        await client.create(SERVICES, service())
    assert await addresses(client) == before


async def test_a_dry_run_takes_nothing(client: Client) -> None:
    before = await addresses(client)
    shown = await client.create(SERVICES, service(type="NodePort"), dry_run=True)
    assert shown["spec"]["clusterIP"]
    assert await addresses(client) == before


async def test_headless_and_external_services_have_no_address(client: Client) -> None:
    before = await addresses(client)
    headless = await client.create(SERVICES, service("h", clusterIP="None"))
    external = await client.create(
        SERVICES,
        {
            "metadata": {"name": "e", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "a.b"},
        },
    )
    assert headless["spec"]["clusterIPs"] == ["None"]
    assert "clusterIP" not in external["spec"]
    assert "ipFamilies" not in external["spec"]
    assert await addresses(client) == before


async def test_becoming_external_gives_the_address_back(client: Client) -> None:
    made = await client.create(SERVICES, service())
    patch = {"spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": "", "clusterIPs": None}}
    await client.patch(SERVICES, "web", patch, "default")
    assert made["spec"]["clusterIP"] not in await addresses(client)


async def test_an_update_that_omits_what_was_allocated_keeps_it(client: Client) -> None:
    made = await client.create(SERVICES, service(type="NodePort"))
    after = await client.update(SERVICES, service(type="NodePort", sessionAffinity="ClientIP"))
    assert after["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert after["spec"]["ports"] == made["spec"]["ports"]


async def test_a_node_port_belongs_to_one_service_whatever_the_protocol(client: Client) -> None:
    await client.create(SERVICES, service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    with pytest.raises(
        Invalid, match=r"spec.ports\[0\].nodePort: Invalid value: 30080: provided port is already allocated"
    ):
        await client.create(SERVICES, service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    udp = [{"port": 80, "protocol": "UDP", "nodePort": 30080}]
    with pytest.raises(Invalid, match="provided port is already allocated"):
        await client.create(SERVICES, service("c", type="NodePort", ports=udp))


async def test_protocols_of_one_port_share_its_node_port(client: Client) -> None:
    tcp, udp = {"name": "t", "port": 80}, {"name": "u", "port": 80, "protocol": "UDP"}
    made = await client.create(SERVICES, service(type="NodePort", ports=[tcp, udp]))
    one, other = (port["nodePort"] for port in made["spec"]["ports"])
    assert one == other
    chosen = await client.create(
        SERVICES, service("b", type="NodePort", ports=[tcp, {**udp, "nodePort": 30090}])
    )
    assert [port["nodePort"] for port in chosen["spec"]["ports"]] == [30090, 30090]
    with pytest.raises(
        Invalid, match=r"spec.ports\[1\].nodePort: Invalid value: 30091: .* already allocated"
    ):
        ports = [{**tcp, "nodePort": 30091}, {**udp, "port": 81, "nodePort": 30091}]
        await client.create(SERVICES, service("c", type="NodePort", ports=ports))


async def test_a_port_that_comes_later_gets_a_node_port_of_its_own(client: Client) -> None:
    made = await client.create(SERVICES, service(type="NodePort", ports=[{"name": "t", "port": 80}]))
    udp = {"name": "u", "port": 80, "protocol": "UDP"}
    changed = await client.update(
        SERVICES, {**made, "spec": {**made["spec"], "ports": [*made["spec"]["ports"], udp]}}
    )
    one, other = (port["nodePort"] for port in changed["spec"]["ports"])
    assert one == made["spec"]["ports"][0]["nodePort"] != other


async def test_a_node_port_must_be_in_range(client: Client) -> None:
    with pytest.raises(
        Invalid, match=r"provided port is not in the valid range. The range of valid ports is 30000-32767"
    ):
        await client.create(SERVICES, service(type="NodePort", ports=[{"port": 80, "nodePort": 99}]))


async def test_a_local_load_balancer_gets_a_health_check_port(client: Client) -> None:
    made = await client.create(SERVICES, service(type="LoadBalancer", externalTrafficPolicy="Local"))
    assert 30000 <= made["spec"]["healthCheckNodePort"] <= 32767


async def test_a_small_range_is_used_up_without_double_allocation(store: Store) -> None:
    api = APIServer(APIServerSettings(service_cidr="10.1.0.0/28"), store, rng=random.Random(1))
    await api.start()
    try:
        made = await asyncio.gather(
            *(api.client.create(SERVICES, service(f"s{i}")) for i in range(20)), return_exceptions=True
        )
        given = [each["spec"]["clusterIP"] for each in made if isinstance(each, dict)]
        assert len(given) == len(set(given)) == 13
        refused = [each for each in made if isinstance(each, InternalError)]
        assert len(refused) == 7
        assert {each.message for each in refused} == {
            "Internal error occurred: failed to allocate a serviceIP: range is full"
        }
    finally:
        await api.stop()


async def test_the_api_servers_own_service_is_there(client: Client) -> None:
    own = await client.get(SERVICES, "kubernetes", "default")
    assert own["spec"]["clusterIP"] == "10.0.0.1"
    endpoints = await client.get(resource("endpoints"), "kubernetes", "default")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "10.1.2.3"}]
    slices = await client.get(resource("endpointslices.discovery.k8s.io"), "kubernetes", "default")
    assert slices["endpoints"][0]["addresses"] == ["10.1.2.3"]


async def test_a_loopback_address_is_not_published(store: Store) -> None:
    api = APIServer(APIServerSettings(advertise_address="127.0.0.1"), store)
    await api.start()
    try:
        with pytest.raises(NotFound):
            await api.client.get(resource("endpoints"), "kubernetes", "default")
    finally:
        await api.stop()


async def make_range(client: Client, name: str, cidr: str, ready: str = "True") -> None:
    await client.create(RANGES, {"metadata": {"name": name}, "spec": {"cidrs": [cidr]}})
    condition = {
        "type": "Ready", "status": ready, "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    patch = {"status": {"conditions": [condition]}}
    await client.patch(RANGES, name, patch, subresource="status")


async def test_a_further_range_is_used_when_the_first_is_full(store: Store) -> None:
    api = APIServer(APIServerSettings(service_cidr="10.1.0.0/29"), store, rng=random.Random(1))
    await api.start()
    try:
        for number in range(5):
            await api.client.create(SERVICES, service(f"s{number}"))
        with pytest.raises(InternalError, match="is full"):
            await api.client.create(SERVICES, service("more"))
        await make_range(api.client, "unready", "10.8.0.0/28", "False")
        with pytest.raises(InternalError, match="is full"):
            await api.client.create(SERVICES, service("more"))
        await make_range(api.client, "further", "10.9.0.0/28")
        made = await api.client.create(SERVICES, service("more"))
        assert made["spec"]["clusterIP"].startswith("10.9.0.")
    finally:
        await api.stop()


async def test_an_address_of_a_further_range_may_be_chosen(client: Client) -> None:
    with pytest.raises(Invalid, match="does not match the current range"):
        await client.create(SERVICES, service(clusterIP="10.9.0.7"))
    await make_range(client, "further", "10.9.0.0/28")
    made = await client.create(SERVICES, service(clusterIP="10.9.0.7"))
    assert made["spec"]["clusterIP"] == "10.9.0.7"


class _Later:
    """The clock, so much later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return time.time() + self._seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._seconds


async def repaired(api: APIServer, seconds: float = 0.0) -> int:
    assert api.service_repair is not None
    api.registry.clock = _Later(seconds)
    return await api.service_repair.look()


async def reasons(client: Client) -> set[str]:
    return {each["reason"] for each in (await client.list(EVENTS))["items"]}


async def eventually_told(client: Client, reason: str) -> None:
    for _ in range(250):
        if reason in await reasons(client):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"no event says {reason}")


async def test_an_address_that_nothing_holds_any_more_is_held_again(store: Store) -> None:
    api = APIServer(APIServerSettings(), store)
    await api.start()
    try:
        ip = (await api.client.create(SERVICES, service()))["spec"]["clusterIP"]
        assert await repaired(api) == 0
        await api.client.delete(ADDRESSES, ip)
        assert await repaired(api) == 1
        held = await api.client.get(ADDRESSES, ip)
        assert held["spec"]["parentRef"]["name"] == "web"
        await eventually_told(api.client, "ClusterIPNotAllocated")
        assert await repaired(api) == 0
    finally:
        await api.stop()


async def test_an_address_without_a_service_is_given_back_after_a_minute(store: Store) -> None:
    api = APIServer(APIServerSettings(), store)
    await api.start()
    try:
        parent = {"group": "", "resource": "services", "namespace": "default", "name": "gone"}
        labels = {
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            "ipaddress.kubernetes.io/ip-family": "IPv4",
        }
        for name, marked in (("10.0.0.77", labels), ("10.0.0.78", {})):
            made = {"metadata": {"name": name, "labels": marked}, "spec": {"parentRef": parent}}
            await api.client.create(ADDRESSES, made)
        assert await repaired(api, 30.0) == 0
        assert await repaired(api, 90.0) == 1
        left = await addresses(api.client)
        assert "10.0.0.77" not in left and "10.0.0.78" in left
        await eventually_told(api.client, "IPAddressNotAllocated")
    finally:
        await api.stop()


async def test_an_address_of_a_service_that_has_another_is_given_back(store: Store) -> None:
    api = APIServer(APIServerSettings(), store)
    await api.start()
    try:
        ip = (await api.client.create(SERVICES, service()))["spec"]["clusterIP"]
        held = await api.client.get(ADDRESSES, ip)
        other = "10.0.0.99" if ip != "10.0.0.99" else "10.0.0.98"
        made = {"metadata": {"name": other, "labels": held["metadata"]["labels"]}, "spec": held["spec"]}
        await api.client.create(ADDRESSES, made)
        assert await repaired(api, 90.0) == 1
        assert {ip} <= await addresses(api.client) and other not in await addresses(api.client)
        await eventually_told(api.client, "IPAddressWrongReference")
    finally:
        await api.stop()
