"""Services of a cluster that has ranges of both address families."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.networks import family
from sublet.machinery.status import Invalid, NotFound
from sublet.store.interface import Store

SERVICES, ADDRESSES = resource("services"), resource("ipaddresses.networking.k8s.io")
RANGES = resource("servicecidrs.networking.k8s.io")
BOTH = "10.0.0.0/24,fd00:10::/112"
SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"


def server(store: Store, ranges: str = BOTH) -> APIServer:
    return APIServer(APIServerSettings(service_cidr=ranges), store, rng=random.Random(1))


@pytest.fixture
async def dual(store: Store) -> AsyncIterator[APIServer]:
    api = server(store)
    await api.start()
    yield api
    await api.stop()


async def make(client: Client, name: str = "web", **spec: Any) -> Object:
    wanted = {"selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
    return await client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": wanted})


async def change(client: Client, service: Object, without: tuple[str, ...] = (), **spec: Any) -> Object:
    kept = {key: value for key, value in service["spec"].items() if key not in without}
    return await client.update(SERVICES, {**service, "spec": {**kept, **spec}})


async def held(client: Client) -> set[str]:
    return {objects.name(item) for item in (await client.list(ADDRESSES))["items"]}


def causes(refused: pytest.ExceptionInfo[Invalid]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in refused.value.causes]


CREATED = {
    "nothing stated": ({}, SINGLE, ["IPv4"]),
    "one family by policy": ({"ipFamilyPolicy": SINGLE}, SINGLE, ["IPv4"]),
    "the other family": ({"ipFamilies": ["IPv6"]}, SINGLE, ["IPv6"]),
    "an address of the other family": ({"clusterIP": "fd00:10::7"}, SINGLE, ["IPv6"]),
    "both preferred": ({"ipFamilyPolicy": PREFER}, PREFER, ["IPv4", "IPv6"]),
    "both preferred, the other first": (
        {"ipFamilyPolicy": PREFER, "ipFamilies": ["IPv6"]}, PREFER, ["IPv6", "IPv4"],
    ),
    "both required": ({"ipFamilyPolicy": REQUIRE}, REQUIRE, ["IPv4", "IPv6"]),
    "both required in an order": (
        {"ipFamilyPolicy": REQUIRE, "ipFamilies": ["IPv6", "IPv4"]}, REQUIRE, ["IPv6", "IPv4"],
    ),
    "an address of one": (
        {"ipFamilyPolicy": REQUIRE, "clusterIP": "fd00:10::7"}, REQUIRE, ["IPv6", "IPv4"],
    ),
    "addresses of both": (
        {"ipFamilyPolicy": PREFER, "clusterIP": "fd00:10::7", "clusterIPs": ["fd00:10::7", "10.0.0.9"]},
        PREFER, ["IPv6", "IPv4"],
    ),
    "balanced": ({"type": "LoadBalancer", "ipFamilyPolicy": REQUIRE}, REQUIRE, ["IPv4", "IPv6"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CREATED)
async def test_a_service_gets_an_address_of_each_of_its_families(dual: APIServer, case: str) -> None:
    spec, policy, families = CREATED[case]
    made = (await make(dual.client, **spec))["spec"]
    assert (made["ipFamilyPolicy"], made["ipFamilies"]) == (policy, families)
    assert [family(ip) for ip in made["clusterIPs"]] == families
    assert made["clusterIP"] == made["clusterIPs"][0]
    assert made["clusterIPs"][: len(spec.get("clusterIPs", []))] == spec.get("clusterIPs", [])
    assert set(made["clusterIPs"]) <= await held(dual.client)


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, SINGLE, ["IPv4"]),
        ({"selector": None}, REQUIRE, ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": PREFER}, PREFER, ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": REQUIRE, "ipFamilies": ["IPv6"]}, REQUIRE, ["IPv6", "IPv4"]),
        ({"selector": None, "ipFamilyPolicy": SINGLE, "ipFamilies": ["IPv6"]}, SINGLE, ["IPv6"]),
    ],
)
async def test_a_headless_service_has_families_and_no_address(
    dual: APIServer, spec: Object, policy: str, families: list[str]
) -> None:
    before = await held(dual.client)
    made = (await make(dual.client, clusterIP="None", **spec))["spec"]
    assert (made["clusterIPs"], made["ipFamilyPolicy"], made["ipFamilies"]) == (["None"], policy, families)
    assert await held(dual.client) == before


TWO = {"ipFamilies": ["IPv4", "IPv6"]}
MANY = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"
REFUSED = {
    "two families and no policy": (
        TWO,
        [f'spec.ipFamilyPolicy: Invalid value: "SingleStack": {MANY} IP families are specified'],
    ),
    "two addresses and one family by policy": (
        {"ipFamilyPolicy": SINGLE, "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7", "fd00:10::7"]},
        [f'spec.ipFamilyPolicy: Invalid value: "SingleStack": {MANY} cluster IPs are specified'],
    ),
    "an address of another family than stated, whatever else is wrong": (
        {"ipFamilies": ["IPv6"], "clusterIP": "10.0.0.7", "ports": []},
        [
            'spec.clusterIPs[0]: Invalid value: "10.0.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`'
        ],
    ),
    "a family twice": (
        {"ipFamilyPolicy": REQUIRE, "ipFamilies": ["IPv4", "IPv4"]},
        ['spec.ipFamilies[1]: Duplicate value: "IPv4"'],
    ),
    "two addresses of one family": (
        {"ipFamilyPolicy": REQUIRE, "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7", "10.0.0.8"]},
        [
            'spec.clusterIPs: Invalid value: ["10.0.0.7","10.0.0.8"]: '
            "may specify no more than one IP for each IP family"
        ],
    ),
    "an address outside of the range, beside one that is to be chosen, whatever else is wrong": (
        {"ipFamilyPolicy": REQUIRE, "clusterIP": "10.9.0.7", "ports": []},
        [
            'spec.clusterIPs: Invalid value: ["10.9.0.7",""]: failed to allocate IP 10.9.0.7: '
            "the provided network does not match the current range"
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_does_not_fit_together_is_refused(dual: APIServer, case: str) -> None:
    spec, expected = REFUSED[case]
    with pytest.raises(Invalid) as refused:
        await make(dual.client, **spec)
    assert causes(refused) == expected


async def test_the_first_address_is_given_back_where_the_second_cannot_be_had(dual: APIServer) -> None:
    before = await held(dual.client)
    ips = ["10.0.0.7", "fd00:99::7"]
    with pytest.raises(Invalid, match="failed to allocate IP fd00:99::7"):
        await make(dual.client, ipFamilyPolicy=REQUIRE, clusterIP=ips[0], clusterIPs=ips)
    assert await held(dual.client) == before


async def test_an_address_in_another_form_is_the_same_address(dual: APIServer) -> None:
    made = await make(dual.client, ipFamilies=["IPv6"], clusterIP="fd00:10:0::7")
    assert made["spec"]["clusterIPs"] == ["fd00:10:0::7"]
    assert "fd00:10::7" in await held(dual.client)
    with pytest.raises(Invalid, match="provided IP is already allocated"):
        await make(dual.client, "other", clusterIP="fd00:10::7")
    await dual.client.delete(SERVICES, "web", "default")
    assert "fd00:10::7" not in await held(dual.client)


@pytest.mark.parametrize("spec", [{}, {"ipFamilies": ["IPv4", "IPv6"]}, {"without": ("ipFamilies",)}])
@pytest.mark.parametrize("policy", [PREFER, REQUIRE])
async def test_a_service_gains_a_second_address_by_its_policy(
    dual: APIServer, policy: str, spec: dict[str, Any]
) -> None:
    made = await make(dual.client)
    changed = (await change(dual.client, made, ipFamilyPolicy=policy, **spec))["spec"]
    assert changed["clusterIPs"][0] == made["spec"]["clusterIP"]
    assert [family(ip) for ip in changed["clusterIPs"]] == changed["ipFamilies"] == ["IPv4", "IPv6"]
    address = await dual.client.get(ADDRESSES, changed["clusterIPs"][1])
    assert address["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] == "IPv6"
    assert address["spec"]["parentRef"]["name"] == "web"


async def test_a_service_gains_the_second_address_that_it_asks_for(dual: APIServer) -> None:
    made = await make(dual.client)
    ips = [made["spec"]["clusterIP"], "fd00:10::42"]
    with pytest.raises(Invalid, match=f"{MANY} cluster IPs are specified"):
        await change(dual.client, made, clusterIPs=ips)
    changed = await change(dual.client, made, clusterIPs=ips, ipFamilyPolicy=REQUIRE)
    assert changed["spec"]["clusterIPs"] == ips
    assert set(ips) <= await held(dual.client)


async def test_a_service_loses_its_second_address_by_its_policy(dual: APIServer) -> None:
    made = await make(dual.client, ipFamilyPolicy=REQUIRE)
    first, second = made["spec"]["clusterIPs"]
    changed = (await change(dual.client, made, ipFamilyPolicy=SINGLE))["spec"]
    assert (changed["clusterIPs"], changed["ipFamilies"]) == ([first], ["IPv4"])
    assert first in await held(dual.client) and second not in await held(dual.client)


RELEASED = {
    "the address": (
        {"clusterIPs": 1},
        ['spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be \'SingleStack\' to release the secondary cluster IP'],
    ),
    "the family": (
        {"ipFamilies": 1},
        ['spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be \'SingleStack\' to release the secondary IP family'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RELEASED)
async def test_a_second_address_is_released_only_by_the_policy(dual: APIServer, case: str) -> None:
    lists, expected = RELEASED[case]
    made = await make(dual.client, ipFamilyPolicy=REQUIRE)
    spec = {field: made["spec"][field][:count] for field, count in lists.items()}
    with pytest.raises(Invalid) as refused:
        await change(dual.client, made, **spec)
    assert causes(refused) == expected
    changed = await change(dual.client, made, **spec, ipFamilyPolicy=SINGLE)
    assert len(changed["spec"]["clusterIPs"]) == len(changed["spec"]["ipFamilies"]) == 1


async def test_neither_address_changes_and_the_order_of_families_stays(dual: APIServer) -> None:
    made = await make(dual.client, ipFamilyPolicy=REQUIRE)
    ips = [made["spec"]["clusterIP"], "fd00:10::99"]
    with pytest.raises(Invalid, match=r"spec.clusterIPs\[1\]: Invalid value: .*: may not change once set"):
        await change(dual.client, made, clusterIPs=ips)
    with pytest.raises(Invalid, match=r"expected an IPv6 value as indicated by `ipFamilies\[0\]`"):
        await change(dual.client, made, ipFamilies=["IPv6", "IPv4"])


async def test_an_external_service_that_becomes_one_of_two_families_gets_both(dual: APIServer) -> None:
    made = await dual.client.create(
        SERVICES,
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "a.b", "ports": [{"port": 80}]},
        },
    )
    changed = await change(dual.client, made, ("externalName",), type="ClusterIP", ipFamilyPolicy=REQUIRE)
    assert [family(ip) for ip in changed["spec"]["clusterIPs"]] == ["IPv4", "IPv6"]
    await change(
        dual.client, changed, ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"),
        type="ExternalName", externalName="a.b",
    )  # fmt: skip
    assert not set(changed["spec"]["clusterIPs"]) & await held(dual.client)


async def test_the_default_range_and_service_are_of_the_primary_family_first(dual: APIServer) -> None:
    assert (await dual.client.get(RANGES, "kubernetes"))["spec"]["cidrs"] == BOTH.split(",")
    own = (await dual.client.get(SERVICES, "kubernetes", "default"))["spec"]
    assert (own["clusterIPs"], own["ipFamilies"], own["ipFamilyPolicy"]) == (["10.0.0.1"], ["IPv4"], SINGLE)


async def test_the_other_family_may_be_the_primary_one(store: Store) -> None:
    api = server(store, "fd00:10::/112,10.0.0.0/24")
    await api.start()
    try:
        assert (await api.client.get(SERVICES, "kubernetes", "default"))["spec"]["clusterIPs"] == [
            "fd00:10::1"
        ]
        assert (await make(api.client))["spec"]["ipFamilies"] == ["IPv6"]
        assert (await make(api.client, "b", ipFamilyPolicy=PREFER))["spec"]["ipFamilies"] == ["IPv6", "IPv4"]
    finally:
        await api.stop()


async def test_a_cluster_gains_a_family_and_its_services_only_as_they_are_changed(store: Store) -> None:
    api = server(store, "10.0.0.0/24")
    await api.start()
    made = await make(api.client, ipFamilyPolicy=PREFER)
    assert made["spec"]["ipFamilies"] == ["IPv4"]
    await api.stop()
    api = server(store)
    await api.start()
    try:
        assert (await api.client.get(RANGES, "kubernetes"))["spec"]["cidrs"] == BOTH.split(",")
        kept = await change(api.client, made, selector={"app": "other"})
        assert kept["spec"]["clusterIPs"] == made["spec"]["clusterIPs"]
        changed = await change(api.client, kept, ipFamilyPolicy=REQUIRE)
        assert changed["spec"]["ipFamilies"] == ["IPv4", "IPv6"] and len(changed["spec"]["clusterIPs"]) == 2
    finally:
        await api.stop()


async def test_a_lost_address_of_the_second_family_is_held_again(dual: APIServer) -> None:
    second = (await make(dual.client, ipFamilyPolicy=REQUIRE))["spec"]["clusterIPs"][1]
    await dual.client.delete(ADDRESSES, second)
    with pytest.raises(NotFound):
        await dual.client.get(ADDRESSES, second)
    assert dual.service_repair is not None
    assert await dual.service_repair.look() == 1
    assert (await dual.client.get(ADDRESSES, second))["spec"]["parentRef"]["name"] == "web"


async def test_a_further_range_gives_addresses_of_its_family(dual: APIServer) -> None:
    await dual.client.create(RANGES, {"metadata": {"name": "further"}, "spec": {"cidrs": ["fd00:99::/112"]}})
    ips = ["10.0.0.7", "fd00:99::7"]
    made = await make(dual.client, ipFamilyPolicy=REQUIRE, clusterIP=ips[0], clusterIPs=ips)
    assert made["spec"]["clusterIPs"] == ips


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, ["metadata.name"]),
        ({"clusterIP": "None"}, ["metadata.name", "spec.ports[0].port", "spec.ports[0].targetPort"]),
    ],
)
async def test_of_a_name_that_no_address_can_be_held_for_nothing_else_is_told(
    dual: APIServer, spec: Object, told: list[str]
) -> None:
    with pytest.raises(Invalid) as refused:
        await make(dual.client, "No-Name", ports=[{"port": 0}], **spec)
    assert [cause.field for cause in refused.value.causes] == told
