"""Who may use devices that are in use: what is in namespaces labelled for it."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.status import StatusError

CLAIMS, TEMPLATES = (
    resource("resourceclaims.resource.k8s.io"),
    resource("resourceclaimtemplates.resource.k8s.io"),
)
WHY = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"


def spec(**asked: Any) -> dict[str, Any]:
    requests = [
        {"name": name, "exactly": {"deviceClassName": "c", **extra}}
        for name, extra in (("q", {}), ("r", asked))
    ]
    return {"devices": {"requests": requests}}


def result(device: str, **extra: Any) -> dict[str, Any]:
    return {"request": "r", "driver": "d", "pool": "p", "device": device, **extra}


async def create(client: Client, kind: Any, spec: dict[str, Any]) -> dict[str, Any]:
    made = {"metadata": {"name": "a", "namespace": "default"}, "spec": spec}
    return await client.create(kind, made)


async def test_only_a_labelled_namespace_may_ask_for_it(client: Client) -> None:
    for kind, asked in ((CLAIMS, spec(adminAccess=True)), (TEMPLATES, {"spec": spec(adminAccess=True)})):
        with pytest.raises(StatusError) as refused:
            await create(client, kind, asked)
        assert f"spec.devices.requests[1].adminAccess: Forbidden: {WHY}" in refused.value.message
    assert await create(client, CLAIMS, spec(adminAccess=False))
    labels = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
    await client.patch(resource("namespaces"), "default", labels, kind="merge")
    assert await create(client, TEMPLATES, {"spec": spec(adminAccess=True)})


async def test_only_a_labelled_namespace_gets_it(client: Client) -> None:
    await create(client, CLAIMS, spec())

    async def allocate(**extra: Any) -> dict[str, Any]:
        status = {"status": {"allocation": {"devices": {"results": [result("x", **extra)]}}}}
        return await client.patch(CLAIMS, "a", status, "default", kind="merge", subresource="status")

    with pytest.raises(StatusError) as refused:
        await allocate(adminAccess=True)
    assert f"status.allocation.devices.results[0].adminAccess: Forbidden: {WHY}" in refused.value.message
    assert await allocate()


async def test_what_a_device_reports_goes_when_the_claim_loses_it(client: Client) -> None:
    await create(client, CLAIMS, spec())
    had = {
        "allocation": {"devices": {"results": [result("x"), result("y")]}},
        "devices": [{"driver": "d", "pool": "p", "device": name} for name in "xy"],
    }
    written = await client.patch(CLAIMS, "a", {"status": had}, "default", kind="merge", subresource="status")
    assert [device["device"] for device in written["status"]["devices"]] == ["x", "y"]
    gone = {"status": {"allocation": None}}
    written = await client.patch(CLAIMS, "a", gone, "default", kind="merge", subresource="status")
    assert written["status"] == {}
