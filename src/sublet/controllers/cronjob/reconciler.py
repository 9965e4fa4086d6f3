"""The I/O of the cronjob controller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from sublet.controllers.cronjob import schedule
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.exposition import Histogram, heading
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

_CRON_JOBS = resource("cronjobs.batch")
_JOBS = resource("jobs.batch")
_SKEW = tuple(2.0**power for power in range(10))
_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_SLACK = 0.1


def _since(cron_job: Object) -> float:
    """The time from which on jobs are due."""
    known = (cron_job.get("status") or {}).get("lastScheduleTime") or cron_job["metadata"][
        "creationTimestamp"
    ]
    return objects.parse_time(known)


def finished(job: Object) -> str:
    """``Complete``, ``Failed`` or empty."""
    return next((kind for kind in ("Complete", "Failed") if objects.is_true(job, kind)), "")


def surplus(jobs: Sequence[Object], limit: int | None) -> list[Object]:
    """The oldest finished jobs beyond the history limit."""
    if limit is None:
        return []

    def started(job: Object) -> tuple[bool, str, str]:
        time = (job.get("status") or {}).get("startTime") or ""
        return not time, time, objects.name(job)

    ordered = sorted(jobs, key=started)
    return ordered[: max(0, len(ordered) - limit)]


def zone_of(cron_job: Object) -> tzinfo:
    """spec.timeZone, or UTC. Raises ``ValueError`` for a zone that is not known."""
    name = cron_job["spec"].get("timeZone")
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name}") from None


class CronJobReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._cron_jobs = context.informers.informer(_CRON_JOBS)
        self._jobs = context.informers.informer(_JOBS)
        self._jobs.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)
        self._latest = Latest()
        self.controller = Controller("cronjob-controller", self.reconcile, workers=2)
        self._skew = Histogram(_SKEW)
        self.controller.sources.append(self._lines)
        self._cron_jobs.add_handler(self._on_cron_job)
        self._jobs.add_handler(self.controller.enqueue_controller("CronJob"))

    def _on_cron_job(self, event: str, cron_job: Object, _old: Object | None) -> None:
        if event == "delete":
            self._latest.forget(objects.uid(cron_job))
        self.controller.enqueue(objects.key(cron_job))

    async def reconcile(self, key: str) -> Result | None:
        cached = self._cron_jobs.get(*objects.split_key(key))
        if cached is None:
            return None
        cron_job = self._latest.of(cached)
        jobs = self._jobs.by_index(workloads.CONTROLLER_INDEX, objects.uid(cron_job))
        cron_job = await self._refresh(cron_job, jobs)
        await self._clean(cron_job, jobs)
        if objects.is_deleting(cron_job):
            return None
        times = self._schedule(cron_job)
        if times is None or cron_job["spec"].get("suspend"):
            return None
        now = self._context.clock.now()
        since = _since(cron_job)
        await self._start_due(cron_job, times, since, now)
        following = schedule.following(times, since, now)
        return None if following is None else Result(requeue_after=following - now + _SLACK)

    def _schedule(self, cron_job: Object) -> schedule.Schedule | None:
        """None, with an event, where time zone or schedule make no sense."""
        try:
            zone = zone_of(cron_job)
        except ValueError as error:
            text = f'invalid timeZone: "{cron_job["spec"]["timeZone"]}": {error}'
            self._event(cron_job, "Warning", "UnknownTimeZone", text)
            return None
        try:
            return schedule.parse(cron_job["spec"]["schedule"], zone)
        except ValueError as error:
            if not cron_job["spec"].get("suspend"):
                text = f'unparseable schedule: "{cron_job["spec"]["schedule"]}" : {error}'
                self._event(cron_job, "Warning", "UnparseableSchedule", text)
            return None

    async def _refresh(self, cron_job: Object, jobs: Sequence[Object]) -> Object:
        """Takes finished and vanished jobs out of status.active."""
        status = cron_job.get("status") or {}
        by_uid = {objects.uid(job): job for job in jobs}
        active = []
        last = status.get("lastSuccessfulTime") or ""
        listed = {reference.get("uid") for reference in status.get("active") or ()}
        for job in jobs:
            if finished(job) == "Complete":
                last = max(last, (job.get("status") or {}).get("completionTime") or "")
            elif not finished(job) and objects.uid(job) not in listed:
                text = f"Saw a job that the controller did not create or forgot: {objects.name(job)}"
                self._event(cron_job, "Warning", "UnexpectedJob", text)
        for reference in status.get("active") or ():
            found = by_uid.get(reference.get("uid", "")) or await self._live(reference)
            if found is None:
                self._event(cron_job, "Normal", "MissingJob", f"Active job went missing: {reference['name']}")
            elif state := finished(found):
                text = f"Saw completed job: {reference['name']}, condition: {state}"
                self._event(cron_job, "Normal", "SawCompletedJob", text)
            else:
                active.append(reference)
        return await self._write(cron_job, active, status.get("lastScheduleTime"), last)

    async def _live(self, reference: Object) -> Object | None:
        """A job the informer lacks: it may have been made a moment ago."""
        try:
            found = await self._client.get(_JOBS, reference["name"], reference.get("namespace", ""))
        except NotFound:
            return None
        return found if objects.uid(found) == reference.get("uid") else None

    async def _write(
        self, cron_job: Object, active: Sequence[Object], scheduled: str | None, successful: str | None
    ) -> Object:
        old = cron_job.get("status") or {}
        new = {
            "active": list(active),
            "lastScheduleTime": scheduled,
            "lastSuccessfulTime": successful,
        }
        status = {**{k: v for k, v in old.items() if k not in new}, **{k: v for k, v in new.items() if v}}
        if status == old:
            return cron_job
        written = await self._client.update_status(_CRON_JOBS, {**cron_job, "status": status})
        return self._latest.remember(written)

    async def _start_due(self, cron_job: Object, times: schedule.Schedule, since: float, now: float) -> None:
        spec, status = cron_job["spec"], cron_job.get("status") or {}
        deadline = spec.get("startingDeadlineSeconds")
        earliest = since if deadline is None else max(since, now - int(deadline))
        due = schedule.due(times, earliest, now)
        if due.too_many:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._event(cron_job, "Warning", "TooManyMissedTimes", text)
        if due.scheduled is None:
            return
        if deadline is not None and due.scheduled + int(deadline) < now:
            told = datetime.fromtimestamp(due.scheduled, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            text = f"Missed scheduled time to start a job: {told}"
            self._event(cron_job, "Warning", "MissSchedule", text)
            return
        active = status.get("active") or []
        policy = spec.get("concurrencyPolicy") or "Allow"
        if policy == "Forbid" and active:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._event(cron_job, "Normal", "JobAlreadyActive", text)
            return
        if policy == "Replace":
            for reference in active:
                await self._delete(cron_job, reference["name"])
            active = []
        job = await self._create(cron_job, due.scheduled)
        if job is None:
            return
        reference = {
            "kind": "Job",
            "apiVersion": "batch/v1",
            "namespace": objects.namespace(job),
            "name": objects.name(job),
            "uid": objects.uid(job),
            "resourceVersion": job["metadata"].get("resourceVersion", ""),
        }
        if not any(each.get("uid") == reference["uid"] for each in active):
            active = [*active, reference]
        self._skew.observe(max(0.0, now - due.scheduled))
        time = objects.rfc3339(due.scheduled)
        await self._write(cron_job, active, time, status.get("lastSuccessfulTime"))

    def _lines(self) -> Iterator[str]:
        name = "cronjob_controller_job_creation_skew_duration_seconds"
        what = "[STABLE] Time between when a cronjob is scheduled to be run, and when the corresponding job is created"
        yield from heading(name, what, "histogram")
        yield from self._skew.lines(name, "")

    async def _create(self, cron_job: Object, scheduled: float) -> Object | None:
        template = cron_job["spec"]["jobTemplate"]
        metadata = template.get("metadata") or {}
        local = datetime.fromtimestamp(scheduled, zone_of(cron_job))
        stamp = local.isoformat().replace("+00:00", "Z")
        name = f"{objects.name(cron_job)}-{int(scheduled) // 60}"
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": objects.namespace(cron_job),
                "labels": dict(metadata.get("labels") or {}),
                "annotations": {**(metadata.get("annotations") or {}), _SCHEDULED: stamp},
                "ownerReferences": [objects.owner_reference(cron_job, _CRON_JOBS)],
            },
            "spec": template.get("spec") or {},
        }
        try:
            made = await self._client.create(_JOBS, job)
        except AlreadyExists:
            found = await self._client.get(_JOBS, name, objects.namespace(cron_job))
            owner = objects.controller_of(found) or {}
            return found if owner.get("uid") == objects.uid(cron_job) else None
        except StatusError as error:
            if is_namespace_terminating(error):
                return None
            self._event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        self._event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name}")
        return made

    async def _clean(self, cron_job: Object, jobs: Sequence[Object]) -> None:
        spec = cron_job["spec"]
        for state, limit in (
            ("Complete", spec.get("successfulJobsHistoryLimit")),
            ("Failed", spec.get("failedJobsHistoryLimit")),
        ):
            done = [job for job in jobs if finished(job) == state and not objects.is_deleting(job)]
            for job in surplus(done, limit):
                await self._delete(cron_job, objects.name(job))

    async def _delete(self, cron_job: Object, name: str) -> None:
        try:
            await self._client.delete(_JOBS, name, objects.namespace(cron_job), propagation="Background")
        except NotFound:
            return
        except StatusError as error:
            self._event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error}")
            raise
        self._event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name}")

    def _event(self, cron_job: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(cron_job, _CRON_JOBS, kind, reason, message)
