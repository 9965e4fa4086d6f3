"""The kr8s client: objects that wait, scale and watch themselves."""

from __future__ import annotations

from typing import Any

import kr8s
import pytest
from kr8s.asyncio import api as connect
from kr8s.asyncio.objects import ConfigMap, Deployment, Pod

from sublet.testing import RunningControlPlane


@pytest.fixture
async def api(plane: RunningControlPlane) -> Any:
    return await connect(kubeconfig=str(plane.kubeconfig))


async def test_discovery_names_every_kind_and_the_version(api: Any) -> None:
    kinds = {(kind["version"], kind["kind"]) for kind in await api.api_resources()}
    assert {("v1", "Pod"), ("apps/v1", "Deployment"), ("batch/v1", "CronJob")} <= kinds
    assert (await api.version())["major"] == "1"


async def test_a_pod_becomes_ready_and_goes(api: Any) -> None:
    pod = await Pod(
        {"metadata": {"name": "kr8s-pod"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, api=api
    )
    await pod.create()
    await pod.wait("condition=Ready", timeout=30)
    assert await pod.ready()
    await pod.label({"seen": "yes"})
    assert [found.name async for found in api.get("pods", label_selector={"seen": "yes"})] == ["kr8s-pod"]
    await pod.delete(grace_period=0)
    await pod.wait("delete", timeout=30)
    assert not await pod.exists()


async def test_a_deployment_scales_and_lists_its_pods(api: Any) -> None:
    labels = {"app": "kr8s"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    deployment = await Deployment({"metadata": {"name": "kr8s"}, "spec": spec}, api=api)
    await deployment.create()
    await deployment.wait("condition=Available", timeout=30)
    await deployment.scale(3)
    await deployment.wait("jsonpath='{.status.readyReplicas}'=3", timeout=30)
    assert len(await deployment.pods()) == 3


async def test_what_is_missing_and_what_exists_already_are_told_apart(api: Any) -> None:
    with pytest.raises(kr8s.NotFoundError):
        await ConfigMap.get("kr8s-nothing", api=api)
    made = await ConfigMap({"metadata": {"name": "kr8s-twice"}}, api=api)
    await made.create()
    with pytest.raises(kr8s.ServerError) as caught:
        await made.create()
    assert caught.value.response is not None
    assert caught.value.response.status_code == 409
