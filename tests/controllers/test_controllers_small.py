"""Small controllers: how long nodes may keep secrets, the pace at which zones lose their pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import running

from sublet.controllers import resourcequota
from sublet.controllers.ttl import ANNOTATION, Step
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.reconcile.zones import Pace, Rates, Zones, zone_label


@pytest.fixture
async def cluster() -> AsyncIterator[Any]:
    async with running({"ttl-controller"}, 1) as found:
        await found.namespace()
        yield found


def node(name: str, ready: bool = True, zone: str = "a") -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "Unknown"}
    labels = {"topology.kubernetes.io/zone": zone}
    return {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [condition]}}


def zones(**counts: tuple[int, int]) -> Zones:
    """zone=(ready, lost)"""
    found = Zones()
    for zone, (ready, lost) in counts.items():
        for number in range(ready + lost):
            found.changed(None, node(f"{zone}{number}", number < ready, zone))
    return found


def test_a_step_is_left_downwards_later_than_upwards() -> None:
    step = Step()
    assert [step.seconds(n) for n in (5, 100, 101, 95, 89)] == [0, 0, 15, 15, 0]
    assert step.seconds(20000) == 600


def test_a_zone_that_is_well_loses_nodes_at_the_normal_pace() -> None:
    assert zones(a=(8, 2)).rate(node("a9")) == Rates().normal


def test_a_small_zone_mostly_lost_keeps_its_pods_and_a_large_one_loses_them_slowly() -> None:
    assert zones(a=(4, 6)).rate(node("a9")) == 0.0
    assert zones(a=(20, 40)).rate(node("a59")) == Rates().secondary


def test_a_wholly_lost_zone_among_others_is_left_and_all_of_them_are_not() -> None:
    assert zones(a=(0, 3), b=(3, 0)).rate(node("a1")) == Rates().normal
    everything = zones(a=(0, 3), b=(0, 3))
    assert everything.all_lost and everything.rate(node("a1")) == 0.0


def test_metrics_say_how_well_each_zone_is() -> None:
    found = [line for line in zones(a=(3, 1), b=(0, 2)).lines() if not line.startswith("#")]
    assert found == [
        f'node_collector_{name}{{zone=":\x00:{zone}"}} {value}'
        for name, values in (("zone_health", (75, 0)), ("zone_size", (4, 2)), ("unhealthy_nodes_in_zone", (1, 2)))
        for zone, value in zip("ab", values, strict=True)
    ]  # fmt: skip
    assert zone_label(("", "")) == 'zone=""' and zone_label(("r", "z")) == 'zone="r:\x00:z"'


def test_nodes_that_change_or_go_are_counted_anew() -> None:
    found = zones(a=(1, 0))
    found.changed(node("a0"), node("a0", False))
    assert found.all_lost
    found.changed(node("a0", False), None)
    assert not found.all_lost


def test_each_zone_has_a_pace_of_its_own() -> None:
    pace = Pace()
    assert pace.passes(node("a1"), 0.1, 0.0) and not pace.passes(node("a2"), 0.1, 5.0)
    assert pace.passes(node("b1", zone="b"), 0.1, 5.0) and pace.passes(node("a2"), 0.1, 10.0)


async def test_nodes_of_a_small_cluster_ask_every_time(cluster: Any, eventually: Any) -> None:
    async def told() -> bool:
        return (
            objects.annotations(await cluster.client.get(resource("nodes"), "node-0")).get(ANNOTATION) == "0"
        )

    await eventually(told)


def test_a_pod_that_should_long_be_gone_uses_no_quota() -> None:
    of = {"spec": {"hard": {"pods": "10"}}}
    gone: dict[str, Any] = {
        "metadata": {"deletionTimestamp": "1970-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30},
        "spec": {"containers": []},
    }
    kinds = [(resource("pods"), [gone, {"metadata": {}, "spec": {"containers": []}}])]
    assert resourcequota.used(of, kinds, 89.0) == {"pods": "2"}
    assert resourcequota.used(of, kinds, 91.0) == {"pods": "1"}
