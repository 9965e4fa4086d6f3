"""What the scheduler tells of its work in metrics."""

from __future__ import annotations

import pytest

from sublet.scheduler.counts import Counts


def lines(counts: Counts) -> list[str]:
    return list(counts.lines({"active": 0}, {("NodeAdd", "backoff"): 2}, {"nodes": 3}))


def test_the_queue_and_the_cache_are_told_as_they_are() -> None:
    found = lines(Counts())
    assert 'scheduler_queue_incoming_pods_total{event="NodeAdd",queue="backoff"} 2' in found
    assert 'scheduler_cache_size{type="nodes"} 3' in found


def test_steps_are_timed_by_profile_and_status() -> None:
    counts = Counts()
    counts.timed("Filter", "default-scheduler", "Unschedulable", 0.0003)
    name = "scheduler_framework_extension_point_duration_seconds"
    labels = 'extension_point="Filter",profile="default-scheduler",status="Unschedulable"'
    found = lines(counts)
    assert f'{name}_bucket{{{labels},le="0.0002"}} 0' in found
    assert f'{name}_bucket{{{labels},le="0.0004"}} 1' in found
    assert f'{name}_bucket{{{labels},le="0.2048"}} 1' in found


def test_attempts_are_counted_and_timed_by_their_result() -> None:
    counts = Counts()
    counts.attempted("default-scheduler", "unschedulable", 0.003)
    counts.attempted("default-scheduler", "scheduled", 0.02)
    found = lines(counts)
    for result in ("unschedulable", "scheduled"):
        labels = f'profile="default-scheduler",result="{result}"'
        assert f"scheduler_schedule_attempts_total{{{labels}}} 1" in found
        assert f"scheduler_scheduling_attempt_duration_seconds_count{{{labels}}} 1" in found


@pytest.mark.parametrize(("tries", "label"), [(1, "1"), (14, "14"), (15, "15+"), (99, "15+")])
def test_how_long_a_pod_waited_is_told_by_its_tries(tries: int, label: str) -> None:
    counts = Counts()
    counts.bound(tries, 3.0)
    found = lines(counts)
    name = "scheduler_pod_scheduling_sli_duration_seconds"
    assert f'{name}_bucket{{attempts="{label}",le="2.56"}} 0' in found
    assert f'{name}_bucket{{attempts="{label}",le="5.12"}} 1' in found
    assert f"scheduler_pod_scheduling_attempts_sum {tries}" in found


def test_buckets_are_upstreams() -> None:
    counts = Counts()
    counts.bound(1, 0.0)
    found = "\n".join(lines(counts))
    assert 'scheduling_algorithm_duration_seconds_bucket{le="16.384"} 0' in found
    assert 'pod_scheduling_sli_duration_seconds_bucket{attempts="1",le="5242.88"} 1' in found
    assert 'preemption_victims_bucket{le="64"} 0' in found
