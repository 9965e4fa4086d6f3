"""Across namespaces, scopes and APIs that are down: what the garbage and namespace controllers may conclude, and what not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import Cluster, running

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import NotFound

CONFIGMAPS, SECRETS = resource("configmaps"), resource("secrets")
CLASSES, NAMESPACES = resource("priorityclasses.scheduling.k8s.io"), resource("namespaces")
APIS = resource("apiservices.apiregistration.k8s.io")
NAMES = {"garbage-collector-controller", "namespace-controller"}


@pytest.fixture
async def collecting() -> AsyncIterator[Cluster]:
    async with running(NAMES, 0) as found:
        await found.namespace()
        yield found


async def owned_by(cluster: Cluster, owner: Any, kind: Any, name: str, namespace: str = "test") -> Any:
    reference = objects.owner_reference(owner, kind, controller=False)
    metadata = {"name": name, "ownerReferences": [reference]}
    return await cluster.client.create(SECRETS, {"metadata": metadata}, namespace)


async def told(cluster: Cluster, reason: str) -> list[Any]:
    return [event for event in await cluster.items("events", "") if event["reason"] == reason]


async def missing(cluster: Cluster, kind: Any, name: str, namespace: str = "") -> bool:
    try:
        await cluster.client.get(kind, name, namespace)
    except NotFound:
        return True
    return False


async def test_an_owner_of_the_whole_cluster_takes_dependents_of_any_namespace_along(
    collecting: Cluster, eventually: Any
) -> None:
    await collecting.namespace("other")
    owner = await collecting.client.create(CLASSES, {"metadata": {"name": "owner"}, "value": 1})
    for namespace in ("test", "other"):
        await owned_by(collecting, owner, CLASSES, "dependent", namespace)
    await collecting.client.delete(CLASSES, "owner", propagation="Background")
    for namespace in ("test", "other"):
        await eventually(lambda where=namespace: missing(collecting, SECRETS, "dependent", where))


async def test_an_owner_in_another_namespace_is_none_and_that_is_told(
    collecting: Cluster, eventually: Any
) -> None:
    await collecting.namespace("other")
    owner = await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "other")
    made = await owned_by(collecting, owner, CONFIGMAPS, "dependent")
    await eventually(lambda: missing(collecting, SECRETS, "dependent", "test"))
    event = (await eventually(lambda: told(collecting, "OwnerRefInvalidNamespace")))[0]
    assert event["message"] == (
        f"ownerRef [v1/ConfigMap, namespace: test, name: owner, uid: {owner['metadata']['uid']}] "
        'does not exist in namespace "test"'
    )
    assert (event["type"], event["involvedObject"]["uid"]) == ("Warning", made["metadata"]["uid"])
    assert not await missing(collecting, CONFIGMAPS, "owner", "other")


async def test_what_belongs_to_no_namespace_cannot_be_owned_by_what_does_and_stays(
    collecting: Cluster, eventually: Any
) -> None:
    owner = await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "test")
    reference = objects.owner_reference(owner, CONFIGMAPS, controller=False)
    metadata = {"name": "dependent", "ownerReferences": [reference]}
    await collecting.client.create(CLASSES, {"metadata": metadata, "value": 1})
    await eventually(lambda: told(collecting, "OwnerRefInvalidNamespace"))
    await collecting.client.delete(CONFIGMAPS, "owner", "test", propagation="Background")
    later = await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "later"}}, "test")
    await owned_by(collecting, later, CONFIGMAPS, "other")
    await collecting.client.delete(CONFIGMAPS, "later", "test", propagation="Background")
    await eventually(lambda: missing(collecting, SECRETS, "other", "test"))
    assert not await missing(collecting, CLASSES, "dependent")


async def test_an_owner_made_anew_under_its_name_does_not_keep_the_former_ones_dependents(
    collecting: Cluster, eventually: Any
) -> None:
    former = await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "test")
    await collecting.client.delete(CONFIGMAPS, "owner", "test", propagation="Background")
    await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "test")
    await owned_by(collecting, former, CONFIGMAPS, "dependent")
    await eventually(lambda: missing(collecting, SECRETS, "dependent", "test"))
    assert not await missing(collecting, CONFIGMAPS, "owner", "test")


async def test_a_namespace_waits_for_an_api_that_is_down_and_says_so(
    collecting: Cluster, eventually: Any
) -> None:
    spec = {
        "group": "down.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "insecureSkipTLSVerify": True, "service": {"namespace": "kube-system", "name": "nobody"},
    }  # fmt: skip
    down = "v1.down.example.com"
    await collecting.client.create(APIS, {"metadata": {"name": down}, "spec": spec})
    await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "content"}}, "test")
    owner = await collecting.client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "default")
    await owned_by(collecting, owner, CONFIGMAPS, "dependent", "default")

    async def unavailable() -> bool:
        return objects.condition(await collecting.client.get(APIS, down), "Available") is not None

    await eventually(unavailable)
    await collecting.client.delete(NAMESPACES, "test")

    async def failing() -> Any:
        found = await collecting.client.get(NAMESPACES, "test")
        condition = objects.condition(found, "NamespaceDeletionDiscoveryFailure") or {}
        return condition if condition.get("status") == "True" else None

    condition = await eventually(failing)
    assert condition["reason"] == "DiscoveryFailed"
    assert "down.example.com/v1: stale GroupVersion discovery: down.example.com/v1" in condition["message"]
    await eventually(lambda: missing(collecting, CONFIGMAPS, "content", "test"))
    # The garbage collector goes on with everything else.
    await collecting.client.delete(CONFIGMAPS, "owner", "default", propagation="Background")
    await eventually(lambda: missing(collecting, SECRETS, "dependent", "default"))
    await collecting.client.delete(APIS, down)
    await eventually(lambda: missing(collecting, NAMESPACES, "test"), 20.0)
