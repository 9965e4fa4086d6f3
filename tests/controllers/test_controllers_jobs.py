"""Jobs on a running control plane, whose pods end as the tests say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from controllers_cluster import HandClock, running

from sublet.controllers.job import indexes
from sublet.controllers.job.accounts import FINALIZER
from sublet.kinds.resources import resource
from sublet.machinery import objects

JOBS, PODS = resource("jobs.batch"), resource("pods")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def cluster(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Failed pods are replaced at once."""
    monkeypatch.setattr("sublet.controllers.job.decisions.FIRST_BACKOFF", 0.01)
    names = {"job-controller", "garbage-collector-controller"}
    async with running(names, 0, clock=clock) as found:
        await found.namespace(account=True)
        yield found


def work(**spec: Any) -> dict[str, Any]:
    return {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
        **spec,
    }


def indexed(count: int, **spec: Any) -> dict[str, Any]:
    return work(completionMode="Indexed", completions=count, parallelism=count, **spec)


async def active(cluster: Any, eventually: Any, count: int) -> list[Any]:
    """The job's pods that neither ended nor are being deleted, once there are so many."""

    async def found() -> Any:
        pods = [
            pod
            for pod in await cluster.items("pods")
            if not objects.is_deleting(pod) and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        return len(pods) == count and [pods]

    listed: list[Any] = (await eventually(found))[0]
    return sorted(listed, key=lambda pod: indexes.of_pod(pod) or 0)


async def end(cluster: Any, pod: Any, exit_code: int = 0) -> None:
    terminated = {"exitCode": exit_code, "finishedAt": objects.rfc3339(0.0)}
    container = {
        "name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"terminated": terminated},
    }  # fmt: skip
    status = {"phase": "Failed" if exit_code else "Succeeded", "containerStatuses": [container]}
    await cluster.client.patch(PODS, objects.name(pod), {"status": status}, "test", subresource="status")


async def ended(cluster: Any, eventually: Any, kind: str) -> Any:
    """(reason, message) of the condition, and the status, once the job has it."""

    async def found() -> Any:
        job = await cluster.get("jobs.batch", "x")
        return objects.is_true(job, kind) and job

    job = await eventually(found)
    condition = objects.condition(job, kind) or {}
    return condition["reason"], condition["message"], job["status"]


async def events(cluster: Any, reason: str) -> list[str]:
    return [e["message"] for e in await cluster.items("events") if e["reason"] == reason]


async def test_every_index_gets_a_pod_that_knows_it_and_counts_once(cluster: Any, eventually: Any) -> None:
    await cluster.make("jobs.batch", "x", indexed(2))
    first, second = await active(cluster, eventually, 2)
    assert objects.name(first).startswith("x-0-")
    assert first["spec"]["hostname"] == "x-0"
    assert objects.labels(second)[indexes.INDEX] == objects.annotations(second)[indexes.INDEX] == "1"
    assert first["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    for pod in (first, second):
        await end(cluster, pod)
    reason, message, status = await ended(cluster, eventually, "Complete")
    assert (reason, message) == ("CompletionsReached", "Reached expected number of succeeded pods")
    assert (status["completedIndexes"], status["succeeded"]) == ("0,1", 2)
    assert status["uncountedTerminatedPods"] == {} and status["completionTime"]
    assert await eventually(lambda: events(cluster, "Completed")) == ["Job completed"]
    assert not any(FINALIZER in objects.finalizers(pod) for pod in await cluster.items("pods"))


async def test_an_exit_code_of_a_fail_job_rule_ends_the_job_and_its_pods(
    cluster: Any, eventually: Any
) -> None:
    codes = {"operator": "In", "values": [42]}
    rules = [{"action": "FailJob", "onExitCodes": codes}]
    await cluster.make(
        "jobs.batch", "x", work(completions=2, parallelism=2, podFailurePolicy={"rules": rules})
    )
    first, _second = await active(cluster, eventually, 2)
    await end(cluster, first, 42)
    reason, message, _status = await ended(cluster, eventually, "FailureTarget")
    assert reason == "PodFailurePolicy"
    name = objects.name(first)
    assert (
        message
        == f"Container c for pod test/{name} failed with exit code 42 matching FailJob rule at index 0"
    )
    *told, status = await ended(cluster, eventually, "Failed")
    assert told == [reason, message]
    assert status["failed"] == 2


async def test_ignored_failures_are_replaced_and_not_counted(cluster: Any, eventually: Any) -> None:
    codes = {"operator": "In", "values": [3]}
    policy = {"rules": [{"action": "Ignore", "onExitCodes": codes}]}
    await cluster.make("jobs.batch", "x", work(backoffLimit=0, podFailurePolicy=policy))
    for _ in range(2):
        [pod] = await active(cluster, eventually, 1)
        await end(cluster, pod, 3)
    [pod] = await active(cluster, eventually, 1)
    await end(cluster, pod)
    *_, status = await ended(cluster, eventually, "Complete")
    assert "failed" not in status


async def test_a_success_policy_ends_the_job_and_lets_the_other_pods_go(
    cluster: Any, eventually: Any
) -> None:
    policy = {"rules": [{"succeededIndexes": "0"}]}
    await cluster.make("jobs.batch", "x", indexed(2, successPolicy=policy))
    first, _second = await active(cluster, eventually, 2)
    await end(cluster, first)
    reason, message, _status = await ended(cluster, eventually, "SuccessCriteriaMet")
    assert (reason, message) == ("SuccessPolicy", "Matched rules at index 0")
    reason, _message, status = await ended(cluster, eventually, "Complete")
    assert (reason, status["completedIndexes"]) == ("SuccessPolicy", "0")


async def test_an_index_that_failed_too_often_does_not_keep_the_others_from_ending(
    cluster: Any, eventually: Any
) -> None:
    await cluster.make("jobs.batch", "x", indexed(2, backoffLimitPerIndex=1))
    first, second = await active(cluster, eventually, 2)
    await end(cluster, second)
    await end(cluster, first, 1)
    [again] = await active(cluster, eventually, 1)
    assert objects.annotations(again)["batch.kubernetes.io/job-index-failure-count"] == "1"
    await end(cluster, again, 1)
    reason, message, status = await ended(cluster, eventually, "Failed")
    assert (reason, message) == ("FailedIndexes", "Job has failed indexes")
    assert (status["failedIndexes"], status["completedIndexes"], status["failed"]) == ("0", "1", 2)


async def test_the_deadline_of_a_job_ends_it(cluster: Any, eventually: Any, clock: HandClock) -> None:
    await cluster.make("jobs.batch", "x", work(activeDeadlineSeconds=100))

    async def started() -> Any:
        return ((await cluster.get("jobs.batch", "x")).get("status") or {}).get("active")

    await eventually(started)
    clock.moved = 101.0
    await cluster.client.patch(JOBS, "x", {"metadata": {"annotations": {"look": "now"}}}, "test")
    reason, message, _status = await ended(cluster, eventually, "Failed")
    assert (reason, message) == ("DeadlineExceeded", "Job was active longer than specified deadline")


async def test_a_job_of_another_controller_is_left_alone(cluster: Any, eventually: Any) -> None:
    await cluster.make("jobs.batch", "other", work(managedBy="example.com/other"))
    await cluster.make("jobs.batch", "x", work())
    [pod] = await active(cluster, eventually, 1)
    assert objects.labels(pod)["batch.kubernetes.io/job-name"] == "x"
    assert not (await cluster.get("jobs.batch", "other")).get("status")


async def test_a_pod_that_is_going_is_replaced_only_once_it_has_failed(cluster: Any, eventually: Any) -> None:
    await cluster.make("jobs.batch", "x", work(podReplacementPolicy="Failed"))
    [pod] = await active(cluster, eventually, 1)
    patch = {"metadata": {"finalizers": [*objects.finalizers(pod), "example.com/kept"]}}
    await cluster.client.patch(PODS, objects.name(pod), patch, "test")
    await cluster.client.delete(PODS, objects.name(pod), "test")

    async def terminating() -> bool:
        status = (await cluster.get("jobs.batch", "x"))["status"]
        return bool(status.get("terminating") == 1 and not status.get("active"))

    await eventually(terminating)
    assert len(await cluster.items("pods")) == 1
    await end(cluster, pod, 1)
    await active(cluster, eventually, 1)

    async def failed() -> Any:  # the status is written after the pod
        return (await cluster.get("jobs.batch", "x"))["status"].get("failed")

    assert await eventually(failed) == 1


async def test_pods_that_are_too_many_go_without_counting_as_failed(cluster: Any, eventually: Any) -> None:
    await cluster.make("jobs.batch", "x", work(completions=5, parallelism=3))
    await active(cluster, eventually, 3)
    await cluster.client.patch(JOBS, "x", {"spec": {"parallelism": 1}}, "test")
    await active(cluster, eventually, 1)

    async def told() -> Any:
        status = (await cluster.get("jobs.batch", "x"))["status"]
        return status.get("active") == 1 and status

    assert "failed" not in await eventually(told)


async def test_more_successes_than_asked_for_are_told_of(cluster: Any, eventually: Any) -> None:
    labels = {"app": "adopted"}
    template = {"metadata": {"labels": labels}, **work()["template"]}
    for name in ("a", "b", "c"):
        await end(cluster, await cluster.make("pods", name, template["spec"], labels=labels))
    selector = {"manualSelector": True, "selector": {"matchLabels": labels}}
    await cluster.make("jobs.batch", "x", work(completions=2, **selector) | {"template": template})
    *_, status = await ended(cluster, eventually, "Complete")
    assert status["succeeded"] == 3
    assert await eventually(lambda: events(cluster, "TooManySucceededPods")) == [
        "Too many succeeded pods running after completion count reached"
    ]
