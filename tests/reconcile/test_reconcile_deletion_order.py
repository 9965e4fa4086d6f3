"""Which pod of an owner goes first."""

from __future__ import annotations

from typing import Any

from sublet.machinery import objects
from sublet.reconcile.workloads import deletion_order

NOW = 1_700_000_000.0


def pod(name: str, age: float, **annotations: str) -> dict[str, Any]:
    made = objects.rfc3339(NOW - age)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": made}
    metadata = {"name": name, "uid": name, "creationTimestamp": made, "annotations": annotations}
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [ready]},
    }


def order(*pods: dict[str, Any], now: float = NOW, **ranks: int) -> list[str]:
    chosen = deletion_order(pods, lambda each: ranks.get(objects.name(each), 0), now)
    return [objects.name(each) for each in chosen]


def test_ages_of_one_order_of_magnitude_are_equal_and_the_uid_decides() -> None:
    assert order(pod("b", 100), pod("a", 110)) == ["a", "b"]


def test_a_much_younger_pod_goes_first() -> None:
    assert order(pod("a", 10000), pod("b", 10)) == ["b", "a"]


def test_without_a_time_the_younger_goes_first_however_little_it_is_younger() -> None:
    assert order(pod("b", 100), pod("a", 110), now=0.0) == ["b", "a"]


def test_the_pod_with_more_related_ones_on_its_node_goes_first() -> None:
    assert order(pod("a", 10), pod("b", 10000), b=2) == ["b", "a"]


def test_the_deletion_cost_goes_before_the_crowd_on_the_node() -> None:
    cheap = pod("a", 10000, **{"controller.kubernetes.io/pod-deletion-cost": "-5"})
    assert order(cheap, pod("b", 10), b=2) == ["a", "b"]
