"""The form that subsets of Endpoints are kept in."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery.subsets import repacked


def at(*ips: str) -> list[dict[str, Any]]:
    return [{"ip": ip} for ip in ips]


def port(number: int, **more: Any) -> dict[str, Any]:
    return {"name": f"p{number}", "port": number, "protocol": "TCP", **more}


def test_addresses_are_in_order_and_there_once() -> None:
    given_ = [{"addresses": at("10.0.0.2", "10.0.0.10", "10.0.0.2"), "ports": [port(1)]}]
    assert repacked(given_) == [{"addresses": at("10.0.0.10", "10.0.0.2"), "ports": [port(1)]}]


def test_subsets_of_the_same_addresses_are_one() -> None:
    found = repacked([{"addresses": at("a"), "ports": [port(1)]}, {"addresses": at("a"), "ports": [port(2)]}])
    assert len(found) == 1
    assert sorted(each["port"] for each in found[0]["ports"]) == [1, 2]


def test_subsets_of_the_same_ports_are_one() -> None:
    found = repacked([{"addresses": at("b"), "ports": [port(1)]}, {"addresses": at("a"), "ports": [port(1)]}])
    assert found == [{"addresses": at("a", "b"), "ports": [port(1)]}]


def test_a_subset_is_split_where_another_shares_one_of_its_ports() -> None:
    both = {"addresses": at("a"), "ports": [port(1), port(2)]}
    found = repacked([both, {"addresses": at("b"), "ports": [port(2)]}])
    assert sorted(found, key=lambda subset: subset["ports"][0]["port"]) == [
        {"addresses": at("a"), "ports": [port(1)]},
        {"addresses": at("a", "b"), "ports": [port(2)]},
    ]


def test_who_is_not_ready_once_is_not_ready() -> None:
    found = repacked(
        [
            {"notReadyAddresses": at("a"), "ports": [port(1)]},
            {"addresses": at("a", "b"), "ports": [port(1)]},
        ]
    )
    assert found == [{"addresses": at("b"), "notReadyAddresses": at("a"), "ports": [port(1)]}]


def test_addresses_without_ports_stay() -> None:
    assert repacked([{"addresses": at("b", "a")}]) == [{"addresses": at("a", "b")}]
    assert repacked([]) == []


def test_pods_of_the_same_address_are_two() -> None:
    mine, other = ({"ip": "a", "targetRef": {"kind": "Pod", "uid": uid}} for uid in ("1", "2"))
    assert repacked([{"addresses": [other, mine, mine]}]) == [{"addresses": [mine, other]}]


def test_ports_with_an_applications_protocol_are_not_brought_together() -> None:
    spoken = port(1, appProtocol="http")
    found = repacked([{"addresses": at("a"), "ports": [spoken]}, {"addresses": at("b"), "ports": [spoken]}])
    assert sorted(found, key=str) == [
        {"addresses": at("a"), "ports": [spoken]},
        {"addresses": at("b"), "ports": [spoken]},
    ]


_PORTS = st.lists(st.builds(port, st.integers(1, 3)), max_size=3)
_IPS = st.lists(st.sampled_from("abcd"), max_size=4).map(lambda ips: at(*ips))
_SUBSETS = st.lists(
    st.fixed_dictionaries({"addresses": _IPS, "notReadyAddresses": _IPS, "ports": _PORTS}), max_size=4
)


@given(_SUBSETS)
def test_what_is_in_its_form_keeps_it(subsets: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(subsets)
    once = repacked(subsets)
    assert subsets == before
    assert repacked(once) == once


@given(_SUBSETS, st.randoms())
def test_the_order_does_not_matter(subsets: list[dict[str, Any]], order: Any) -> None:
    shuffled = copy.deepcopy(subsets)
    order.shuffle(shuffled)
    for subset in shuffled:
        for listed in subset.values():
            order.shuffle(listed)
    assert repacked(shuffled) == repacked(subsets)
