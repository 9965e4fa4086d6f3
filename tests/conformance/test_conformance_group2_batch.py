"""Jobs and CronJobs. The CronJobs' minutes pass by moving the control plane's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from conformance_client import API, STRATEGIC, Object
from conformance_names import conformance
from conformance_steps import change, condition, gone
from conformance_workloads import (
    BUSYBOX,
    LONG,
    PAUSE,
    Workloads,
    container,
    deleting,
    is_controlled,
    is_ready,
    name_of,
    pod_spec,
    uid,
    until,
)

from sublet.testing import RunningControlPlane, running_control_plane

POD_SECURITY = "baseline"


class MovedClock:
    """The system's time plus what the tests have added."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()

    def next_minute(self) -> None:
        self.ahead += 60.0 - self.now() % 60.0 + 0.01


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(scope="module")
def plane(clock: MovedClock) -> Iterator[RunningControlPlane]:
    with running_control_plane(nodes=2, clock=clock) as running:
        yield running


class Batch(Workloads):
    def __init__(self, api: API, namespace: str, clock: MovedClock) -> None:
        super().__init__(api, namespace)
        self.jobs = api.typed("batch/v1", "jobs", namespace)
        self.cronjobs = api.typed("batch/v1", "cronjobs", namespace)
        self.clock = clock

    def job(self, name: str) -> Object:
        """A job of two pods that do not end, and its pods once they run."""
        spec = pod_spec(container("c", PAUSE), restartPolicy="Never")
        labels = {"e2e-job": name}
        made = self.jobs.create(
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "parallelism": 2, "completions": 4, "backoffLimit": 6,
                    "template": {"metadata": {"labels": {"job": name}}, "spec": spec},
                },
            }
        )  # fmt: skip
        self.running(2, selector=f"job={name}")
        return made

    def cronjob(self, name: str, policy: str, suspend: bool = False) -> Object:
        spec = pod_spec(container("c", BUSYBOX, command=["sleep", "300"]), restartPolicy="OnFailure")
        template = {"spec": {"parallelism": 1, "completions": 1, "template": {"spec": spec}}}
        wanted = {
            "schedule": "*/1 * * * ?", "concurrencyPolicy": policy, "suspend": suspend, "jobTemplate": template,
        }  # fmt: skip
        return self.cronjobs.create({"metadata": {"name": name}, "spec": wanted})

    def minute(self, name: str) -> None:
        """The next minute begins, and the controller looks at the CronJob, whose own timer knows no moved clock."""
        self.clock.next_minute()
        tick = {"metadata": {"annotations": {"e2e-tick": str(self.clock.ahead)}}}
        self.cronjobs.patch(name, tick, STRATEGIC)

    def active(self, name: str, holds: Callable[[list[Object]], bool], what: str) -> list[Object]:
        found = until(self.cronjobs, name, lambda o: holds((o.get("status") or {}).get("active") or []), what)
        return list((found.get("status") or {}).get("active") or [])

    def quiet(self, name: str, jobs: int) -> None:
        """Another minute comes and no job beyond these."""
        self.minute(name)
        time.sleep(1.0)
        assert len(self.jobs.items()) == jobs


@pytest.fixture
def batch(api: API, namespace: str, clock: MovedClock) -> Batch:
    return Batch(api, namespace, clock)


@conformance("[sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]")
def test_cron_jobs_may_overlap(batch: Batch) -> None:
    batch.cronjob("concurrent", "Allow")
    batch.minute("concurrent")
    batch.active("concurrent", lambda a: len(a) >= 1, "one active job")
    batch.minute("concurrent")
    batch.active("concurrent", lambda a: len(a) >= 2, "two active jobs")
    assert sum(not condition(j, "Complete") for j in batch.jobs.items()) >= 2
    batch.cronjobs.delete("concurrent")


@conformance("[sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]")
def test_suspended_cron_jobs_start_nothing(batch: Batch) -> None:
    batch.cronjob("suspended", "Allow", suspend=True)
    for _ in range(5):
        batch.quiet("suspended", 0)
    assert not (batch.cronjobs.get("suspended").get("status") or {}).get("active")
    batch.cronjobs.delete("suspended")


@conformance("[sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]")
def test_forbidden_concurrency(batch: Batch) -> None:
    batch.cronjob("forbid", "Forbid")
    batch.minute("forbid")
    batch.active("forbid", lambda a: len(a) == 1, "one active job")
    for _ in range(5):
        batch.quiet("forbid", 1)
    batch.active("forbid", lambda a: len(a) == 1, "one active job still")
    batch.cronjobs.delete("forbid")


@conformance("[sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]")
def test_replaced_jobs(batch: Batch) -> None:
    version = batch.jobs.list()["metadata"]["resourceVersion"]
    batch.cronjob("replace", "Replace")
    with batch.jobs.watch(resource_version=version) as watch:
        batch.minute("replace")
        [first] = batch.active("replace", lambda a: len(a) == 1, "one active job")
        batch.minute("replace")
        batch.active("replace", lambda a: len(a) == 1 and a[0]["name"] != first["name"], "another active job")
        gone(batch.jobs, first["name"], LONG)
        alive: set[str] = set()
        while first["name"] not in alive:
            alive.add(name_of(watch.next()[1]))
        while first["name"] in alive or not alive:
            kind, job = watch.next()
            (alive.discard if kind == "DELETED" or deleting(job) else alive.add)(name_of(job))
            assert len(alive) <= 1, "more than one job is alive"
    batch.cronjobs.delete("replace")


@conformance("[sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]")
def test_jobs_adopt_and_release(batch: Batch) -> None:
    job = batch.job("adopt-release")
    name = name_of(batch.pods.items(label_selector="job=adopt-release")[0])
    change(batch.pods, name, lambda o: o["metadata"].update(ownerReferences=[]))
    until(batch.pods, name, lambda o: is_controlled(o, job), "adopted again")
    change(batch.pods, name, lambda o: o["metadata"].update(labels={}))
    until(batch.pods, name, lambda o: not is_controlled(o, job), "released")


@conformance("[sig-apps] Job should delete a job [Conformance]")
def test_a_job_is_deleted_with_its_pods(batch: Batch) -> None:
    job = batch.job("foo")
    batch.jobs.delete("foo", propagationPolicy="Foreground", preconditions={"uid": uid(job)})
    gone(batch.jobs, "foo", LONG)
    batch.no_pods("job=foo")


@conformance("[sig-apps] Job should apply changes to a job status [Conformance]")
def test_the_status_of_a_job(api: API, namespace: str, batch: Batch) -> None:
    name = "suspend-false-to-true"
    batch.job(name)
    assert all(is_ready(p) for p in batch.pods.items(label_selector=f"job={name}"))
    kind = "CustomConditionType"

    def since(found: Object) -> str:
        state = condition(found, kind)
        assert state is not None, "the condition is gone"
        return str(state["lastTransitionTime"])

    first, second = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"
    state = {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": first}
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [state]}}
    patched = batch.jobs.patch(name, patch, subresource="status")
    assert since(patched) == first
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"

    def later(found: Object) -> None:
        assert since(found) == first
        found["status"]["conditions"][0]["lastTransitionTime"] = second

    assert since(change(batch.jobs, name, later, "status")) == second
    dynamic = api.dynamic("batch/v1", "jobs", "Job", namespace)
    assert since(dynamic.get(name, "status")) == second
    # The controller keeps a condition it does not know.
    batch.jobs.patch(name, {"spec": {"parallelism": 3}})
    found = until(batch.jobs, name, lambda o: o["status"].get("active") == 3, "three active pods")
    assert since(found) == second
