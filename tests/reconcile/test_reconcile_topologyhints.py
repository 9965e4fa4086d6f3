"""Which zone's clients endpoints are for, by the zones' shares of CPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.reconcile.topologyhints import Unfair, asked, assign, shares


def node(zone: str, cpu: str = "4", ready: str = "True", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"topology.kubernetes.io/zone": zone, **labels} if zone else labels},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]},
    }


def endpoints(**zones: int) -> list[dict[str, Any]]:
    names = [zone for zone, count in zones.items() for _ in range(count)]
    return [
        {"addresses": [f"10.0.{i // 250}.{i % 250}"], "zone": zone, "conditions": {"ready": True}}
        for i, zone in enumerate(names)
    ]


def test_a_service_asks_by_annotation() -> None:
    for name in ("topology-mode", "topology-aware-hints"):
        assert asked({"metadata": {"annotations": {f"service.kubernetes.io/{name}": "Auto"}}})
    assert not asked({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Disabled"}}})
    assert not asked({"metadata": {}})


def test_shares_are_of_the_cpu_of_ready_nodes_that_are_not_the_control_planes() -> None:
    nodes = [
        node("a", "6"),
        node("b", "2"),
        node("b", "9", ready="False"),
        node("b", "9", **{"node-role.kubernetes.io/control-plane": ""}),
    ]
    assert shares(nodes) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize("nodes", [[], [node("a")], [node("a"), node("")], [node("a"), node("b", "0")]])
def test_without_zones_or_cpu_there_are_no_shares(nodes: list[Any]) -> None:
    with pytest.raises(Unfair, match="Insufficient Node information"):
        shares(nodes)


def test_endpoints_are_for_their_own_zone_where_that_is_fair() -> None:
    zones = assign(endpoints(a=3, b=3, c=3), dict.fromkeys("abc", 1 / 3))
    assert list(zones.values()) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_a_zone_with_more_than_its_share_gives_to_one_with_less() -> None:
    assert Counter(assign(endpoints(a=8, b=2), {"a": 0.5, "b": 0.5}).values()) == {"a": 5, "b": 5}


def test_endpoints_that_are_not_ready_get_none() -> None:
    some = endpoints(a=2, b=2)
    some.append({"addresses": ["10.9.9.9"], "zone": "a", "conditions": {"ready": False}})
    assert 4 not in assign(some, {"a": 0.5, "b": 0.5})


@pytest.mark.parametrize(
    ("some", "ratios", "message"),
    [
        (endpoints(a=1), {"a": 0.5, "b": 0.5}, r"Insufficient number of endpoints \(1 endpoints, 2 zones\)"),
        (
            endpoints(a=1, b=1, c=2),
            dict.fromkeys("abc", 1 / 3),
            r"without exceeding overload threshold \(4 endpoints, 3 zones\)",
        ),
        ([*endpoints(a=2, b=1), {"conditions": {"ready": True}}], {"a": 0.5, "b": 0.5}, "do not have a zone"),
    ],
)
def test_where_it_cannot_be_fair_there_are_no_hints(some: Any, ratios: Any, message: str) -> None:
    with pytest.raises(Unfair, match=message):
        assign(some, ratios)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 64), min_size=2),
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 30), min_size=1),
)
def test_no_zone_is_overloaded_by_more_than_a_fifth(cpu: dict[str, int], found: dict[str, int]) -> None:
    ratios = {zone: amount / sum(cpu.values()) for zone, amount in cpu.items()}
    some = endpoints(**found)
    try:
        zones = assign(some, ratios)
    except Unfair:
        return
    counts = Counter(zones.values())
    assert set(zones) == set(range(len(some))) and set(counts) <= set(ratios)
    for zone, ratio in ratios.items():
        assert ratio * len(some) <= counts[zone] * 1.2 + 1e-9
    assert assign(some, ratios) == zones
