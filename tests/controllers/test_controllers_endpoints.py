"""Which endpoints a service has and how its slices are kept with few writes."""

from __future__ import annotations

from typing import Any

from controllers_cluster import running
from hypothesis import given, settings
from hypothesis import strategies as st

from sublet.controllers import endpoints, endpointslice, endpointslice_mirroring
from sublet.kinds.resources import resource
from sublet.reconcile import endpointslices
from sublet.reconcile.endpointslices import Group

METADATA: dict[str, dict[str, str]] = {"labels": {"a": "b"}, "annotations": {}}
PORTS = [{"name": "", "port": 80, "protocol": "TCP"}]


def service(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], **spec},
    }


def pod(ip: str, ready: bool = True, port: int = 8080, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": ip, "namespace": "ns", "uid": ip, **metadata},
        "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }  # fmt: skip


def apply(existing: list[Any], changes: endpointslices.Changes) -> list[Any]:
    updated = {s["metadata"]["name"]: s for s in changes.update}
    gone = {s["metadata"]["name"] for s in changes.delete}
    kept = [updated.get(s["metadata"]["name"], s) for s in existing if s["metadata"]["name"] not in gone]
    for group in changes.create:
        name = f"s{len(kept)}-{id(group)}"
        kept.append(
            {
                "metadata": {"name": name, **METADATA},
                "addressType": group.address_type,
                "ports": list(group.ports),
                "endpoints": list(group.endpoints),
            }
        )
    return kept


def wanted(numbers: set[int]) -> list[Group]:
    some = [{"addresses": [f"10.0.{n // 250}.{n % 250}"]} for n in sorted(numbers)]
    return [Group("IPv4", PORTS if some else [], some)]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sets(st.integers(0, 350), max_size=350), min_size=1, max_size=5))
def test_slices_hold_exactly_the_wanted_endpoints_and_settle(steps: list[set[int]]) -> None:
    slices: list[Any] = []
    for numbers in steps:
        slices = apply(slices, endpointslices.plan(slices, wanted(numbers), METADATA))
        held = [e["addresses"][0] for s in slices for e in s["endpoints"]]
        assert sorted(held) == sorted(e["addresses"][0] for e in wanted(numbers)[0].endpoints)
        assert all(len(s["endpoints"]) <= endpointslices.LIMIT for s in slices) and slices
        again = endpointslices.plan(slices, wanted(numbers), METADATA)
        assert not (again.create or again.update or again.delete)


def test_one_more_endpoint_costs_one_write() -> None:
    slices = apply([], endpointslices.plan([], wanted(set(range(150))), METADATA))
    changes = endpointslices.plan(slices, wanted(set(range(151))), METADATA)
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


def test_a_named_port_is_resolved_in_each_pod() -> None:
    found = endpointslice.groups(service(), [pod("10.0.0.1"), pod("10.0.0.2", port=9090)], lambda _node: "")
    assert sorted((g.ports[0]["port"], len(g.endpoints)) for g in found) == [(8080, 1), (9090, 1)]


def test_a_pod_on_its_way_out_still_serves_but_is_not_ready() -> None:
    going = pod("10.0.0.1", deletionTimestamp="2026-01-01T00:00:00Z")
    made = endpointslice.groups(service(), [going], lambda _node: "zone-a")[0].endpoints[0]
    assert made["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert made["zone"] == "zone-a" and made["targetRef"]["kind"] == "Pod"


def test_traffic_may_be_kept_in_the_zone() -> None:
    made = endpointslice.groups(
        service(trafficDistribution="PreferClose"), [pod("10.0.0.1")], lambda _node: "z"
    )
    assert made[0].endpoints[0]["hints"] == {"forZones": [{"name": "z"}]}


def test_each_address_family_has_slices_of_its_own() -> None:
    dual = pod("10.0.0.1")
    dual["status"]["podIPs"].append({"ip": "fd00::1"})
    found = endpointslice.groups(service(ipFamilies=["IPv4", "IPv6"]), [dual], lambda _node: "")
    assert [(g.address_type, g.endpoints[0]["addresses"]) for g in found] == [
        ("IPv4", ["10.0.0.1"]),
        ("IPv6", ["fd00::1"]),
    ]


def test_endpoints_keep_ready_addresses_apart() -> None:
    found = endpoints.subsets(service(), [pod("10.0.0.2"), pod("10.0.0.1", False)])
    assert [a["ip"] for a in found[0]["addresses"]] == ["10.0.0.2"]
    assert [a["ip"] for a in found[0]["notReadyAddresses"]] == ["10.0.0.1"]
    published = endpoints.subsets(service(publishNotReadyAddresses=True), [pod("10.0.0.1", False)])
    assert "notReadyAddresses" not in published[0]


def test_a_pod_on_its_way_out_is_published_where_unready_ones_are() -> None:
    going = pod("10.0.0.1", ready=False, deletionTimestamp="2026-01-01T00:00:00Z")
    assert endpoints.subsets(service(), [going]) == []
    published = endpoints.subsets(service(publishNotReadyAddresses=True), [going])
    assert [a["ip"] for a in published[0]["addresses"]] == ["10.0.0.1"]


def test_a_headless_service_without_ports_has_addresses_and_one_whose_port_nobody_has_none() -> None:
    found = endpoints.subsets(service(clusterIP="None", ports=[]), [pod("10.0.0.1")])
    assert [a["ip"] for a in found[0]["addresses"]] == ["10.0.0.1"] and "ports" not in found[0]
    named = [{"port": 80, "targetPort": "metrics"}]
    assert endpoints.subsets(service(clusterIP="None", ports=named), [pod("10.0.0.1")]) == []


def test_more_than_a_thousand_addresses_are_cut_ready_ones_first() -> None:
    pods = [pod(f"10.0.{n // 250}.{n % 250 + 1}", ready=n % 2 == 0) for n in range(1500)]
    found, over = endpoints.capped(endpoints.subsets(service(), pods))
    assert over and len(found[0]["addresses"]) == 750 and len(found[0]["notReadyAddresses"]) == 250


def test_mirrored_endpoints_keep_their_readiness() -> None:
    subset = {
        "addresses": [{"ip": "10.1.1.1"}],
        "notReadyAddresses": [{"ip": "10.1.1.2"}, {"ip": "fd00::2"}],
        "ports": [{"port": 80}],
    }
    found, _skipped = endpointslice_mirroring.groups({"subsets": [subset]})
    assert {g.address_type: [e["conditions"]["ready"] for e in g.endpoints] for g in found} == {
        "IPv4": [True, False],
        "IPv6": [False],
    }


def test_addresses_that_are_none_or_too_many_are_not_mirrored_but_counted() -> None:
    some = [{"ip": "10.1.1.1"}, {"ip": "somewhere"}, {"ip": "10.1.1.2"}, {"ip": "10.1.1.3"}]
    found, skipped = endpointslice_mirroring.groups({"subsets": [{"addresses": some}]}, most=3)
    assert [e["addresses"] for e in found[0].endpoints] == [["10.1.1.1"], ["10.1.1.2"]]
    assert (skipped.invalid, skipped.too_many) == (1, 1)


def test_slices_are_as_large_as_is_stated() -> None:
    changes = endpointslices.plan([], wanted(set(range(25))), METADATA, 10)
    assert [len(group.endpoints) for group in changes.create] == [10, 10, 5]


async def test_addresses_that_are_not_mirrored_are_told_of(eventually: Any) -> None:
    async with running({"endpointslice-mirroring-controller"}, 0) as cluster:
        await cluster.namespace()
        await cluster.make("services", "web", {"ports": [{"port": 80}]})
        some = [{"ip": f"10.1.{n // 250}.{n % 250 + 1}"} for n in range(1003)]
        stated = {"metadata": {"name": "web"}, "subsets": [{"addresses": some, "ports": [{"port": 80}]}]}
        await cluster.client.create(resource("endpoints"), stated, "test")

        async def told() -> list[str]:
            events = await cluster.items("events")
            return [e["message"] for e in events if e["reason"] == "TooManyAddressesToMirror"]

        assert await eventually(told) == [
            "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped"
        ]


async def test_a_service_may_ask_for_hints_and_is_told_when_it_has_them(eventually: Any) -> None:
    async with running({"endpointslice-controller", "serviceaccount-controller"}, 2) as cluster:
        await cluster.namespace()
        for number in range(2):
            labels = {"topology.kubernetes.io/zone": f"zone-{number}"}
            await cluster.client.patch(resource("nodes"), f"node-{number}", {"metadata": {"labels": labels}})
        auto = {"service.kubernetes.io/topology-mode": "Auto"}
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await cluster.make("services", "web", spec, annotations=auto)

        async def told() -> set[str]:
            return {e["message"] for e in await cluster.items("events") if "Hints" in e["reason"]}

        few = "Insufficient number of endpoints (0 endpoints, 2 zones), addressType: IPv4"
        await eventually(lambda: contains(told, few))
        await eventually(lambda: cluster.items("serviceaccounts"))
        for number in range(4):
            container = {"name": "c", "image": "i"}
            await cluster.make("pods", f"p{number}", {"containers": [container]}, labels={"app": "web"})

        async def hinted() -> bool:
            found = [
                e
                for s in await cluster.items("endpointslices.discovery.k8s.io")
                for e in s.get("endpoints") or ()
            ]
            return len(found) == 4 and all((e.get("hints") or {}).get("forZones") for e in found)

        await eventually(hinted)
        await eventually(lambda: contains(told, "Topology Aware Hints has been enabled, addressType: IPv4"))
        nothing = {"metadata": {"annotations": None}}
        await cluster.client.patch(resource("services"), "web", nothing, "test")
        await eventually(lambda: contains(told, "Topology Aware Hints has been disabled, addressType: IPv4"))


async def contains(found: Any, text: str) -> bool:
    return text in await found()
