"""Which range of pod addresses a node gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sublet.controllers.node_ipam import free_range, node_ranges


def test_the_first_free_range_is_given():
    assert free_range("10.244.0.0/16", []) == "10.244.0.0/24"
    assert free_range("10.244.0.0/16", ["10.244.0.0/24", "10.244.2.0/24"]) == "10.244.1.0/24"


def test_ranges_of_another_size_are_kept_clear_of():
    assert free_range("10.244.0.0/16", ["10.244.0.0/22", "10.244.4.7/32"]) == "10.244.5.0/24"


def test_a_full_cluster_has_none_left():
    assert free_range("10.244.0.0/24", ["10.244.0.0/24"]) is None


@given(st.integers(1, 40))
def test_no_two_nodes_share_an_address(count):
    taken: list[str] = []
    for _ in range(count):
        found = free_range("10.0.0.0/18", taken)
        assert found is not None and found not in taken
        taken.append(found)


def test_a_node_of_a_dual_stack_cluster_gets_a_range_of_each_family():
    clusters = ["10.244.0.0/16", "fd00:10:244::/48"]
    first = node_ranges(clusters, [])
    assert first == ["10.244.0.0/24", "fd00:10:244::/64"]
    assert node_ranges(clusters, first) == ["10.244.1.0/24", "fd00:10:244:1::/64"]


def test_nodes_ranges_are_as_large_as_is_stated():
    assert node_ranges(["10.244.0.0/16"], ["10.244.0.0/20"], (20, 64)) == ["10.244.16.0/20"]


def test_a_node_gets_no_range_at_all_where_one_family_has_none_left():
    assert node_ranges(["10.0.0.0/24", "fd00::/48"], ["10.0.0.0/24"]) is None
