"""Pod statuses written to a real API server."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery.clock import SystemClock
from sublet.node.statuswriter import StatusWriter

PODS = resource("pods")
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}


async def test_the_addresses_of_a_new_sandbox_take_the_place_of_the_old_ones(client):
    await client.create(resource("serviceaccounts"), {"metadata": {"name": "default"}}, "default")
    pod = await client.create(PODS, POD, "default")
    writer = StatusWriter(client, SystemClock())
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        pod = await writer.write(pod, {"podIP": address, "podIPs": [{"ip": address}]})
        status = (await client.get(PODS, "p", "default"))["status"]
        assert (status["podIP"], status["podIPs"]) == (address, [{"ip": address}])
    await writer.write(pod, {"phase": "Pending"})
    status = (await client.get(PODS, "p", "default"))["status"]
    assert "podIP" not in status and "podIPs" not in status
