"""The order in which a StatefulSet's pods come and go."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sublet.controllers.statefulset import identity, steps
from sublet.kinds.resources import resource


def stateful_set(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "ns", "uid": "s", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            **spec,
        },
    }


def pod(
    ordinal: int, revision: str = "new", *, ready: bool = True, phase: str = "Running", **metadata: Any
) -> Any:
    return {
        "metadata": {
            "name": f"web-{ordinal}",
            "namespace": "ns",
            "uid": f"p{ordinal}",
            "labels": {"controller-revision-hash": revision},
            **metadata,
        },
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def pods(*each: Any) -> dict[int, Any]:
    return identity.by_ordinal(stateful_set(), each)


def names(planned: steps.Steps) -> list[str]:
    return [p["metadata"]["name"] for p in planned.delete]


def test_ordered_pods_come_one_after_another() -> None:
    assert steps.plan(stateful_set(), {}, "new", 0.0).create == [(0, True)]
    assert steps.plan(stateful_set(), pods(pod(0, ready=False)), "new", 0.0) == steps.Steps()
    assert steps.plan(stateful_set(), pods(pod(0)), "new", 0.0).create == [(1, True)]


def test_parallel_pods_come_at_once() -> None:
    planned = steps.plan(stateful_set(podManagementPolicy="Parallel"), {}, "new", 0.0)
    assert [ordinal for ordinal, _ in planned.create] == [0, 1, 2]


def test_scaling_down_takes_the_highest_ordinal_first_and_waits_until_it_is_gone() -> None:
    all_pods = [pod(n) for n in range(3)]
    assert names(steps.plan(stateful_set(1), pods(*all_pods), "new", 0.0)) == ["web-2"]
    all_pods[2]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert names(steps.plan(stateful_set(1), pods(*all_pods), "new", 0.0)) == []


def test_scaling_down_halts_while_a_lower_pod_is_unhealthy() -> None:
    """Conformance: scaling should stop while there are unhealthy pods."""
    unwell = pods(pod(0, ready=False), pod(1), pod(2))
    assert steps.plan(stateful_set(1), unwell, "new", 0.0) == steps.Steps()


def test_a_rolling_update_goes_from_the_highest_ordinal_down_to_the_partition() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    old = pods(*(pod(n, "old") for n in range(3)))
    assert names(steps.plan(stateful_set(updateStrategy=rolling), old, "new", 0.0)) == ["web-2"]
    done = pods(pod(0, "old"), pod(1, "old"), pod(2))
    assert names(steps.plan(stateful_set(updateStrategy=rolling), done, "new", 0.0)) == []
    assert names(steps.plan(stateful_set(), done, "new", 0.0)) == ["web-1"]


def test_a_pod_below_the_partition_is_made_again_from_the_old_revision() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    planned = steps.plan(stateful_set(updateStrategy=rolling), {}, "new", 0.0)
    assert planned.create == [(0, False)]


def test_on_delete_leaves_old_pods_alone() -> None:
    old = pods(*(pod(n, "old") for n in range(3)))
    assert steps.plan(stateful_set(updateStrategy={"type": "OnDelete"}), old, "new", 0.0) == steps.Steps()


def test_a_failed_pod_is_deleted_to_be_made_again() -> None:
    assert names(steps.plan(stateful_set(), pods(pod(0, phase="Failed")), "new", 0.0)) == ["web-0"]


@given(
    replicas=st.integers(0, 6),
    start=st.integers(0, 3),
    there=st.sets(st.integers(0, 9)),
    parallel=st.booleans(),
)
def test_repeating_the_plan_ends_with_exactly_the_wanted_ordinals(
    replicas: int, start: int, there: set[int], parallel: bool
) -> None:
    policy = "Parallel" if parallel else "OrderedReady"
    wanted = stateful_set(replicas, ordinals={"start": start}, podManagementPolicy=policy)
    found = {n: pod(n) for n in there}
    for _ in range(60):
        planned = steps.plan(wanted, found, "new", 0.0)
        if not parallel:
            assert len(planned.create) + len(planned.delete) <= 1
        for gone in planned.delete:
            del found[int(gone["metadata"]["name"][4:])]
        for ordinal, _ in planned.create:
            found[ordinal] = pod(ordinal)
    assert sorted(found) == list(range(start, start + replicas))


def test_the_pod_of_an_ordinal_has_its_name_labels_host_and_claims() -> None:
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    owner = stateful_set(volumeClaimTemplates=[template])
    made = identity.pod(owner, owner["spec"]["template"], "web-abc", 2)
    assert made["metadata"]["labels"] == {
        "app": "web",
        "statefulset.kubernetes.io/pod-name": "web-2",
        "apps.kubernetes.io/pod-index": "2",
        "controller-revision-hash": "web-abc",
    }
    assert (made["spec"]["hostname"], made["spec"]["subdomain"]) == ("web-2", "web")
    assert made["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}}]
    assert [c["metadata"]["name"] for c in identity.claims(owner, 2)] == ["data-web-2"]


def test_claims_follow_the_set_only_where_the_policy_says_delete() -> None:
    claim: Any = {"metadata": {"name": "data-web-0"}}
    assert identity.claim_owners(stateful_set(), pod(0), claim, condemned=False) is None
    deleting = stateful_set(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"})
    found = identity.claim_owners(deleting, pod(0), claim, condemned=False)
    assert found is not None and found[0]["kind"] == "StatefulSet"


def test_a_finished_rollout_makes_the_update_revision_current() -> None:
    three = pods(*(pod(n) for n in range(3)))
    found = steps.status(stateful_set(), three, "old", "new", None, 0.0)
    assert (found["currentRevision"], found["currentReplicas"], found["updatedReplicas"]) == ("new", 3, 3)


def test_a_claim_of_an_earlier_pod_of_the_name_is_stale() -> None:
    owner = {"kind": "Pod", "name": "web-1", "uid": "earlier"}
    claim = {"metadata": {"name": "data-web-1", "ownerReferences": [owner]}}
    assert identity.is_stale(claim, "web-1")
    assert not identity.is_stale(claim, "web-2")


async def test_a_pod_gets_back_the_label_that_names_it(cluster: Any, eventually: Any) -> None:
    containers = [{"name": "c", "image": "i"}]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template, "serviceName": "s"}
    await cluster.make("statefulsets.apps", "web", spec)

    async def named() -> Any:
        found = await cluster.items("pods", label_selector=f"{identity.POD_NAME}=web-0")
        return found and found[0]["status"].get("phase") == "Running" and found[0]

    pod = await eventually(named)
    labels = {identity.POD_NAME: "other"}
    await cluster.client.patch(resource("pods"), "web-0", {"metadata": {"labels": labels}}, "test")

    async def again() -> bool:
        found = await cluster.get("pods", "web-0")
        return bool(found["metadata"]["labels"][identity.POD_NAME] == "web-0")

    await eventually(again)
    assert (await cluster.get("pods", "web-0"))["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_a_number_of_unavailable_pods_is_dropped_as_its_feature_is_off(cluster: Any) -> None:
    containers = [{"name": "c", "image": "i"}]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "partition": 1}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template, "serviceName": "s"}
    made = await cluster.make("statefulsets.apps", "web", {**spec, "updateStrategy": strategy})
    assert made["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
