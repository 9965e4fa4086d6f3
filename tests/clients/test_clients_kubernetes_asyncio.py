"""The kubernetes_asyncio client: writes, watches and pods' streams over its own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio import client, config, watch  # type: ignore[import-untyped]

from sublet.testing import RunningControlPlane


@pytest.fixture
async def api(plane: RunningControlPlane) -> AsyncIterator[Any]:
    async with await config.new_client_from_config(str(plane.kubeconfig)) as made:
        yield made


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def test_a_watch_follows_a_deployment_until_it_is_available(api: Any) -> None:
    apps = client.AppsV1Api(api)
    made = await apps.create_namespaced_deployment("default", deployment("aio", 2))
    seen: list[int] = []
    async with asyncio.timeout(30):
        stream = watch.Watch().stream(
            apps.list_namespaced_deployment,
            "default",
            field_selector="metadata.name=aio",
            resource_version=made.metadata.resource_version,
        )
        async for event in stream:
            seen.append(event["object"].status.available_replicas or 0)
            if seen[-1] == 2:
                break
    assert seen[-1] == 2
    assert seen == sorted(seen)


async def test_a_list_comes_in_pages_of_the_asked_size(api: Any) -> None:
    core = client.CoreV1Api(api)
    for number in range(5):
        await core.create_namespaced_config_map(
            "default", {"metadata": {"name": f"page-{number}", "labels": {"pages": "yes"}}}
        )
    sizes, token = [], ""
    while True:
        page = await core.list_namespaced_config_map(
            "default", label_selector="pages=yes", limit=2, _continue=token
        )
        sizes.append(len(page.items))
        token = page.metadata._continue
        if not token:
            break
    assert sizes == [2, 2, 1]


async def test_a_refused_object_names_its_fields(api: Any) -> None:
    wrong = deployment("wrong", 1)
    wrong["spec"]["selector"]["matchLabels"] = {"app": "other"}
    with pytest.raises(client.ApiException) as caught:
        await client.AppsV1Api(api).create_namespaced_deployment("default", wrong)
    assert caught.value.status == 422
    assert "spec.template.metadata.labels" in caught.value.body
