"""What becomes of nodes that are not heard of, and of their pods."""

from __future__ import annotations

from typing import Any

from controllers_cluster import running, until

from sublet.controllers import node_lifecycle, pod_garbage_collector, taint_eviction
from sublet.kinds.resources import resource


def node(ready: str = "True", taints: Any = (), **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
    return {
        "metadata": {"name": "n", "uid": "n"},
        "spec": {"taints": list(taints), **spec},
        "status": {"conditions": conditions},
    }


class HandClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def lease(renewed: str) -> dict[str, Any]:
    return {"spec": {"renewTime": renewed}}


def test_a_node_is_lost_fifty_seconds_after_its_last_sign_of_life() -> None:
    clock = HandClock()
    health = node_lifecycle.Health(clock)
    assert not health.is_lost(node(), lease("1"))
    clock.time = 49
    assert not health.is_lost(node(), lease("2"))
    clock.time = 98
    assert not health.is_lost(node(), lease("2"))
    clock.time = 100
    assert health.is_lost(node(), lease("2"))
    assert not health.is_lost(node(), lease("3"))


def test_declaring_a_node_lost_is_no_sign_of_life() -> None:
    clock = HandClock()
    health = node_lifecycle.Health(clock)
    health.is_lost(node(), lease("1"))
    clock.time = 60
    assert health.is_lost(node(), lease("1"))
    assert health.is_lost(node("Unknown"), lease("1"))


def test_a_lost_node_gets_both_taints_and_a_found_one_loses_them() -> None:
    lost = node("Unknown")
    found = node_lifecycle.taints(lost, node_lifecycle.evicting_taint(lost), 0.0)
    assert found is not None
    assert [(t["key"], t["effect"]) for t in found] == [
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    ]
    assert node_lifecycle.taints(node("True", found), "", 0.0) == []


def test_taints_of_others_stay() -> None:
    other = {"key": "example.com/gpu", "effect": "NoSchedule"}
    assert node_lifecycle.taints(node(taints=[other]), "", 0.0) is None


def test_a_cordoned_node_is_tainted_unschedulable() -> None:
    found = node_lifecycle.taints(node(unschedulable=True), "", 0.0)
    assert found is not None and found[0]["key"] == "node.kubernetes.io/unschedulable"


def test_the_shortest_toleration_decides_how_long_a_pod_stays() -> None:
    taints = [{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]

    def pod(*tolerations: Any) -> dict[str, Any]:
        return {"spec": {"tolerations": list(tolerations)}}

    forever = {"key": "a", "operator": "Exists"}
    briefly = {"key": "b", "operator": "Exists", "tolerationSeconds": 5}
    assert taint_eviction.tolerated_for(pod(forever), taints) == 0.0
    assert taint_eviction.tolerated_for(pod(forever, briefly), taints) == 5.0
    assert taint_eviction.tolerated_for(pod(forever), taints[:1]) is None


def test_only_the_oldest_finished_pods_beyond_the_threshold_go() -> None:
    pods = [
        {
            "metadata": {"name": str(n), "creationTimestamp": f"2026-01-01T00:00:0{n}Z"},
            "status": {"phase": "Failed"},
        }
        for n in range(4)
    ]
    found = pod_garbage_collector.terminated_surplus(pods[::-1], 3)
    assert [pod["metadata"]["name"] for pod in found] == ["0"]
    assert pod_garbage_collector.terminated_surplus(pods, 0) == []


async def test_a_no_execute_taint_evicts_what_does_not_tolerate_it(cluster: Any, eventually: Any) -> None:
    for name, tolerations in (("goes", []), ("stays", [{"key": "example.com/x", "operator": "Exists"}])):
        spec = {
            "nodeName": "node-0",
            "containers": [{"name": "c", "image": "nginx"}],
            "tolerations": tolerations,
        }
        await cluster.make("pods", name, spec)

    async def running() -> bool:
        return all(pod["status"].get("phase") == "Running" for pod in await cluster.items("pods"))

    await eventually(running)
    taint = {"key": "example.com/x", "effect": "NoExecute"}
    await cluster.client.patch(resource("nodes"), "node-0", {"spec": {"taints": [taint]}})

    async def evicted() -> bool:
        return [pod["metadata"]["name"] for pod in await cluster.items("pods")] == ["stays"]

    await eventually(evicted)


async def test_a_lost_node_is_counted_when_its_pods_must_go() -> None:
    async with running({"node-lifecycle-controller"}, 0) as cluster:
        for name, ready in (("well", "True"), ("lost", "Unknown")):
            await cluster.client.create(resource("nodes"), {"metadata": {"name": name}})
            status = {"conditions": [{"type": "Ready", "status": ready}]}
            await cluster.client.patch(resource("nodes"), name, {"status": status}, subresource="status")

        async def counted() -> bool:
            return 'node_collector_evictions_total{zone=""} 1' in cluster.manager.lines()

        await until(counted)
        taints = (await cluster.get("nodes", "lost", ""))["spec"]["taints"]
        assert ("node.kubernetes.io/unreachable", "NoExecute") in [(t["key"], t["effect"]) for t in taints]
        assert 'node_collector_unhealthy_nodes_in_zone{zone=""} 1' in [*cluster.manager.lines()]
