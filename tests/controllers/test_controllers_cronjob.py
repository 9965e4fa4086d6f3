"""When a CronJob starts its jobs, and what it tells of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from controllers_cluster import HandClock, running

from sublet.controllers.cronjob import reconciler, schedule
from sublet.kinds.resources import resource

NEW_YORK = ZoneInfo("America/New_York")
CRON_JOBS = resource("cronjobs.batch")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 1 * * *", "2026-11-01T00:00:00-04:00", "2026-11-01T01:00:00-04:00"),
        ("0 1 * * *", "2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"),
        ("*/20 * * * *", "2026-11-01T01:40:00-04:00", "2026-11-01T01:00:00-05:00"),
        ("*/20 * * * *", "2026-11-01T01:20:00-05:00", "2026-11-01T01:40:00-05:00"),
        ("0 1 * * *", "2026-11-01T01:00:00-05:00", "2026-11-02T01:00:00-05:00"),
        ("0 2 * * *", "2026-03-08T00:00:00-05:00", "2026-03-09T02:00:00-04:00"),
    ],
)
def test_an_hour_that_repeats_runs_twice_and_one_that_is_skipped_does_not(
    cron: str, after: str, expected: str
) -> None:
    assert schedule.parse(cron, NEW_YORK).next(at(after)) == at(expected)


def test_an_interval_goes_on_from_its_last_time_however_late_it_is_looked_at() -> None:
    every = schedule.parse("@every 1h")
    assert schedule.following(every, 0.0, 1800.0) == 3600.0
    assert schedule.due(every, 0.0, 10.5 * 3600).scheduled == 10 * 3600
    assert schedule.following(every, 0.0, 10.5 * 3600) == 11 * 3600


def test_jobs_that_never_started_are_the_last_to_leave_the_history() -> None:
    never = {"metadata": {"name": "a"}, "status": {}}
    old = {"metadata": {"name": "b"}, "status": {"startTime": "2026-01-01T00:00:00Z"}}
    assert reconciler.surplus([never, old], 1) == [old]


def cron_job(**spec: Any) -> dict[str, Any]:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    return {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": pod}}, **spec}


async def told(cluster: Any, reason: str) -> list[str]:
    return [e["message"] for e in await cluster.items("events") if e["reason"] == reason]


async def test_a_job_of_its_own_that_it_does_not_remember_is_told_of(eventually: Any) -> None:
    async with running({"cronjob-controller"}, 0) as cluster:
        await cluster.namespace()
        owner = await cluster.make("cronjobs.batch", "tick", cron_job())
        reference = {
            "apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": owner["metadata"]["uid"],
            "controller": True,
        }  # fmt: skip
        template = cron_job()["jobTemplate"]["spec"]
        await cluster.make("jobs.batch", "stray", template, ownerReferences=[reference])
        assert await eventually(lambda: told(cluster, "UnexpectedJob")) == [
            "Saw a job that the controller did not create or forgot: stray"
        ]


async def test_an_hourly_job_starts_once_the_hour_has_come(eventually: Any) -> None:
    clock = HandClock()
    async with running({"cronjob-controller"}, 0, clock=clock) as cluster:
        await cluster.namespace()
        await cluster.make("cronjobs.batch", "tick", cron_job(suspend=True))
        clock.moved = 3600 - clock.now() % 3600 + 1
        minute = int(clock.now()) // 3600 * 60
        await cluster.client.patch(CRON_JOBS, "tick", {"spec": {"suspend": False}}, "test")
        jobs = await eventually(lambda: cluster.items("jobs.batch"))
        assert [job["metadata"]["name"] for job in jobs] == [f"tick-{minute}"]
        name = "cronjob_controller_job_creation_skew_duration_seconds_count"

        async def counted() -> bool:
            return f"{name} 1" in list(cluster.manager.lines())

        await eventually(counted)


async def test_the_end_of_a_job_is_seen_and_its_time_kept(eventually: Any) -> None:
    clock = HandClock()
    async with running({"cronjob-controller"}, 0, clock=clock) as cluster:
        await cluster.namespace()
        await cluster.make("cronjobs.batch", "tick", cron_job(suspend=True))
        clock.moved = 3600 - clock.now() % 3600 + 1
        await cluster.client.patch(CRON_JOBS, "tick", {"spec": {"suspend": False}}, "test")
        job = (await eventually(lambda: cluster.items("jobs.batch")))[0]
        time = "2026-01-01T00:00:00Z"
        ended = {
            "startTime": time, "completionTime": time, "succeeded": 1,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": time} for kind in ("SuccessCriteriaMet", "Complete")
            ],
        }  # fmt: skip
        await cluster.client.update_status(resource("jobs.batch"), {**job, "status": ended})

        async def kept() -> Any:
            found = (await cluster.get("cronjobs.batch", "tick")).get("status") or {}
            return found.get("lastSuccessfulTime") == time and not found.get("active")

        await eventually(kept)
        name = job["metadata"]["name"]
        assert await eventually(lambda: told(cluster, "SawCompletedJob")) == [
            f"Saw completed job: {name}, condition: Complete"
        ]
