"""What admission says of pods that are resized where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden

PODS, NODES = resource("pods"), resource("nodes")
MAKE = Callable[..., Object]
LABELS = {"kubernetes.io/os": "linux"}


async def node(client: Client, *features: str, labels: Object | None = None) -> None:
    made = await client.create(
        NODES, {"metadata": {"name": "one", "labels": LABELS if labels is None else labels}}
    )
    status: Object = {"allocatable": {"cpu": "2", "memory": "1Gi"}, "declaredFeatures": list(features)}
    await client.update(NODES, {**made, "status": status}, subresource="status")


async def running(client: Client, make_pod: MAKE, **limits: str) -> None:
    resources = {"requests": {"cpu": "1", "memory": "100Mi"}, "limits": limits}
    containers = [{"name": "c", "image": "i", "resources": resources}]
    await client.create(PODS, make_pod(containers=containers, nodeName="one"))


async def resize(client: Client, **amounts: Any) -> Object:
    containers = [{"name": "c", "resources": amounts}]
    patch = {"spec": {"containers": containers}}
    return await client.patch(PODS, "web", patch, "default", kind="strategic", subresource="resize")


async def test_a_pod_grows_only_as_far_as_its_node(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await node(client)
    await running(client, make_pod)
    with pytest.raises(Forbidden) as refused:
        await resize(client, requests={"cpu": "2001m", "memory": "1025Mi"})
    assert refused.value.message == (
        'pods "web" is forbidden: Node didn\'t have enough allocatable resources: '
        "cpu, requested: 2001, allocatable: 2000; memory, requested: 1074790400, allocatable: 1073741824"
    )
    grown = await resize(client, requests={"cpu": "2", "memory": "1Gi"})
    assert grown["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "2"


async def test_only_pods_on_linux_nodes_that_are_there_are_resized(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await running(client, make_pod)
    with pytest.raises(Forbidden, match='node "one" not found'):
        await resize(client, requests={"cpu": "1500m"})
    await node(client, labels={"kubernetes.io/os": "plan9"})
    with pytest.raises(Forbidden, match='only supported on linux nodes, node "one" is "plan9"'):
        await resize(client, requests={"cpu": "1500m"})


async def test_processor_time_of_a_guaranteed_pod_changes_where_the_node_says_it_can(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await node(client)
    both = {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1500m"}}
    await running(client, make_pod, cpu="1", memory="100Mi")
    with pytest.raises(Forbidden) as refused:
        await resize(client, **both)
    assert refused.value.message == (
        'pods "web" is forbidden: pod update requires features GuaranteedQoSPodCPUResize which are not available '
        'on node "one"'
    )
    found = await client.get(NODES, "one")
    found["status"]["declaredFeatures"] = ["GuaranteedQoSPodCPUResize"]
    await client.update(NODES, found, subresource="status")
    assert (await resize(client, **both))["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1500m"


async def test_a_resized_pod_gets_the_defaults_of_limit_ranges_as_a_new_one_does(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await node(client)
    await running(client, make_pod)
    limits = [{"type": "Container", "default": {"cpu": "1900m"}, "defaultRequest": {"memory": "1Mi"}}]
    await client.create(
        resource("limitranges"),
        {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": limits}},
    )
    resized = await resize(client, requests={"cpu": "1500m"})
    assert resized["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "1500m", "memory": "100Mi"},
        "limits": {"cpu": "1900m"},
    }
    assert "annotations" not in resized["metadata"]
