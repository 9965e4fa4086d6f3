"""Which devices serve a claim: selectors, modes, alternatives, constraints, counters, taints. No API server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.scheduler.allocation import Selectors, Unallocatable, allocate
from sublet.scheduler.devices import in_use, pools

NODE = {"metadata": {"name": "a", "labels": {"rack": "1"}}}
CLASSES = {"gpu": {"metadata": {"name": "gpu"}, "spec": {
    "selectors": [{"cel": {"expression": 'device.driver == "gpu.example.com"'}}],
    "config": [{"opaque": {"driver": "gpu.example.com", "parameters": {"mode": "fast"}}}],
}}}  # fmt: skip


def device(name, **stated):
    attributes = {
        key: {"int": v} if isinstance(v, int) else {"string": v}
        for key, v in stated.pop("attributes", {}).items()
    }
    return {"name": name, "attributes": attributes, **stated}


def offer(*devices, node="a", driver="gpu.example.com", pool="p", generation=1, slices=1, **spec):
    where = {"nodeName": node} if node else {}
    named = {"name": pool, "generation": generation, "resourceSliceCount": slices}
    return {"spec": {"driver": driver, "pool": named, "devices": list(devices), **where, **spec}}


def claim(*requests, uid="c", **devices):
    return {
        "metadata": {"name": uid, "uid": uid},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def request(name="r", expression=None, **asked):
    selectors = [{"cel": {"expression": expression}}] if expression else []
    exact = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1, "selectors": selectors}
    return {"name": name, "exactly": {**exact, **asked}}


def solve(claims, slices, used=(), node=NODE):
    return allocate(claims, node, pools(slices), CLASSES, set(used), Selectors())


def names(found, uid="c"):
    return [each["device"] for each in found[uid]["devices"]["results"]]


def test_a_device_is_chosen_by_its_attributes_and_capacity():
    slices = [offer(
        device("small", attributes={"model": "x"}, capacity={"memory": {"value": "8Gi"}}),
        device("large", attributes={"model": "x"}, capacity={"memory": {"value": "40Gi"}}),
    )]  # fmt: skip
    rule = (
        'device.attributes["gpu.example.com"].model == "x" && '
        'device.capacity["gpu.example.com"].memory.compareTo(quantity("16Gi")) >= 0'
    )
    found = solve([claim(request(expression=rule))], slices)
    assert names(found) == ["large"]
    terms = found["c"]["nodeSelector"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]


def test_the_configuration_of_class_and_claim_goes_into_the_allocation():
    own = {"opaque": {"driver": "gpu.example.com", "parameters": {"n": 1}}}
    found = solve([claim(request(), config=[own])], [offer(device("d"))])
    sources = [(each["source"], each.get("requests")) for each in found["c"]["devices"]["config"]]
    assert sources == [("FromClass", ["r"]), ("FromClaim", None)]


def test_a_device_in_use_is_not_given_again_but_administrators_may_look_at_it():
    slices = [offer(device("d"))]
    first = solve([claim(request())], slices)
    used = in_use(first.values())
    assert solve([claim(request())], slices, used) is None
    admin = solve([claim(request(adminAccess=True))], slices, used)
    assert names(admin) == ["d"]
    assert in_use(admin.values()) == set()


def test_all_devices_are_given_or_none():
    slices = [offer(device("one"), device("two"))]
    every = claim(request(allocationMode="All", count=0))
    assert names(solve([every], slices)) == ["one", "two"]
    assert solve([every], slices, {("gpu.example.com", "p", "two")}) is None
    assert solve([every], [offer(device("one"), slices=2)]) is None, "a slice of the pool is missing"


def test_the_first_alternative_that_can_be_had_is_taken():
    several = {"name": "r", "firstAvailable": [
        {"name": "big", "deviceClassName": "gpu", "count": 2},
        {"name": "small", "deviceClassName": "gpu", "count": 1},
    ]}  # fmt: skip
    found = solve([claim(several)], [offer(device("d"))])
    assert [each["request"] for each in found["c"]["devices"]["results"]] == ["r/small"]


def test_constraints_make_the_search_look_further():
    slices = [offer(
        device("a1", attributes={"numa": 0}), device("b1", attributes={"numa": 1}),
        device("b2", attributes={"numa": 1}),
    )]  # fmt: skip
    alike = {"requests": [], "matchAttribute": "gpu.example.com/numa"}
    found = solve([claim(request("x"), request("y"), constraints=[alike])], slices)
    assert names(found) == ["b1", "b2"]
    apart = {"distinctAttribute": "gpu.example.com/numa"}
    found = solve([claim(request("x"), request("y"), constraints=[apart])], slices)
    assert names(found) == ["a1", "b1"]


def test_two_claims_of_a_pod_share_no_device():
    slices = [offer(device("one"), device("two"))]
    found = solve([claim(request(), uid="c"), claim(request(), uid="d")], slices)
    assert {*names(found, "c"), *names(found, "d")} == {"one", "two"}


def test_devices_that_share_counters_are_not_overcommitted():
    def part(name, amount):
        consumed = [{"counterSet": "card", "counters": {"memory": {"value": amount}}}]
        return device(name, consumesCounters=consumed)

    shared = [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]
    slices = [
        offer(part("half", "20Gi"), part("whole", "40Gi"), part("quarter", "10Gi"), sharedCounters=shared)
    ]
    found = solve([claim(request(count=2))], slices)
    assert names(found) == ["half", "quarter"]


def test_a_tainted_device_is_given_only_to_those_who_tolerate_it():
    taint = {"key": "broken", "effect": "NoSchedule"}
    slices = [offer(device("d", taints=[taint]))]
    assert solve([claim(request())], slices) is None
    tolerant = request(tolerations=[{"key": "broken", "operator": "Exists"}])
    assert names(solve([claim(tolerant)], slices)) == ["d"]


def test_devices_are_reached_from_where_their_slice_says():
    rack = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": ["1"]}]}]}
    found = solve([claim(request())], [offer(device("d"), node=None, nodeSelector=rack)])
    assert found["c"]["nodeSelector"] == rack
    assert (
        "nodeSelector" not in solve([claim(request())], [offer(device("d"), node=None, allNodes=True)])["c"]
    )
    assert solve([claim(request())], [offer(device("d"), node="b")]) is None


def test_an_older_generation_of_a_pool_is_gone():
    slices = [offer(device("old"), generation=1), offer(device("new"), generation=2)]
    assert names(solve([claim(request())], slices)) == ["new"]


def test_an_attribute_a_device_lacks_is_an_error_and_one_of_another_domain_is_not():
    slices = [offer(device("d"))]
    with pytest.raises(Unallocatable, match="no such key: nope"):
        solve([claim(request(expression='device.attributes["gpu.example.com"].nope == 1'))], slices)
    absent = 'has(device.attributes["other.example.com"].x) || true'
    assert names(solve([claim(request(expression=absent))], slices)) == ["d"]


def test_a_class_that_is_not_there_is_named():
    with pytest.raises(Unallocatable, match=r'deviceclass\.resource\.k8s\.io "none" not found'):
        solve([claim(request(deviceClassName="none"))], [offer(device("d"))])


def test_a_search_that_would_not_end_is_given_up():
    apart = {"distinctAttribute": "gpu.example.com/numa"}
    same = [device(f"d{n}", attributes={"numa": n % 5}) for n in range(60)]
    many = [request(f"r{n}") for n in range(30)]
    with pytest.raises(Unallocatable, match="takes too long"):
        solve([claim(*many, constraints=[apart])], [offer(*same)])


@given(st.integers(0, 6), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_what_is_allocated_is_never_more_than_there_is_and_each_device_once(total, counts):
    slices = [offer(*(device(f"d{n}") for n in range(total)))]
    found = solve([claim(*(request(f"r{n}", count=c) for n, c in enumerate(counts)))], slices)
    if sum(counts) > total:
        assert found is None
    else:
        assert len(set(names(found))) == sum(counts)


def test_a_selector_may_name_parts_of_a_device():
    slices = [offer(device("a", attributes={"x": 1}), device("b", attributes={"x": 2}))]
    rule = 'cel.bind(own, device.attributes["gpu.example.com"], own.x > 1 && own.x < 3)'
    assert names(solve([claim(request(expression=rule))], slices)) == ["b"]
