"""Cascading deletion and the end of namespaces, on a running control plane without nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import running

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import NotFound

CONTENT_FAILURE = "NamespaceDeletionContentFailure"


@pytest.fixture
async def bare() -> AsyncIterator[Any]:
    async with running(None, 0) as found:
        await found.namespace()
        yield found


def replica_set(replicas: int) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }
    return {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}


async def has_pods(bare: Any, number: int) -> bool:
    return len(await bare.items("pods")) == number


async def make(bare: Any, eventually: Any, replicas: int = 3) -> None:
    await bare.make("replicasets.apps", "web", replica_set(replicas))
    await eventually(lambda: has_pods(bare, replicas))


async def test_pods_follow_their_replica_set_in_the_background(bare: Any, eventually: Any) -> None:
    await make(bare, eventually)
    await bare.client.delete(resource("replicasets.apps"), "web", "test", propagation="Background")
    with pytest.raises(NotFound):
        await bare.get("replicasets.apps", "web")
    await eventually(lambda: has_pods(bare, 0))


async def test_a_foreground_deletion_keeps_the_owner_until_its_pods_are_gone(
    bare: Any, eventually: Any
) -> None:
    await make(bare, eventually)
    held = (await bare.items("pods"))[0]["metadata"]["name"]
    await bare.client.patch(
        resource("pods"), held, {"metadata": {"finalizers": ["example.com/hold"]}}, "test"
    )
    await bare.client.delete(resource("replicasets.apps"), "web", "test", propagation="Foreground")
    await eventually(lambda: has_pods(bare, 1))
    await asyncio.sleep(0.1)
    assert (await bare.get("replicasets.apps", "web"))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await bare.client.patch(resource("pods"), held, {"metadata": {"finalizers": None}}, "test")

    async def gone() -> bool:
        return not await bare.items("replicasets.apps")

    await eventually(gone)


async def test_an_orphaning_deletion_leaves_the_pods_without_owner(bare: Any, eventually: Any) -> None:
    await make(bare, eventually)
    await bare.client.delete(resource("replicasets.apps"), "web", "test", propagation="Orphan")

    async def orphaned() -> bool:
        pods = await bare.items("pods")
        return len(pods) == 3 and not any(p["metadata"].get("ownerReferences") for p in pods)

    await eventually(orphaned)

    async def gone() -> bool:
        return not await bare.items("replicasets.apps")

    await eventually(gone)


async def test_an_object_with_one_living_owner_stays_and_loses_the_other(bare: Any, eventually: Any) -> None:
    """Also for kinds that no controller watches."""
    owners = [
        await bare.client.create(resource("configmaps"), {"metadata": {"name": name}}, "test")
        for name in "ab"
    ]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"]}
        for o in owners
    ]
    child = {"metadata": {"name": "child", "ownerReferences": references}}
    await bare.client.create(resource("secrets"), child, "test")
    await bare.client.delete(resource("configmaps"), "a", "test")

    async def one_left() -> bool:
        found = (await bare.get("secrets", "child"))["metadata"]["ownerReferences"]
        return [r["name"] for r in found] == ["b"]

    await eventually(one_left)
    await bare.client.delete(resource("configmaps"), "b", "test")

    async def gone() -> bool:
        return not await bare.items("secrets")

    await eventually(gone)


async def test_a_circle_of_owners_does_not_block_deletion(bare: Any, eventually: Any) -> None:
    """Conformance: pods that own each other in a circle."""
    made = [
        await bare.client.create(
            resource("pods"),
            {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
            "test",
        )
        for name in ("pod1", "pod2", "pod3")
    ]
    for pod, owner in zip(made, (made[2], made[0], made[1]), strict=True):
        reference = {
            "apiVersion": "v1", "kind": "Pod", "controller": True, "blockOwnerDeletion": True,
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        }  # fmt: skip
        patch = {"metadata": {"ownerReferences": [reference]}}
        await bare.client.patch(resource("pods"), pod["metadata"]["name"], patch, "test")
    await bare.client.delete(resource("pods"), "pod1", "test", propagation="Foreground")
    await eventually(lambda: has_pods(bare, 0))


async def test_custom_resources_are_collected_too(bare: Any, eventually: Any) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "metadata": {"name": "parents.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "parents", "singular": "parent", "kind": "Parent", "listKind": "ParentList"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
    kind = type(resource("pods"))("example.com", "v1", "parents", "Parent", True)
    await bare.client.create(resource("customresourcedefinitions.apiextensions.k8s.io"), definition)

    async def served() -> Any:
        try:
            return await bare.client.create(
                kind, {"apiVersion": "example.com/v1", "kind": "Parent", "metadata": {"name": "p"}}, "test"
            )
        except NotFound:
            return None

    parent = await eventually(served)
    reference = {
        "apiVersion": "example.com/v1", "kind": "Parent", "name": "p", "uid": parent["metadata"]["uid"],
    }  # fmt: skip
    child = {"metadata": {"name": "child", "ownerReferences": [reference]}}
    await bare.client.create(resource("secrets"), child, "test")
    await asyncio.sleep(1.0)
    await bare.client.delete(kind, "p", "test")

    async def gone() -> bool:
        return not await bare.items("secrets")

    await eventually(gone)


async def test_a_namespace_takes_everything_with_it_pods_first(bare: Any, eventually: Any) -> None:
    await make(bare, eventually)
    await bare.client.create(resource("configmaps"), {"metadata": {"name": "kept"}}, "test")
    held = (await bare.items("pods"))[0]["metadata"]["name"]
    await bare.client.patch(
        resource("pods"), held, {"metadata": {"finalizers": ["example.com/hold"]}}, "test"
    )
    await bare.client.delete(resource("namespaces"), "test")

    async def blocked() -> Any:
        found = await bare.client.get(resource("namespaces"), "test")
        conditions = {c["type"]: c for c in found["status"].get("conditions") or ()}
        return conditions.get("NamespaceContentRemaining", {}).get("status") == "True" and conditions

    conditions = await eventually(blocked)
    assert "pods. has" in conditions["NamespaceContentRemaining"]["message"]
    assert [m["metadata"]["name"] for m in await bare.items("configmaps") if m["metadata"]["name"] == "kept"]
    await bare.client.patch(resource("pods"), held, {"metadata": {"finalizers": None}}, "test")

    async def gone() -> bool:
        names = [n["metadata"]["name"] for n in (await bare.client.list(resource("namespaces")))["items"]]
        return "test" not in names

    await eventually(gone)
    assert not await bare.items("configmaps")


async def test_a_pod_kept_by_a_finalizer_is_named_as_what_holds_up_its_namespace(
    bare: Any, eventually: Any
) -> None:
    metadata = {"name": "held", "finalizers": ["example.com/hold"]}
    spec = {"containers": [{"name": "c", "image": "nginx"}]}
    await bare.client.create(resource("pods"), {"metadata": metadata, "spec": spec}, "test")
    await bare.client.create(resource("configmaps"), {"metadata": {"name": "waits"}}, "test")
    await bare.client.delete(resource("namespaces"), "test")

    async def failing() -> Any:
        found = objects.condition(await bare.client.get(resource("namespaces"), "test"), CONTENT_FAILURE)
        return found if found is not None and found["status"] == "True" else None

    assert "example.com/hold" in (await eventually(failing))["message"]
    assert await bare.get("configmaps", "waits")
    await bare.client.patch(resource("pods"), "held", {"metadata": {"finalizers": None}}, "test")

    async def gone() -> bool:
        try:
            await bare.client.get(resource("namespaces"), "test")
        except NotFound:
            return True
        return False

    await eventually(gone)
