"""The arithmetic of rollouts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.controllers.deployment import progress, revisions, rolling


def deployment(
    replicas: int = 10, surge: Any = "25%", unavailable: Any = "25%", **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "a"}]}},
            **spec,
        },
    }


def replica_set(
    name: str, replicas: int, available: int = -1, created: int = 0, **annotations: str
) -> dict[str, Any]:
    available = replicas if available < 0 else available
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": f"2026-01-01T00:00:{created:02d}Z",
            "annotations": {
                f"deployment.kubernetes.io/{k.replace('_', '-')}": v for k, v in annotations.items()
            },
        },
        "spec": {"replicas": replicas, "template": {}},
        "status": {"replicas": replicas, "availableReplicas": available, "readyReplicas": available},
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (10, 0, 0, (0, 1)),
        (3, "1%", "1%", (1, 0)),
        (2, 0, 5, (0, 2)),
    ],
)
def test_surge_rounds_up_and_unavailable_down_and_one_of_them_is_above_zero(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    found = rolling.bounds(deployment(replicas, surge, unavailable))
    assert (found.surge, found.unavailable) == expected


def test_the_new_replica_set_grows_only_into_the_surge() -> None:
    assert rolling.new_replicas(deployment(10), [replica_set("old", 10)], 0) == 3
    assert rolling.new_replicas(deployment(10), [replica_set("old", 13)], 0) == 0


def test_recreate_gives_the_new_replica_set_everything_at_once() -> None:
    recreated = deployment(10, strategy={"type": "Recreate"})
    assert rolling.new_replicas(recreated, [replica_set("old", 0)], 0) == 10


def test_old_pods_that_are_not_available_go_first() -> None:
    old = [replica_set("a", 5, available=5, created=1), replica_set("b", 5, available=0, created=2)]
    sizes = rolling.shrink_old(deployment(10), replica_set("new", 3, available=3), old)
    assert sizes == {"b": 0}


@given(
    replicas=st.integers(1, 40),
    surge=st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    unavailable=st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    sizes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=4),
)
def test_shrinking_never_takes_available_pods_below_the_minimum(
    replicas: int, surge: Any, unavailable: Any, sizes: list[tuple[int, int]]
) -> None:
    wanted = deployment(replicas, surge, unavailable)
    sets = [replica_set(f"r{i}", n, min(n, a), i) for i, (n, a) in enumerate(sizes)]
    *old, new = sets
    available = sum(rolling.available_replicas(r) for r in sets)
    minimum = replicas - rolling.bounds(wanted).unavailable
    after = rolling.shrink_old(wanted, new, old)
    lost = sum(
        max(0, rolling.available_replicas(r) - after.get(r["metadata"]["name"], rolling.spec_replicas(r)))
        for r in old
    )
    assert available - lost >= min(available, minimum)
    assert all(0 <= size < 41 for size in after.values())


@given(
    replicas=st.integers(1, 30),
    surge=st.integers(0, 5),
    fails=st.sets(st.integers(0, 60), max_size=20),
)
def test_a_rollout_ends_with_the_new_replica_set_alone(replicas: int, surge: int, fails: set[int]) -> None:
    """Step by step, with pods that become available a step late, within the bounds at every moment."""
    wanted = deployment(replicas, surge, 0 if surge else 1)
    old, new = replica_set("old", replicas), replica_set("new", 0)
    limits = rolling.bounds(wanted)
    for step in range(300):
        size = rolling.new_replicas(wanted, [old, new], rolling.spec_replicas(new))
        if size != rolling.spec_replicas(new):
            new["spec"]["replicas"] = size
        elif sizes := rolling.shrink_old(wanted, new, [old]):
            old["spec"]["replicas"] = sizes["old"]
            old["status"]["availableReplicas"] = min(old["status"]["availableReplicas"], sizes["old"])
        elif step not in fails:
            new["status"]["availableReplicas"] = new["spec"]["replicas"]
        assert rolling.total([old, new]) <= replicas + limits.surge
        available = rolling.available_replicas(old) + rolling.available_replicas(new)
        assert available >= replicas - limits.unavailable
    assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, replicas)


def test_a_change_of_scale_in_the_middle_of_a_rollout_is_spread_in_proportion() -> None:
    """The conformance test's numbers: 10 -> 30 with 8 old and 5 new pods, surge 3."""
    wanted = deployment(30, 3, 2)
    old = replica_set("old", 8, desired_replicas="10", max_replicas="13")
    new = replica_set("new", 5, 0, 1, desired_replicas="10", max_replicas="13")
    assert rolling.is_scaling(wanted, [old, new])
    assert rolling.scale(wanted, new, [old]) == {"old": 20, "new": 13}


@given(
    after=st.integers(0, 80),
    split=st.lists(st.integers(0, 30), min_size=2, max_size=4),
)
def test_proportional_scaling_neither_loses_nor_invents_replicas(after: int, split: list[int]) -> None:
    before = max(1, sum(split) - 3)
    wanted = deployment(after, 3, 2)
    sets = [
        replica_set(f"r{i}", n, -1, i, desired_replicas=str(before), max_replicas=str(before + 3))
        for i, n in enumerate(split)
    ]
    if sum(n > 0 for n in split) < 2:
        return
    sizes = rolling.scale(wanted, sets[-1], sets[:-1])
    if rolling.is_saturated(wanted, sets[-1]):
        return
    assert all(size >= 0 for size in sizes.values())
    target = after + 3 if after else 0
    assert sum(sizes.values()) == target


def test_the_only_active_replica_set_takes_the_whole_scale() -> None:
    assert rolling.scale(deployment(4), replica_set("new", 2), [replica_set("old", 0)]) == {"new": 4}


def test_a_template_is_found_again_whatever_its_hash_label() -> None:
    wanted = deployment()
    made = revisions.replica_set_for(wanted, "abc", {"uid": "d"})
    assert revisions.find_new(wanted, [made]) is made
    assert made["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": "abc"}
    assert made["metadata"]["name"] == "web-abc"


def test_an_older_revision_that_comes_back_keeps_its_history() -> None:
    again = replica_set("a", 1, revision="1")
    found = revisions.annotations_of(deployment(), again, 4, exists=True)
    assert found[revisions.REVISION] == "4"
    assert found[revisions.HISTORY] == "1"


def test_a_huge_adopted_revision_is_counted_on_from() -> None:
    """Conformance: 3546343826724305832 is followed by one more."""
    assert (
        revisions.next_revision([replica_set("a", 1, revision="3546343826724305832")]) == 3546343826724305833
    )


def test_only_empty_replica_sets_beyond_the_limit_are_cleaned() -> None:
    old = [replica_set(name, n, revision=r) for name, n, r in (("a", 0, "1"), ("b", 1, "2"), ("c", 0, "3"))]
    found = revisions.cleanable(deployment(revisionHistoryLimit=1), old)
    assert [r["metadata"]["name"] for r in found] == ["a"]


def test_a_complete_rollout_says_so() -> None:
    done = progress.rollout_status(
        {**deployment(2), "status": {"observedGeneration": 1}}, replica_set("new", 2), [], 0.0
    )
    progressing = next(c for c in done["conditions"] if c["type"] == "Progressing")
    assert progressing["reason"] == "NewReplicaSetAvailable"
    assert progressing["message"] == 'ReplicaSet "new" has successfully progressed.'
    assert done["availableReplicas"] == 2 and "unavailableReplicas" not in done


def test_a_rollout_without_progress_times_out() -> None:
    stuck = {**deployment(2, progressDeadlineSeconds=10)}
    new = replica_set("new", 2, available=0)
    stuck["status"] = progress.rollout_status(stuck, new, [], 0.0)
    later = progress.rollout_status(stuck, new, [], 60.0)
    found = next(c for c in later["conditions"] if c["type"] == "Progressing")
    assert (found["status"], found["reason"]) == ("False", "ProgressDeadlineExceeded")
