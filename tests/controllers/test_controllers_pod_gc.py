"""Which pods the pod garbage collector takes, and what it says of them first."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_cluster import running

from sublet.controllers.pod_garbage_collector import terminated_surplus
from sublet.kinds.resources import resource

PODS = resource("pods")


def finished(name: str, reason: str = "") -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{len(name)}Z"}
    return {"metadata": metadata, "status": {"phase": "Failed", "reason": reason}}


def test_evicted_pods_go_before_older_ones() -> None:
    pods = [finished("a"), finished("bb", "Evicted"), finished("ccc")]
    assert [p["metadata"]["name"] for p in terminated_surplus(pods, 1)] == ["bb", "a"]


async def test_a_pod_nobody_will_end_is_failed_before_it_goes(
    eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.controllers.pod_garbage_collector._EVERY", 0.05)
    async with running({"pod-garbage-collector-controller"}, 0) as cluster:
        await cluster.namespace(account=True)
        spec = {"containers": [{"name": "c", "image": "i"}]}
        await cluster.make("pods", "p", spec, finalizers=["example.com/kept"])
        await cluster.client.delete(PODS, "p", "test")

        async def failed() -> bool:
            return bool((await cluster.get("pods", "p"))["status"]["phase"] == "Failed")

        await eventually(failed)
