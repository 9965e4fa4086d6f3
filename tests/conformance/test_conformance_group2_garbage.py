"""The garbage collector: background, foreground, orphans, mixed owners, cycles."""

from __future__ import annotations

import time

from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import condition, gone, wait_count, wait_for
from conformance_workloads import (
    LONG,
    Workloads,
    container,
    controller,
    deleting,
    is_controlled,
    names,
    pod,
    replicated,
    uid,
    until,
)

POD_SECURITY = "privileged"
NODES = 2
QUIET = 5.0
"""Seconds in which orphans must stay; upstream waits 30."""
LABELS = {"gctest": "value"}


def options(policy: str, obj: Object) -> Object:
    return {"propagationPolicy": policy, "preconditions": {"uid": uid(obj)}}


def made(work: Workloads, name: str, replicas: int, labels: Object) -> Object:
    """A ReplicationController whose status counts all its pods."""
    work.controllers.create(controller(name, replicas, labels))
    return until(
        work.controllers, name, lambda o: o["status"].get("replicas", 0) == replicas, f"{replicas} replicas"
    )


@conformance(
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]"
)
def test_pods_go_with_their_controller(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    rc = work.controllers.create(controller("simpletest.rc", 2, LABELS))
    wait_for(lambda: work.pods.items(), "pods of the controller")
    work.controllers.delete("simpletest.rc", **options("Background", rc))
    wait_for(lambda: not work.controllers.items() and not work.pods.items(), "everything collected", LONG)


@conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so "
    "[Serial] [Conformance]"
)
def test_pods_may_be_orphaned(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    rc = made(work, "simpletest.rc", 100, LABELS)
    work.controllers.delete("simpletest.rc", **options("Orphan", rc))
    gone(work.controllers, "simpletest.rc")
    time.sleep(QUIET)
    pods = work.pods.items()
    assert len(pods) == 100 and not any(deleting(p) for p in pods)


@conformance(
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]"
)
def test_replicasets_go_with_their_deployment(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    deployment = work.deployments.create(replicated("simpletest.deployment", 2, LABELS))
    wait_for(lambda: work.replicasets.items(), "the ReplicaSet")
    work.deployments.delete("simpletest.deployment", **options("Background", deployment))
    wait_for(
        lambda: not (work.deployments.items() or work.replicasets.items() or work.pods.items()),
        "everything collected",
        LONG,
    )


@conformance(
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when "
    "deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
def test_replicasets_may_be_orphaned(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    work.deployments.create(replicated("simpletest.deployment", 2, LABELS))
    wait_for(lambda: work.replicasets.items(), "the ReplicaSet")
    until(
        work.deployments, "simpletest.deployment",
        lambda o: o["status"].get("replicas") == 2 and condition(o, "Progressing"), "progress",
    )  # fmt: skip
    deployment = work.deployments.get("simpletest.deployment")
    work.deployments.delete("simpletest.deployment", **options("Orphan", deployment))
    wait_count(work.deployments, 0)
    time.sleep(QUIET)
    [replicaset] = work.replicasets.items()
    assert not is_controlled(replicaset, deployment) and not deleting(replicaset)
    assert len(work.pods.items()) == 2


@conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the "
    "deleteOptions says so [Serial] [Conformance]"
)
def test_foreground_deletion_waits_for_the_pods(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    rc = made(work, "simpletest.rc", 100, LABELS)
    work.controllers.delete("simpletest.rc", **options("Foreground", rc))
    gone(work.controllers, "simpletest.rc", LONG)
    assert work.pods.items() == []


@conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner "
    "that's waiting for dependents to be deleted [Serial] [Conformance]"
)
def test_a_second_valid_owner_keeps_pods(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    leaving = made(work, "simpletest-rc-to-be-deleted", 100, LABELS)
    staying = made(work, "simpletest-rc-to-stay", 0, {"another.key": "another.value"})
    owner = {
        "apiVersion": "v1", "kind": "ReplicationController", "name": "simpletest-rc-to-stay",
        "uid": uid(staying),
    }  # fmt: skip
    pods = work.pods.items()
    assert len(pods) == 100
    for found in pods[:50]:
        patch = {"metadata": {"ownerReferences": [owner]}}
        patched = work.pods.patch(found["metadata"]["name"], patch, STRATEGIC)
        assert len(patched["metadata"]["ownerReferences"]) == 2
    work.controllers.delete("simpletest-rc-to-be-deleted", **options("Foreground", leaving))
    gone(work.controllers, "simpletest-rc-to-be-deleted", 90)
    assert work.controllers.get("simpletest-rc-to-stay")
    kept = work.pods.items()
    assert names(kept) == names(pods[:50])
    for found in kept:
        assert not deleting(found)
        assert [r["uid"] for r in found["metadata"]["ownerReferences"]] == [uid(staying)]


@conformance("[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]")
def test_a_circle_of_owners_is_collected(api: API, namespace: str) -> None:
    work = Workloads(api, namespace)
    pods = [work.pods.create(pod(f"pod{i}", containers=[container()])) for i in (1, 2, 3)]
    for position, found in enumerate(pods):
        owner = pods[position - 1]
        reference = {
            "apiVersion": "v1", "kind": "Pod", "name": owner["metadata"]["name"], "uid": uid(owner),
            "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        patch = {"metadata": {"ownerReferences": [reference]}}
        patched = work.pods.patch(found["metadata"]["name"], patch, STRATEGIC)
        assert patched["metadata"]["ownerReferences"] == [reference]
    work.pods.delete("pod1", **options("Foreground", pods[0]))
    work.no_pods(limit=90)
