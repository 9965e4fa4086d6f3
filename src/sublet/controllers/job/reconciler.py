"""The I/O of the job controller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sublet.controllers.job import accounts as accounting
from sublet.controllers.job import counts, decisions, indexes
from sublet.controllers.job.accounts import FINALIZER, Accounts
from sublet.controllers.job.counts import JobCounts
from sublet.controllers.job.decisions import Ending
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import Conflict, NotFound, StatusError
from sublet.reconcile import ownership, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.expectations import Expectations
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

_JOBS = resource("jobs.batch")
_PODS = resource("pods")
_OURS = "kubernetes.io/job-controller"
_AT_ONCE = 50
"""How many finalizers are taken off at the same time."""


@dataclass
class _Failures:
    """Failures in a row, for the back-off; lost when the process ends, as upstream's."""

    count: int = 0
    last: float = 0.0


class JobReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._jobs = context.informers.informer(_JOBS)
        self._pods = context.informers.informer(_PODS)
        self._pods.add_index(workloads.CONTROLLER_INDEX, workloads.controller_keys)
        self._expected = Expectations(context.clock)
        self._latest = Latest()
        self._released: set[str] = set()
        self._failures: dict[str, _Failures] = {}
        self._counts = JobCounts()
        self._actions: dict[str, str] = {}
        """Key of a Job that is looked at -> what was done to its pods."""
        self.controller = Controller("job-controller", self.reconcile, workers=5)
        self.controller.sources.append(self._counts.lines)
        self._jobs.add_handler(self._on_job)
        self._pods.add_handler(self._on_pod)

    # -- what changed --

    def _on_job(self, event: str, job: Object, _old: Object | None) -> None:
        key = objects.key(job)
        if event == "delete":
            self._expected.forget(key)
            self._latest.forget(objects.uid(job))
            self._failures.pop(objects.uid(job), None)
            for pod in self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(job)):
                if FINALIZER in objects.finalizers(pod):
                    self.controller.enqueue(_orphan_key(pod))
        self.controller.enqueue(key)

    def _on_pod(self, event: str, pod: Object, old: Object | None) -> None:
        uid = objects.uid(pod)
        has_finalizer = FINALIZER in objects.finalizers(pod)
        if event == "delete" or not has_finalizer:
            self._released.discard(uid)
        owner = objects.controller_of(pod)
        if owner is None:
            if event != "delete" and objects.labels(pod):
                self._on_orphan(pod)
            if old is None or (owner := objects.controller_of(old)) is None:
                return
        if owner.get("kind") != "Job":
            return
        job = self._jobs.get(objects.namespace(pod), owner["name"])
        if job is None or objects.uid(job) != owner["uid"]:
            if has_finalizer and event != "delete":
                self.controller.enqueue(_orphan_key(pod))
            return
        key = objects.key(job)
        if event == "add":
            self._expected.creation_observed(key)
        if event == "delete" or objects.is_deleting(pod):
            self._expected.deletion_observed(key, uid)
        self.controller.enqueue(key)

    def _on_orphan(self, pod: Object) -> None:
        for job in self._jobs.list(objects.namespace(pod)):
            if from_label_selector(job["spec"].get("selector")).matches(objects.labels(pod)):
                self.controller.enqueue(objects.key(job))

    # -- one reconciliation --

    async def reconcile(self, key: str) -> Result | None:
        if key.startswith("pod:"):
            await self._free_orphan(key)
            return None
        cached = self._jobs.get(*objects.split_key(key))
        if cached is None:
            self._expected.forget(key)
            return None
        job = self._latest.of(cached)
        if (job["spec"].get("managedBy") or _OURS) != _OURS:
            return None
        may_change = self._expected.satisfied(key)
        pods = await self._claimed(job)
        if decisions.final_condition(job) is not None:
            await self._release([p for p in pods if FINALIZER in objects.finalizers(p)], job)
            return None
        return await self._counted(key, job, pods, may_change)

    async def _counted(self, key: str, job: Object, pods: list[Object], may_change: bool) -> Result | None:
        started, failed = self._context.clock.monotonic(), True
        self._actions[key] = counts.RECONCILING
        try:
            result = await self._advance(key, job, pods, may_change)
            failed = False
            return result
        finally:
            seconds = self._context.clock.monotonic() - started
            self._counts.synced(job, self._actions.pop(key), seconds, failed=failed)

    async def _advance(self, key: str, job: Object, pods: list[Object], may_change: bool) -> Result | None:
        now = self._context.clock.now()
        job = self._started(job, now)
        failures = accounting.failures_by_index(job, pods)
        accounts = accounting.opened(job, pods, self._released)
        accounting.book(job, pods, accounts, self._released, failures)
        record = self._record(job, accounts, now)
        ending = decisions.ending(job, accounts, pods, now)
        active = [pod for pod in pods if workloads.is_active(pod)]
        error: Exception | None = None
        wait = 0.0
        if ending is not None:
            active, error = await self._delete_pods(key, job, active, active)
            if error is None and may_change:
                failed = ending.kind == "FailureTarget"
                accounting.book_rest(job, pods, accounts, self._released, as_failed=failed)
        elif may_change and not objects.is_deleting(job):
            active, error, wait = await self._manage(key, job, accounts, pods, active, failures, record)
        job = await self._settle(job, pods, active, accounts, ending)
        if error is not None:
            raise error
        if ending is None and (left := decisions.deadline_in(job, now)) is not None:
            wait = min(wait, max(left, 0.05)) if wait else max(left, 0.05)
        return Result(requeue_after=wait) if wait else None

    def _started(self, job: Object, now: float) -> Object:
        """The job with startTime and the Suspended condition as they should be (not written yet)."""
        status = dict(job.get("status") or {})
        conditions = list(status.get("conditions") or ())
        suspended = objects.is_true(job, "Suspended")
        if decisions.is_suspended(job):
            if not suspended:
                new = decisions.condition("Suspended", "True", "JobSuspended", "Job suspended", now)
                conditions = workloads.set_condition(conditions, new)
                self._event(job, "Normal", "Suspended", "Job suspended")
            status.pop("startTime", None)
        else:
            if objects.condition(job, "Suspended") is not None and suspended:
                new = decisions.condition("Suspended", "False", "JobResumed", "Job resumed", now)
                conditions = workloads.set_condition(conditions, new)
                self._event(job, "Normal", "Resumed", "Job resumed")
            if not status.get("startTime"):
                status["startTime"] = objects.rfc3339(now)
        if conditions:
            status["conditions"] = conditions
        return {**job, "status": status}

    def _record(self, job: Object, accounts: Accounts, now: float) -> _Failures:
        record = self._failures.setdefault(objects.uid(job), _Failures())
        if accounts.new_successes:
            record.count = 0
        if accounts.new_failures:
            record.count += len(accounts.new_failures)
            record.last = now
        return record

    async def _claimed(self, job: Object) -> list[Object]:
        own = self._pods.by_index(workloads.CONTROLLER_INDEX, objects.uid(job))
        orphans = self._pods.by_index(
            workloads.CONTROLLER_INDEX, workloads.orphan_key(objects.namespace(job))
        )
        return await ownership.claim(
            self._client,
            _PODS,
            job,
            objects.owner_reference(job, _JOBS),
            from_label_selector(job["spec"].get("selector")),
            [*own, *orphans],
            ownership.lives(self._client, _JOBS, job),
            finalizers=(FINALIZER,),
            may_adopt=lambda _pod: decisions.final_condition(job) is None,
        )

    # -- pods --

    async def _manage(
        self,
        key: str,
        job: Object,
        accounts: Accounts,
        pods: Sequence[Object],
        active: list[Object],
        failures: dict[int, int],
        record: _Failures,
    ) -> tuple[list[Object], Exception | None, float]:
        """(active pods afterwards, error, seconds after which to go on)"""
        wanted = decisions.wanted_active(job, accounts, len(active))
        surplus = decisions.surplus_pods(job, accounts, active, max(0, len(active) - wanted))
        if surplus:
            # Told to go by us: they must not count as failed, so they are let out of the books first.
            await self._release([pod for pod in surplus if FINALIZER in objects.finalizers(pod)], job)
            left, error = await self._delete_pods(key, job, active, surplus)
            return left, error, 0.0
        missing = min(wanted - len(active), workloads.BURST)
        if accounting.replaces_only_failed(job):
            missing -= sum(objects.is_deleting(pod) and not workloads.is_finished(pod) for pod in pods)
        if missing <= 0:
            return active, None, 0.0
        per_index = job["spec"].get("backoffLimitPerIndex") is not None
        wait = record.last + decisions.backoff(record.count) - self._context.clock.now()
        if wait > 0 and record.count and not per_index:
            return active, None, wait
        waits = decisions.index_backoffs(pods, failures, self._context.clock.now()) if per_index else {}
        made, error = await self._create_pods(key, job, accounts, pods, missing, failures, frozenset(waits))
        return [*active, *made], error, min(waits.values(), default=0.0)

    async def _create_pods(
        self,
        key: str,
        job: Object,
        accounts: Accounts,
        pods: Sequence[Object],
        count: int,
        failures: dict[int, int],
        waiting: frozenset[int],
    ) -> tuple[list[Object], Exception | None]:
        chosen: list[int] = []
        if accounting.is_indexed(job):
            only_failed = accounting.replaces_only_failed(job)
            holding = [
                pod
                for pod in pods
                if workloads.is_active(pod) or (only_failed and not workloads.is_finished(pod))
            ]
            taken = {index for pod in holding if (index := indexes.of_pod(pod)) is not None}
            chosen = decisions.pending_indexes(job, accounts, taken | waiting, count)
            count = len(chosen)
        self._expected.expect_creations(key, count)
        if count:
            self._actions[key] = counts.CREATED
        made: list[Object] = []

        async def create(number: int) -> None:
            pod = self._pod(job, chosen[number] if chosen else None, failures)
            try:
                created = await self._client.create(_PODS, pod)
            except StatusError as error:
                if not is_namespace_terminating(error):
                    self._event(job, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            made.append(created)
            self._event(job, "Normal", "SuccessfulCreate", f"Created pod: {objects.name(created)}")

        done, error = await workloads.slow_start(count, create)
        self._expected.creation_observed(key, count - done)
        return made, None if error is not None and is_namespace_terminating(error) else error

    def _pod(self, job: Object, index: int | None, failures: dict[int, int]) -> Object:
        template, prefix = job["spec"]["template"], objects.name(job)
        if index is not None:
            template = decisions.indexed_template(job, index, failures.get(index, 0))
            prefix = f"{prefix}-{index}"
        pod = workloads.pod_from_template(
            template, owner=objects.owner_reference(job, _JOBS), generate_name=workloads.pod_prefix(prefix)
        )
        metadata = pod["metadata"]
        metadata["namespace"] = objects.namespace(job)
        metadata["finalizers"] = [*metadata.get("finalizers", ()), FINALIZER]
        return pod

    async def _delete_pods(
        self, key: str, job: Object, active: Sequence[Object], chosen: Sequence[Object]
    ) -> tuple[list[Object], Exception | None]:
        if not chosen:
            return list(active), None
        self._expected.expect_deletions(key, (objects.uid(pod) for pod in chosen))
        self._actions[key] = counts.DELETED
        gone: set[str] = set()
        first: Exception | None = None
        for pod in chosen:
            uid = objects.uid(pod)
            try:
                await self._client.delete(_PODS, objects.name(pod), objects.namespace(pod), uid=uid)
            except NotFound:
                self._expected.deletion_observed(key, uid)
            except StatusError as error:
                self._expected.deletion_observed(key, uid)
                self._event(job, "Warning", "FailedDelete", f"Error deleting: {error}")
                first = first or error
                continue
            else:
                self._event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}")
            gone.add(uid)
        return [pod for pod in active if objects.uid(pod) not in gone], first

    # -- books and status --

    async def _settle(
        self,
        job: Object,
        pods: Sequence[Object],
        active: Sequence[Object],
        accounts: Accounts,
        ending: Ending | None,
    ) -> Object:
        """Writes what was counted, then takes the finalizers off, then the numbers, then the end."""
        written = await self._write(job, self._status(job, pods, active, accounts, ending, final=False))
        if written is None:
            return job
        if accounts.release:
            released = await self._release(accounts.release, job)
            self._counts.tracked(job, [pod for pod in accounts.release if objects.uid(pod) in released])
            accounting.close(accounts, released)
        final = not active and not self._terminating(pods, active)
        final = final and not accounts.uncounted_succeeded and not accounts.uncounted_failed
        status = self._status(written, pods, active, accounts, ending, final=final)
        again = await self._write(written, status)
        if ending is not None and final:
            self._counts.finished(job, ending)
            self._announce(again or written, ending)
        return again or written

    def _terminating(self, pods: Sequence[Object], active: Sequence[Object]) -> int:
        """Pods on their way out, those included that were told to go just now."""
        going = {objects.uid(pod) for pod in active}
        return sum(not workloads.is_finished(pod) and objects.uid(pod) not in going for pod in pods)

    def _status(
        self,
        job: Object,
        pods: Sequence[Object],
        active: Sequence[Object],
        accounts: Accounts,
        ending: Ending | None,
        *,
        final: bool,
    ) -> Object:
        old = job.get("status") or {}
        now = self._context.clock.now()
        status = {name: old[name] for name in ("startTime", "conditions", "completionTime") if name in old}
        if active:
            status["active"] = len(active)
        status["ready"] = sum(workloads.is_ready(pod) for pod in active)
        status["terminating"] = self._terminating(pods, active)
        per_index = job["spec"].get("backoffLimitPerIndex") is not None
        status |= accounts.status_fields(accounting.is_indexed(job), per_index)
        if ending is not None:
            conditions = status.get("conditions") or []
            kinds = (ending.kind, ending.final) if final else (ending.kind,)
            for kind in kinds:
                if not objects.is_true({"status": {"conditions": conditions}}, kind):
                    new = decisions.condition(kind, "True", ending.reason, ending.message, now)
                    conditions = workloads.set_condition(conditions, new)
            status["conditions"] = conditions
            if final and ending.final == "Complete":
                # The clock may have been put back since; an end before the start is refused.
                ended = max(objects.rfc3339(now), status.get("startTime") or "")
                status.setdefault("completionTime", ended)
        return status

    async def _write(self, job: Object, status: Object) -> Object | None:
        """None where the job is gone."""
        stored = self._jobs.get(objects.namespace(job), objects.name(job))
        known = self._latest.of(stored) if stored is not None else job
        if status == (known.get("status") or {}):
            return {**known, "status": status}
        try:
            written = await self._client.update_status(_JOBS, {**job, "status": status})
        except NotFound:
            return None
        return self._latest.remember(written)

    async def _release(self, pods: Sequence[Object], job: Object | None) -> set[str]:
        """Takes the tracking finalizer off; answers with the uids of the pods that have it no more."""
        done: set[str] = set()

        async def one(pod: Object) -> None:
            uid = objects.uid(pod)
            if uid not in self._released:
                patch = {"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
                try:
                    await self._client.patch(
                        _PODS, objects.name(pod), patch, objects.namespace(pod), kind="strategic"
                    )
                except NotFound:
                    pass
                except Conflict:
                    return
                self._mark_released(pod)
            done.add(uid)

        for start in range(0, len(pods), _AT_ONCE):
            await asyncio.gather(*(one(pod) for pod in pods[start : start + _AT_ONCE]))
        if job is not None and len(done) < len(pods):
            self.controller.enqueue_after(objects.key(job), 1.0)
        return done

    def _mark_released(self, pod: Object) -> None:
        """Remembered until the informer shows it."""
        seen = self._pods.get(objects.namespace(pod), objects.name(pod))
        if (
            seen is not None
            and objects.uid(seen) == objects.uid(pod)
            and FINALIZER in objects.finalizers(seen)
        ):
            self._released.add(objects.uid(pod))

    async def _free_orphan(self, key: str) -> None:
        """A pod whose Job is gone: nobody will count it."""
        namespace, name = objects.split_key(key.removeprefix("pod:"))
        pod = self._pods.get(namespace, name)
        if pod is None or FINALIZER not in objects.finalizers(pod):
            return
        owner = objects.controller_of(pod)
        if owner is not None and owner.get("kind") == "Job":
            try:
                job = await self._client.get(_JOBS, owner["name"], namespace)
            except NotFound:
                job = {}
            if objects.uid(job) == owner["uid"]:
                return
        await self._release([pod], None)

    def _announce(self, job: Object, ending: Ending) -> None:
        if ending.final == "Complete":
            wanted = job["spec"].get("completions")
            if wanted is not None and int((job.get("status") or {}).get("succeeded") or 0) > int(wanted):
                text = "Too many succeeded pods running after completion count reached"
                self._event(job, "Warning", "TooManySucceededPods", text)
            self._event(job, "Normal", "Completed", "Job completed")
        else:
            self._event(job, "Warning", ending.reason, ending.message)

    def _event(self, job: Object, kind: str, reason: str, message: str) -> None:
        self._context.events.event(job, _JOBS, kind, reason, message)


def _orphan_key(pod: Object) -> str:
    return f"pod:{objects.key(pod)}"
