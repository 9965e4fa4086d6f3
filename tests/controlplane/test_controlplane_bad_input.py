"""What nobody should ask for: controllers say what is wrong and do a bounded amount of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from invariants import (
    deployments_are_complete,
    jobs_have_counted_every_pod,
    replica_sets_have_as_many_pods_as_asked,
    settled,
)
from sublet.client.client import Client
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import TooManyRequests
from sublet.node.hollow import names, run_hollow
from sublet.node.hollow_registration import HollowSettings

pytestmark = pytest.mark.timeout(600)
CALM = 25.0
"""Writes per second that trouble may cause: upstream's controllers are held to twenty by their client's limit."""
PODS = resource("pods")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Of a control plane with two nodes for ten pods each."""
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"))
    await plane.start()
    capacity = {"cpu": "8", "memory": "8Gi", "pods": "10", "ephemeral-storage": "10Gi"}
    settings = HollowSettings(names=names(2), capacity=capacity)
    nodes = asyncio.create_task(run_hollow(plane.client(), settings=settings))
    made = plane.client()
    await until(lambda: ready_nodes(made))
    await until(lambda: exists(made, "serviceaccounts", "default"))
    yield made
    nodes.cancel()
    await asyncio.gather(nodes, return_exceptions=True)
    await plane.stop()


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            if found := await check():
                return found
            await asyncio.sleep(0.05)


async def ready_nodes(client: Client) -> bool:
    nodes = (await client.list(resource("nodes")))["items"]
    return sum(objects.is_true(node, "Ready") for node in nodes) == 2


async def exists(client: Client, plural: str, name: str) -> bool:
    items = (await client.list(resource(plural), "default"))["items"]
    return name in [objects.name(each) for each in items]


async def make(client: Client, plural: str, name: str, spec: Any) -> Any:
    kind = resource(plural)
    made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
    return await client.create(kind, made, "default")


async def condition(client: Client, plural: str, name: str, kind: str) -> Any:
    return objects.condition(await client.get(resource(plural), name, "default"), kind)


async def said(client: Client, reason: str, name: str) -> list[str]:
    events = (await client.list(resource("events"), "default"))["items"]
    return [e["message"] for e in events if e["reason"] == reason and e["involvedObject"]["name"] == name]


async def writes_per_second(client: Client, seconds: float = 4.0) -> float:
    """The store counts every write by one."""

    async def revision() -> int:
        return int((await client.list(resource("configmaps"), "default"))["metadata"]["resourceVersion"])

    before = await revision()
    await asyncio.sleep(seconds)
    return (await revision() - before) / seconds


def template(annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    metadata = {"labels": {"app": "a"}, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "busybox"}], **spec}}


def replicated(count: int, pod: Any) -> Any:
    return {"replicas": count, "selector": {"matchLabels": {"app": "a"}}, "template": pod}


FAILS = {"sublet.dev/hollow-exit-code": "1"}


async def test_a_million_replicas_beyond_a_quota_are_a_condition_and_no_storm(client: Client) -> None:
    await make(client, "resourcequotas", "q", {"hard": {"pods": "15"}})
    await until(lambda: exists(client, "resourcequotas", "q"))
    await make(client, "deployments.apps", "web", replicated(1_000_000, template()))
    failed = await until(lambda: condition(client, "deployments.apps", "web", "ReplicaFailure"))
    assert failed["reason"] == "FailedCreate"
    assert "exceeded quota: q" in failed["message"]
    await asyncio.sleep(3.0)
    assert await writes_per_second(client) < CALM
    found = await client.get(resource("deployments.apps"), "web", "default")
    assert found["status"]["replicas"] == 15
    await settled(client, 30.0, (deployments_are_complete, replica_sets_have_as_many_pods_as_asked))


@pytest.mark.timeout(400)
async def test_a_million_replicas_in_a_full_cluster_come_slowly(client: Client) -> None:
    await make(client, "deployments.apps", "web", replicated(1_000_000, template()))

    async def without_room() -> list[Any]:
        return [p for p in (await client.list(PODS, "default"))["items"] if not p["spec"].get("nodeName")]

    async def told() -> bool:
        pods = await without_room()
        return len(pods) > 480 and sum(objects.condition(p, "PodScheduled") is not None for p in pods) > 40

    await until(told, 180.0)
    await asyncio.sleep(2.0)  # what had begun before ends
    before = len(await without_room())
    await asyncio.sleep(4.0)
    assert (len(await without_room()) - before) / 4 < CALM
    await client.patch(resource("deployments.apps"), "web", {"spec": {"replicas": 3}}, "default")
    await settled(client, 90.0)


@pytest.mark.parametrize("plural", ["deployments.apps", "statefulsets.apps", "daemonsets.apps"])
async def test_pods_that_their_node_refuses_are_replaced_slowly(client: Client, plural: str) -> None:
    """They name their node, so that no scheduler keeps the second one from a port that the first one has."""
    container = {"name": "c", "image": "busybox", "ports": [{"containerPort": 80, "hostPort": 80}]}
    pod = template(nodeName="hollow-0", containers=[container])
    holder = {"nodeName": "hollow-0", "containers": [container]}
    await make(client, "pods", "holder", holder)
    spec = replicated(2, pod)
    if plural == "daemonsets.apps":
        del spec["replicas"]
    await make(client, plural, "web", spec)

    async def refused() -> bool:
        return any(
            (pod.get("status") or {}).get("reason") == "NodePorts"
            for pod in (await client.list(PODS, "default"))["items"]
        )

    await until(refused)
    await asyncio.sleep(5.0)
    assert await writes_per_second(client) < 2 * CALM


async def test_crashing_pods_wait_in_back_off(client: Client) -> None:
    await make(client, "deployments.apps", "web", replicated(20, template(FAILS)))

    async def crashing() -> bool:
        pods = (await client.list(PODS, "default"))["items"]
        states = [s["state"] for p in pods for s in p["status"].get("containerStatuses") or ()]
        return sum(s.get("waiting", {}).get("reason") == "CrashLoopBackOff" for s in states) == 20

    await until(crashing)
    await asyncio.sleep(1.0)
    assert await writes_per_second(client, 3.0) < CALM
    available = await condition(client, "deployments.apps", "web", "Available")
    assert (available["status"], available["reason"]) == ("False", "MinimumReplicasUnavailable")


async def test_a_job_that_always_fails_waits_ever_longer_and_then_says_so(client: Client) -> None:
    pod = template(FAILS, restartPolicy="Never")
    await make(client, "jobs.batch", "bad", {"backoffLimit": 6, "template": pod})
    await make(client, "jobs.batch", "wide", {"backoffLimit": 30, "parallelism": 10, "completions": 10,
                                              "template": pod})  # fmt: skip
    await make(client, "jobs.batch", "once", {"backoffLimit": 0, "template": pod})
    failed = await until(lambda: condition(client, "jobs.batch", "once", "Failed"))
    assert failed["reason"] == "BackoffLimitExceeded"
    assert failed["message"] == "Job has reached the specified backoff limit"
    await asyncio.sleep(2.0)
    assert await writes_per_second(client) < CALM
    for name in ("bad", "wide"):
        await client.delete(resource("jobs.batch"), name, "default", propagation="Background")
    await settled(client, 30.0)


async def test_a_cron_job_that_missed_years_starts_one_job(client: Client) -> None:
    job = {"spec": {"template": template(restartPolicy="Never")}}
    await make(
        client, "cronjobs.batch", "old", {"schedule": "* * * * *", "jobTemplate": job, "suspend": True}
    )
    crons = resource("cronjobs.batch")
    long_ago = {"status": {"lastScheduleTime": "1999-01-01T00:00:00Z"}}
    await client.patch(crons, "old", long_ago, "default", subresource="status")
    await client.patch(crons, "old", {"spec": {"suspend": False}}, "default")
    told = await until(lambda: said(client, "TooManyMissedTimes", "old"), 5.0)
    assert told[0].startswith("too many missed start times")
    assert len((await client.list(resource("jobs.batch"), "default"))["items"]) == 1
    assert await writes_per_second(client, 2.0) < CALM
    await client.delete(crons, "old", "default")
    await settled(client, 30.0, (jobs_have_counted_every_pod,))


async def test_owners_in_a_circle_go_together(client: Client) -> None:
    maps = resource("configmaps")
    made = [await client.create(maps, {"metadata": {"name": f"c-{n}"}}, "default") for n in range(3)]
    for number, each in enumerate(made):
        reference = objects.owner_reference(made[number - 1], maps, controller=False)
        patch = {"metadata": {"ownerReferences": [{**reference, "blockOwnerDeletion": True}]}}
        await client.patch(maps, objects.name(each), patch, "default")
    assert await writes_per_second(client, 2.0) < CALM
    await client.delete(maps, "c-1", "default", propagation="Foreground")

    async def gone() -> bool:
        return not any([await exists(client, "configmaps", f"c-{n}") for n in range(3)])

    await until(gone)
    await settled(client, 30.0)


async def test_an_owner_in_another_namespace_is_told_of_and_counts_for_nothing(client: Client) -> None:
    maps = resource("configmaps")
    owner = await client.create(maps, {"metadata": {"name": "owner"}}, "kube-public")
    reference = objects.owner_reference(owner, maps, controller=False)
    metadata = {"name": "stray", "ownerReferences": [reference]}
    await client.create(maps, {"metadata": metadata}, "default")
    told = await until(lambda: said(client, "OwnerRefInvalidNamespace", "stray"))
    assert "does not exist in namespace" in told[0]


async def test_a_budget_over_everything_stops_every_eviction(client: Client) -> None:
    await make(client, "poddisruptionbudgets.policy", "all", {"minAvailable": "100%", "selector": {}})
    await make(client, "deployments.apps", "web", replicated(5, template()))
    await settled(client, 30.0)
    pod = (await client.list(PODS, "default"))["items"][0]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": objects.name(pod)}}
    with pytest.raises(
        TooManyRequests, match="Cannot evict pod as it would violate the pod's disruption budget"
    ):
        await client.create(PODS, eviction, "default", name=objects.name(pod), subresource="eviction")
    assert await writes_per_second(client, 2.0) < CALM


async def test_an_autoscaler_of_nothing_says_so(client: Client) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
    await make(
        client, "horizontalpodautoscalers.autoscaling", "lost", {"maxReplicas": 5, "scaleTargetRef": target}
    )
    able = await until(
        lambda: condition(client, "horizontalpodautoscalers.autoscaling", "lost", "AbleToScale")
    )
    assert (able["status"], able["reason"]) == ("False", "FailedGetScale")
    text = 'deployments.apps "none" not found'
    assert able["message"].endswith(text)
    assert (await until(lambda: said(client, "FailedGetScale", "lost")))[0].endswith(text)
    assert await writes_per_second(client, 2.0) < CALM


async def test_pods_that_fit_nowhere_wait_quietly(client: Client) -> None:
    await make(client, "deployments.apps", "web", replicated(30, template(nodeSelector={"no": "where"})))

    async def all_told() -> bool:
        pods = (await client.list(PODS, "default"))["items"]
        reasons = [(objects.condition(pod, "PodScheduled") or {}).get("reason") for pod in pods]
        return reasons == ["Unschedulable"] * 30

    await until(all_told)
    await asyncio.sleep(1.0)
    assert await writes_per_second(client) < CALM


async def test_replica_sets_of_one_selector_leave_each_other_alone(client: Client) -> None:
    for name in ("one", "two"):
        await make(client, "replicasets.apps", name, replicated(3, template()))
    await settled(client, 30.0)
    assert await writes_per_second(client, 2.0) < CALM


@pytest.mark.timeout(400)
async def test_a_thousand_crashing_pods_cost_no_more_than_their_restarts(client: Client) -> None:
    """Each restart is told of in a few writes, ever more rarely; nothing else comes of so much trouble."""
    capacity = {"cpu": "64", "memory": "64Gi", "pods": "250", "ephemeral-storage": "100Gi"}
    big = HollowSettings(names=names(4, "big"), capacity=capacity)
    nodes = asyncio.create_task(run_hollow(client, settings=big))
    try:
        await make(client, "deployments.apps", "web", replicated(1000, template(FAILS)))

        async def waiting() -> bool:
            pods = (await client.list(PODS, "default"))["items"]
            states = [s["state"] for p in pods for s in p["status"].get("containerStatuses") or ()]
            return sum(s.get("waiting", {}).get("reason") == "CrashLoopBackOff" for s in states) >= 900

        await until(waiting, 300.0)
        assert await writes_per_second(client, 10.0) < 1000 / 10 * 4
        assert len((await client.list(PODS, "default"))["items"]) == 1000
        available = await condition(client, "deployments.apps", "web", "Available")
        assert (available["status"], available["reason"]) == ("False", "MinimumReplicasUnavailable")
    finally:
        nodes.cancel()
        await asyncio.gather(nodes, return_exceptions=True)
