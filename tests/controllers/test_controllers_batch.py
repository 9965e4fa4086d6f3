"""Schedules, budgets, quotas and the end of finished jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from controllers_cluster import running
from hypothesis import given, settings
from hypothesis import strategies as st

from sublet.controllers import disruption, resourcequota, ttl_after_finished
from sublet.controllers.cronjob import schedule
from sublet.kinds.resources import resource
from sublet.machinery.status import TooManyRequests


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/5 * * * *", "2026-01-01T00:01:00", "2026-01-01T00:05:00"),
        ("0 0 * * *", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("30 6 * * mon-fri", "2026-01-02T07:00:00", "2026-01-05T06:30:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 12 13 * 5", "2026-01-01T00:00:00", "2026-01-02T12:00:00"),
        ("@hourly", "2026-01-01T00:30:00", "2026-01-01T01:00:00"),
        ("0 0 1 jan ?", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("5-10/2 * * * *", "2026-01-01T00:06:00", "2026-01-01T00:07:00"),
    ],
)
def test_the_next_time_of_a_schedule(cron: str, after: str, expected: str) -> None:
    assert schedule.parse(cron).next(at(after)) == at(expected)


def test_every_counts_from_the_last_time() -> None:
    assert schedule.parse("@every 1h30m").next(100.0) == 5500.0


def test_a_time_zone_moves_the_schedule_and_its_gap_skips_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert schedule.parse("0 9 * * *", berlin).next(at("2026-07-01T00:00:00")) == at("2026-07-01T07:00:00")
    in_the_gap = schedule.parse("30 2 29 3 *", berlin).next(at("2026-01-01T00:00:00"))
    assert in_the_gap == at("2027-03-29T00:30:00")


@pytest.mark.parametrize(
    "bad", ["", "* * * *", "60 * * * *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "@never", "a * * * *"]
)
def test_a_bad_schedule_is_refused(bad: str) -> None:
    with pytest.raises(ValueError):
        schedule.parse(bad)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3_000), st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "15 10 * * 1"]))
def test_the_due_time_is_the_latest_that_has_come(minutes: int, cron: str) -> None:
    times = schedule.parse(cron)
    since = at("2026-01-01T00:00:00")
    now = since + minutes * 60 + 30
    expected = None
    walk = times.next(since)
    while walk is not None and walk <= now:
        expected, walk = walk, times.next(walk)
    assert schedule.due(times, since, now).scheduled == expected


def test_more_than_a_hundred_missed_times_are_told() -> None:
    times = schedule.parse("* * * * *")
    assert not schedule.due(times, 0.0, 60 * 50).too_many
    assert schedule.due(times, 0.0, 60 * 500).too_many


def test_a_finished_job_expires_after_its_time_to_live() -> None:
    job = {
        "spec": {"ttlSecondsAfterFinished": 10},
        "status": {
            "conditions": [
                {"type": "Complete", "status": "True", "lastTransitionTime": "1970-01-01T00:01:00Z"}
            ]
        },
    }
    assert ttl_after_finished.expires_in(job, 65.0) == 5.0
    assert ttl_after_finished.expires_in({"spec": {}, "status": job["status"]}, 65.0) is None


def pod(name: str, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "test", **metadata},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_a_budget_lets_go_what_is_healthy_beyond_the_desired() -> None:
    budget: Any = {"metadata": {"generation": 1}, "spec": {}}
    found = disruption.status(budget, [pod("a"), pod("b"), pod("c", False)], 3, 1, 0.0)
    assert (found["currentHealthy"], found["disruptionsAllowed"]) == (2, 1)
    assert found["conditions"][0]["reason"] == "SufficientPods"


def test_a_granted_eviction_counts_until_the_pod_goes_or_two_minutes_are_over() -> None:
    budget: Any = {"status": {"disruptedPods": {"a": "1970-01-01T00:00:00Z", "gone": "1970-01-01T00:00:00Z"}}}
    assert disruption.disrupted(budget, [pod("a")], 60.0) == {"a": "1970-01-01T00:00:00Z"}
    assert disruption.disrupted(budget, [pod("a")], 200.0) == {}


def test_a_quota_sums_what_its_scope_takes_in() -> None:
    quota: Any = {"spec": {"hard": {"pods": "5", "requests.cpu": "2"}, "scopes": ["NotBestEffort"]}}
    big = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}}
    small = {"spec": {"containers": [{"name": "c"}]}}
    found = resourcequota.used(quota, [(resource("pods"), [big, big, small])], 0.0)
    assert found == {"pods": "2", "requests.cpu": "1"}


async def test_evictions_stop_at_the_budget(cluster: Any, eventually: Any) -> None:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await cluster.make("replicasets.apps", "web", spec)
    await cluster.make(
        "poddisruptionbudgets.policy", "web", {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}}
    )

    async def settled() -> Any:
        status = (await cluster.get("poddisruptionbudgets.policy", "web")).get("status") or {}
        return status.get("currentHealthy") == 3 and status

    assert (await eventually(settled))["disruptionsAllowed"] == 0
    name = (await cluster.items("pods"))[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    with pytest.raises(TooManyRequests):
        await cluster.client.create(resource("pods"), eviction, "test", name=name, subresource="eviction")
    await cluster.client.patch(
        resource("poddisruptionbudgets.policy"), "web", {"spec": {"minAvailable": 2}}, "test"
    )

    async def allowed() -> bool:
        status = (await cluster.get("poddisruptionbudgets.policy", "web"))["status"]
        return bool(status["disruptionsAllowed"] == 1)

    await eventually(allowed)
    await cluster.client.create(resource("pods"), eviction, "test", name=name, subresource="eviction")


async def test_a_quota_follows_the_life_of_what_it_counts(cluster: Any, eventually: Any) -> None:
    await cluster.make("resourcequotas", "all", {"hard": {"configmaps": "5", "count/secrets": "3"}})

    async def uses(number: int, secrets: int) -> bool:
        status = (await cluster.get("resourcequotas", "all")).get("status") or {}
        wanted = {"configmaps": str(number), "count/secrets": str(secrets)}
        return bool(
            status.get("used") == wanted and status["hard"] == {"configmaps": "5", "count/secrets": "3"}
        )

    await eventually(lambda: uses(1, 0))
    await cluster.client.create(resource("configmaps"), {"metadata": {"name": "a"}}, "test")
    await cluster.client.create(resource("secrets"), {"metadata": {"name": "a"}}, "test")
    await eventually(lambda: uses(2, 1))
    await cluster.client.delete(resource("configmaps"), "a", "test")
    await cluster.client.delete(resource("secrets"), "a", "test")
    await eventually(lambda: uses(1, 0))


async def test_a_cron_job_starts_the_job_that_is_due(cluster: Any, eventually: Any) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    spec = {
        "schedule": "@every 1s",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": template}},
    }
    await cluster.make("cronjobs.batch", "tick", spec)

    async def started() -> Any:
        found = await cluster.get("cronjobs.batch", "tick")
        return (found.get("status") or {}).get("active") and found

    found = await eventually(started)
    job = (await cluster.items("jobs.batch"))[0]
    assert found["status"]["active"][0]["name"] == job["metadata"]["name"]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert "batch.kubernetes.io/cronjob-scheduled-timestamp" in job["metadata"]["annotations"]


def work(**spec: Any) -> dict[str, Any]:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    return {"template": pod, **spec}


async def finish(cluster: Any, name: str, phase: str) -> None:
    await cluster.client.patch(
        resource("pods"), name, {"status": {"phase": phase}}, "test", subresource="status"
    )


async def conditions(cluster: Any, name: str) -> dict[str, str]:
    found = await cluster.get("jobs.batch", name)
    listed = (found.get("status") or {}).get("conditions") or ()
    return {c["type"]: c.get("reason", "") for c in listed if c["status"] == "True"}


@pytest.fixture
async def nodeless() -> AsyncIterator[Any]:
    async with running(None, 0) as found:
        await found.namespace()
        yield found


async def test_a_job_beyond_its_backoff_limit_fails_and_its_pods_are_freed(
    nodeless: Any, eventually: Any
) -> None:
    await nodeless.make("jobs.batch", "bad", work(backoffLimit=0))
    pods = await eventually(lambda: nodeless.items("pods"))
    await finish(nodeless, pods[0]["metadata"]["name"], "Failed")

    async def failed() -> bool:
        return (await conditions(nodeless, "bad")).get("Failed") == "BackoffLimitExceeded"

    await eventually(failed)
    found = await nodeless.get("jobs.batch", "bad")
    assert found["status"]["failed"] == 1 and not found["status"].get("active")
    assert not (await nodeless.items("pods"))[0]["metadata"].get("finalizers")


async def test_a_suspended_job_gives_its_pods_up_and_starts_again(nodeless: Any, eventually: Any) -> None:
    await nodeless.make("jobs.batch", "later", work(parallelism=2, completions=2))

    async def has(number: int) -> bool:
        return len(await nodeless.items("pods")) == number

    await eventually(lambda: has(2))
    await nodeless.client.patch(resource("jobs.batch"), "later", {"spec": {"suspend": True}}, "test")
    await eventually(lambda: has(0))
    found = await nodeless.get("jobs.batch", "later")
    assert "startTime" not in found["status"] and "Suspended" in await conditions(nodeless, "later")
    assert not found["status"].get("failed")
    await nodeless.client.patch(resource("jobs.batch"), "later", {"spec": {"suspend": False}}, "test")
    await eventually(lambda: has(2))


async def test_a_finished_job_with_a_time_to_live_is_deleted_with_its_pods(
    nodeless: Any, eventually: Any
) -> None:
    await nodeless.make("jobs.batch", "brief", work(ttlSecondsAfterFinished=0))
    pods = await eventually(lambda: nodeless.items("pods"))
    await finish(nodeless, pods[0]["metadata"]["name"], "Succeeded")

    async def gone() -> bool:
        return not await nodeless.items("jobs.batch") and not await nodeless.items("pods")

    await eventually(gone)


async def test_a_deleted_job_frees_its_pods(nodeless: Any, eventually: Any) -> None:
    """The tracking finalizer must not keep the pods of a job that is gone."""
    await nodeless.make("jobs.batch", "short", work(parallelism=3, completions=3))

    async def has(number: int) -> bool:
        return len(await nodeless.items("pods")) == number

    await eventually(lambda: has(3))
    await nodeless.client.delete(resource("jobs.batch"), "short", "test", propagation="Background")
    await eventually(lambda: has(0))


async def test_jobs_and_pods_that_finished_are_counted(nodeless: Any, eventually: Any) -> None:
    await nodeless.make("jobs.batch", "bad", work(backoffLimit=0))
    pods = await eventually(lambda: nodeless.items("pods"))
    await finish(nodeless, pods[0]["metadata"]["name"], "Failed")
    ended = 'job_controller_jobs_finished_total{completion_mode="NonIndexed",reason="BackoffLimitExceeded",result="failed"} 1'

    async def counted() -> bool:
        return ended in list(nodeless.manager.lines())

    await eventually(counted)
    lines = list(nodeless.manager.lines())
    assert 'job_controller_job_pods_finished_total{completion_mode="NonIndexed",result="failed"} 1' in lines
    labels = 'action="pods_created",completion_mode="NonIndexed",result="success"'
    assert f"job_controller_job_syncs_total{{{labels}}} 1" in lines
    assert f"job_controller_job_sync_duration_seconds_count{{{labels}}} 1" in lines
