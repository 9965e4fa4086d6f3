"""A tenant's objects on a real host: there and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from syncer_clusters import pod_spec

Start = Callable[..., Awaitable[Any]]


async def test_a_pod_runs_on_the_host_and_reports_back(clusters: Start) -> None:
    tenant, host = await clusters()
    await tenant.make("pods", "web", spec=pod_spec())
    pod = await tenant.running("web")
    copy = await tenant.copy("pods", "web")
    assert pod["spec"]["nodeName"] == copy["spec"]["nodeName"]
    assert pod["status"]["podIP"] == copy["status"]["podIP"]
    assert copy["metadata"]["name"] == "web-x-default-x-acme"
    assert copy["spec"]["serviceAccountName"] == "sublet-workload-acme"
