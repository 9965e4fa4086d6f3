"""What an update of a Service keeps, gives up and may not have."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import InternalError, Invalid

SERVICES = resource("services")
NOT_DUAL = "this cluster is not configured for dual-stack services"


async def make(client: Client, **spec: Any) -> Object:
    ports = spec.pop("ports", None) or [{"port": 80}]
    return await client.create(
        SERVICES,
        {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": ports, **spec}},
    )


async def change(client: Client, service: Object, without: tuple[str, ...] = (), **spec: Any) -> Object:
    kept = {key: value for key, value in service["spec"].items() if key not in without}
    return await client.update(SERVICES, {**service, "spec": {**kept, **spec}})


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
async def test_a_node_port_stays_with_the_name_of_its_port(client: Client, kind: str) -> None:
    made = await make(client, type=kind, ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}])
    a, b = (port["nodePort"] for port in made["spec"]["ports"])
    swapped = [{"name": "b", "port": 8080, "protocol": "UDP"}, {"name": "a", "port": 81}]
    changed = await change(client, made, ports=swapped)
    assert [port["nodePort"] for port in changed["spec"]["ports"]] == [b, a]


async def test_a_node_port_that_another_port_asks_for_moves(client: Client) -> None:
    made = await make(client, type="NodePort", ports=[{"name": "a", "port": 80, "nodePort": 30100}])
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30100}]
    changed = await change(client, made, ports=ports)
    first, second = (port["nodePort"] for port in changed["spec"]["ports"])
    assert second == 30100 and first not in (0, 30100)


async def test_a_node_port_asked_for_is_taken_though_none_are_chosen(client: Client) -> None:
    ports = [{"name": "a", "port": 80, "nodePort": 30100}, {"name": "b", "port": 81}]
    made = await make(client, type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=ports)
    assert [port.get("nodePort") for port in made["spec"]["ports"]] == [30100, None]
    with pytest.raises(Invalid) as refused:
        await client.create(
            SERVICES,
            {
                "metadata": {"name": "other", "namespace": "default"},
                "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30100}]},
            },
        )
    assert "provided port is already allocated" in refused.value.message


async def test_a_service_that_is_no_longer_exposed_loses_its_node_ports(client: Client) -> None:
    made = await make(client, type="NodePort")
    changed = await change(client, made, type="ClusterIP")
    assert "nodePort" not in changed["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in changed["spec"]


async def test_a_node_port_named_anew_is_refused_where_the_type_has_none(client: Client) -> None:
    made = await make(client, type="NodePort")
    with pytest.raises(Invalid, match=r"spec.ports\[1\].nodePort: Forbidden: may not be used when"):
        ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30999}]
        await change(client, made, type="ClusterIP", ports=ports)


async def test_a_health_check_port_that_cannot_be_had_is_the_servers_failure(client: Client) -> None:
    with pytest.raises(InternalError) as refused:
        await make(client, type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=99)
    assert refused.value.message == (
        "Internal error occurred: failed to allocate requested HealthCheck NodePort 99: "
        "provided port is not in the valid range. The range of valid ports is 30000-32767"
    )


LOCAL: Object = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}


async def test_a_health_check_port_is_no_port_of_the_same_service(client: Client) -> None:
    ports = [{"port": 80, "nodePort": 30801}]
    taken = "failed to allocate requested HealthCheck NodePort 30801: provided port is already allocated"
    with pytest.raises(InternalError, match=taken):
        await make(client, **LOCAL, healthCheckNodePort=30801, ports=ports)
    made = await make(client, type="NodePort", ports=ports)
    with pytest.raises(InternalError, match=taken):  # what it had is free only once it has something else
        await change(
            client, made, **LOCAL, healthCheckNodePort=30801, ports=[{"port": 80, "nodePort": 30802}]
        )
    changed = await change(client, made, **LOCAL, healthCheckNodePort=30803)
    with pytest.raises(
        Invalid, match=r"spec.ports\[0\].nodePort: .* 30803: provided port is already allocated"
    ):
        await change(client, changed, ports=[{"port": 80, "nodePort": 30803}])


@pytest.mark.parametrize("without", [("clusterIP",), ("clusterIPs",), ("clusterIP", "clusterIPs")])
async def test_an_address_left_out_is_kept(client: Client, without: tuple[str, ...]) -> None:
    made = await make(client)
    changed = await change(client, made, without, selector={"app": "other"})
    assert changed["spec"]["clusterIPs"] == made["spec"]["clusterIPs"]
    assert changed["spec"]["clusterIP"] == made["spec"]["clusterIP"]


async def test_a_changed_address_is_refused_in_the_list_too(client: Client) -> None:
    made = await make(client)
    with pytest.raises(Invalid) as refused:
        await change(client, made, clusterIP="10.0.0.77")
    assert refused.value.message == (
        'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["10.0.0.77"]: may not change once set'
    )


FAMILIES = {
    "a policy that needs both": (
        {"ipFamilyPolicy": "RequireDualStack"},
        [f'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": {NOT_DUAL}'],
    ),
    "both asked for": (
        {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]},
        [
            f'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": {NOT_DUAL}',
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ],
    ),
    "the other family": (
        {"ipFamilies": ["IPv6"]},
        ['spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
    ),
    "two families and no policy": (
        {"ipFamilies": ["IPv4", "IPv6"]},
        [
            'spec.ipFamilyPolicy: Invalid value: "SingleStack": must be '
            "'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        ],
    ),
    "an address of the other family": (
        {"clusterIP": "2001:db8::7"},
        [
            'spec.clusterIPs[0]: Invalid value: ["2001:db8::7"]: IPv6 is not configured on this cluster',
        ],
    ),
    "addresses of both": (
        {"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7", "2001:db8::7"]},
        [
            'spec.ipFamilyPolicy: Invalid value: "SingleStack": must be '
            "'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
            'spec.clusterIPs[1]: Invalid value: ["10.0.0.7","2001:db8::7"]: IPv6 is not configured on this cluster',
        ],
    ),
}


@pytest.mark.parametrize("case", FAMILIES)
async def test_families_that_the_cluster_lacks_are_refused(client: Client, case: str) -> None:
    spec, expected = FAMILIES[case]
    with pytest.raises(Invalid) as refused:
        await make(client, selector={"app": "web"}, **spec)
    found = [f"{cause.field}: {cause.message}" for cause in refused.value.causes]
    assert found == expected


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, "RequireDualStack", ["IPv4", "IPv6"]),
        ({"ipFamilies": ["IPv6"]}, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "SingleStack"}, "SingleStack", ["IPv4"]),
        ({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
        ({"selector": {"app": "web"}}, "SingleStack", ["IPv4"]),
        ({"selector": {"app": "web"}, "ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4"]),
    ],
)
async def test_a_headless_service_without_selector_may_have_both_families(
    client: Client, spec: Object, policy: str, families: list[str]
) -> None:
    made = (await make(client, clusterIP="None", **spec))["spec"]
    assert (made["ipFamilyPolicy"], made["ipFamilies"]) == (policy, families)


async def test_a_family_is_released_only_by_a_policy_of_one(client: Client) -> None:
    made = await make(client, clusterIP="None")
    with pytest.raises(Invalid, match="must be 'SingleStack' to release the secondary IP family"):
        await change(client, made, ipFamilies=["IPv4"])
    changed = await change(client, made, ipFamilyPolicy="SingleStack")
    assert changed["spec"]["ipFamilies"] == ["IPv4"]
