"""Where pods find the API servers: the endpoints of ``default/kubernetes``, of one server and of several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.endpoint import ANNOTATION
from sublet.apiserver.identity import Identity
from sublet.apiserver.settings import APIServerSettings
from sublet.kinds.resources import resource
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import NotFound
from sublet.store.interface import Store

ENDPOINTS = resource("endpoints")
SLICES = resource("endpointslices.discovery.k8s.io")
LEASES = resource("leases.coordination.k8s.io")

Start = Callable[..., "APIServer"]


class Clock(SystemClock):
    """Ahead of the system's by what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
async def servers(store: Store) -> AsyncIterator[list[APIServer]]:
    """Two on one store, on machines of different names, their clocks in step."""
    clock, made = Clock(), []
    for number in (3, 2):
        api = APIServer(APIServerSettings(advertise_address=f"10.1.2.{number}"), store, clock=clock)
        api.identity = Identity(api, f"machine-{number}")
        await api.start()
        made.append(api)
    yield made
    for api in made:
        await api.stop()


async def shown(api: APIServer) -> list[str]:
    """The ready addresses; the slice must tell the same."""
    await api.caches.fresh(1.0)
    endpoints = await api.client.get(ENDPOINTS, "kubernetes", "default")
    found = await api.client.get(SLICES, "kubernetes", "default")
    assert endpoints["metadata"]["labels"] == {"endpointslice.kubernetes.io/skip-mirror": "true"}
    addresses = [each["ip"] for each in endpoints["subsets"][0].get("addresses") or ()]
    assert [each["addresses"][0] for each in found["endpoints"] if each["conditions"]["ready"]] == addresses
    assert (
        found["ports"]
        == endpoints["subsets"][0]["ports"]
        == [{"name": "https", "port": 6443, "protocol": "TCP"}]
    )
    return addresses


async def test_servers_of_one_store_publish_the_endpoints_of_all(servers: list[APIServer]) -> None:
    for api in servers:
        await api.endpoint.publish()
        assert await shown(api) == ["10.1.2.2", "10.1.2.3"]


async def test_a_server_that_goes_takes_its_address_away(servers: list[APIServer]) -> None:
    first, second = servers
    await first.endpoint.publish()
    await second.withdraw()
    assert await shown(first) == ["10.1.2.3"]


async def test_the_last_server_leaves_its_address_to_whoever_starts_again(servers: list[APIServer]) -> None:
    first, second = servers
    await second.withdraw()
    await first.client.delete(LEASES, second.identity.name, "kube-system")
    await first.withdraw()
    assert await shown(first) == ["10.1.2.3"]


async def test_a_server_that_is_silent_for_half_a_minute_is_no_endpoint(servers: list[APIServer]) -> None:
    first, second = servers
    await first.endpoint.publish()
    assert isinstance(first.clock, Clock)
    first.clock.ahead = 20.0
    await second.identity.renew()
    await first.caches.fresh(1.0)
    await first.endpoint.publish()
    first.clock.ahead = 45.0
    await first.endpoint.publish()
    assert await shown(first) == ["10.1.2.2", "10.1.2.3"]
    first.clock.ahead = 51.0
    await first.endpoint.publish()
    assert await shown(first) == ["10.1.2.3"]


async def test_a_lease_that_was_silent_before_is_no_endpoint(servers: list[APIServer]) -> None:
    first, _ = servers
    old = {
        "metadata": {"name": "apiserver-old", "namespace": "kube-system", "annotations": {ANNOTATION: "10.9.9.9"}},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00.000000Z"},
    }  # fmt: skip
    await first.client.create(LEASES, old)
    await first.endpoint.publish()
    assert "10.9.9.9" not in await shown(first)


async def test_a_server_that_only_its_machine_reaches_is_an_endpoint_that_is_not_ready(store: Store) -> None:
    settings = APIServerSettings(advertise_address="127.0.0.1", machine_address="10.7.7.7")
    api = APIServer(settings, store)
    await api.start()
    try:
        assert await shown(api) == []
        endpoints = await api.client.get(ENDPOINTS, "kubernetes", "default")
        assert endpoints["subsets"][0]["notReadyAddresses"] == [{"ip": "10.7.7.7"}]
    finally:
        await api.stop()


async def test_without_any_address_there_are_no_endpoints(store: Store) -> None:
    api = APIServer(APIServerSettings(advertise_address="::1"), store)
    await api.start()
    try:
        for kind in (ENDPOINTS, SLICES):
            with pytest.raises(NotFound):
                await api.client.get(kind, "kubernetes", "default")
    finally:
        await api.stop()


async def test_the_address_of_a_restarted_server_replaces_the_one_it_had(store: Store) -> None:
    for address in ("10.1.2.3", "10.1.2.4"):
        api = APIServer(APIServerSettings(advertise_address=address), store)
        await api.start()
        try:
            assert await shown(api) == [address]
        finally:
            await api.stop()
