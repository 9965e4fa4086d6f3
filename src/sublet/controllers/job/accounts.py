"""Which finished pods a Job has counted. Pure.

A finished pod keeps a finalizer until it is counted: first its uid goes to ``status.uncountedTerminatedPods`` (for
indexed successes: its index to ``completedIndexes``), then the finalizer goes, then the uid becomes part of the
number. So a pod counts once, whatever crashes in between. Source: reference/kubernetes-api.md C (job).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sublet.controllers.job import indexes, policies
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile import workloads

FINALIZER = "batch.kubernetes.io/job-tracking"


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def replaces_only_failed(job: Object) -> bool:
    """Whether a pod that is being deleted is replaced only once it has ended."""
    policy = job["spec"].get("podReplacementPolicy")
    return bool(policy == "Failed" or (policy is None and job["spec"].get("podFailurePolicy")))


def has_failed(job: Object, pod: Object) -> bool:
    if workloads.phase(pod) == "Failed":
        return True
    if replaces_only_failed(job):
        return False
    return objects.is_deleting(pod) and workloads.phase(pod) != "Succeeded"


@dataclass
class Accounts:
    """The counters of a Job's status, and what has to follow."""

    succeeded: int = 0
    failed: int = 0
    uncounted_succeeded: list[str] = field(default_factory=list)
    uncounted_failed: list[str] = field(default_factory=list)
    completed_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    release: list[Object] = field(default_factory=list)
    """Pods whose finalizer may go once the status is written."""
    new_successes: int = 0
    new_failures: list[Object] = field(default_factory=list)
    fail_job: str = ""
    """The message of a FailJob rule that matched."""

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)

    def status_fields(self, indexed: bool, per_index: bool) -> Object:
        """The status fields the accounts stand for; counters of 0 are absent."""
        fields: Object = {}
        uncounted = {"succeeded": self.uncounted_succeeded, "failed": self.uncounted_failed}
        fields["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}
        succeeded = len(self.completed_indexes) if indexed else self.succeeded
        if succeeded:
            fields["succeeded"] = succeeded
        if self.failed:
            fields["failed"] = self.failed
        if indexed and self.completed_indexes:
            fields["completedIndexes"] = indexes.text(self.completed_indexes)
        if per_index:
            fields["failedIndexes"] = indexes.text(self.failed_indexes)
        return fields


def opened(job: Object, pods: Sequence[Object], released: set[str]) -> Accounts:
    """The accounts of the status, in which uids whose finalizer is gone have become part of the numbers.

    ``released``: uids of pods whose finalizer was removed though the cache may still show it.
    """
    status = job.get("status") or {}
    completions = job["spec"].get("completions")
    uncounted = status.get("uncountedTerminatedPods") or {}
    held = {objects.uid(p) for p in pods if FINALIZER in objects.finalizers(p)} - released
    found = Accounts(succeeded=int(status.get("succeeded") or 0), failed=int(status.get("failed") or 0))
    if is_indexed(job):
        found.completed_indexes = indexes.parse(status.get("completedIndexes"), completions)
        found.failed_indexes = indexes.parse(status.get("failedIndexes"), completions)
    for uid in uncounted.get("succeeded") or ():
        if uid in held:
            found.uncounted_succeeded.append(uid)
        else:
            found.succeeded += 1
    for uid in uncounted.get("failed") or ():
        if uid in held:
            found.uncounted_failed.append(uid)
        else:
            found.failed += 1
    return found


def book(
    job: Object, pods: Sequence[Object], accounts: Accounts, released: set[str], failures: dict[int, int]
) -> None:
    """Takes in the finished pods that were not counted yet. ``failures``: failed pods so far per index."""
    limit = job["spec"].get("backoffLimitPerIndex")
    known = {*accounts.uncounted_succeeded, *accounts.uncounted_failed}
    for pod in pods:
        uid = objects.uid(pod)
        if FINALIZER not in objects.finalizers(pod) or uid in released:
            continue
        succeeded = workloads.phase(pod) == "Succeeded"
        if not succeeded and not has_failed(job, pod):
            continue
        accounts.release.append(pod)
        if uid in known:
            continue
        index = indexes.of_pod(pod)
        if succeeded:
            accounts.new_successes += 1
            if not is_indexed(job):
                accounts.uncounted_succeeded.append(uid)
            elif index is not None and _in_range(job, index):
                accounts.completed_indexes.add(index)
            continue
        verdict = policies.failure(job, pod)
        if verdict.action == "Ignore":
            continue
        accounts.new_failures.append(pod)
        accounts.uncounted_failed.append(uid)
        if verdict.action == "FailJob":
            accounts.fail_job = accounts.fail_job or verdict.message
        if limit is not None and index is not None and _in_range(job, index):
            exceeded = failures.get(index, 0) > int(limit)
            if (verdict.action == "FailIndex" or exceeded) and index not in accounts.completed_indexes:
                accounts.failed_indexes.add(index)


def book_rest(
    job: Object, pods: Sequence[Object], accounts: Accounts, released: set[str], *, as_failed: bool
) -> None:
    """Lets go of the pods that had not ended when the Job did. ``as_failed``: they count, as the Job has failed."""
    known = {*accounts.uncounted_succeeded, *accounts.uncounted_failed}
    known |= {objects.uid(pod) for pod in accounts.release}
    for pod in pods:
        uid = objects.uid(pod)
        if FINALIZER not in objects.finalizers(pod) or uid in released or uid in known:
            continue
        accounts.release.append(pod)
        if not as_failed or (is_indexed(job) and not _is_of_index(job, pod)):
            continue
        if policies.failure(job, pod).action != "Ignore":
            accounts.uncounted_failed.append(uid)


def _is_of_index(job: Object, pod: Object) -> bool:
    index = indexes.of_pod(pod)
    return index is not None and _in_range(job, index)


def close(accounts: Accounts, uids: set[str]) -> None:
    """The finalizers of these pods are gone: they become part of the numbers."""
    counted = [uid for uid in accounts.uncounted_succeeded if uid in uids]
    accounts.succeeded += len(counted)
    accounts.uncounted_succeeded = [uid for uid in accounts.uncounted_succeeded if uid not in uids]
    counted = [uid for uid in accounts.uncounted_failed if uid in uids]
    accounts.failed += len(counted)
    accounts.uncounted_failed = [uid for uid in accounts.uncounted_failed if uid not in uids]


def failures_by_index(job: Object, pods: Sequence[Object]) -> dict[int, int]:
    """Failed pods per index that count, from the pods that are still there."""
    found: dict[int, int] = {}
    for pod in pods:
        index = indexes.of_pod(pod)
        if index is not None and has_failed(job, pod) and policies.failure(job, pod).action != "Ignore":
            found[index] = found.get(index, 0) + 1
    return found


def _in_range(job: Object, index: int) -> bool:
    completions = job["spec"].get("completions")
    return completions is None or index < int(completions)
