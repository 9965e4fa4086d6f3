"""When a Job ends and how many pods it wants until then. Pure.

Source: reference/kubernetes-api.md C (job).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet.controllers.job import indexes, policies
from sublet.controllers.job.accounts import Accounts, is_indexed
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile import workloads

FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 600.0


@dataclass(frozen=True)
class Ending:
    """``kind``: SuccessCriteriaMet or FailureTarget, which Complete or Failed follows once all pods have ended."""

    kind: str
    reason: str
    message: str

    @property
    def final(self) -> str:
        return "Complete" if self.kind == "SuccessCriteriaMet" else "Failed"


def final_condition(job: Object) -> Object | None:
    """Complete or Failed, once it is true."""
    for kind in ("Complete", "Failed"):
        if objects.is_true(job, kind):
            return objects.condition(job, kind)
    return None


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def parallelism(job: Object) -> int:
    value = job["spec"].get("parallelism")
    return 1 if value is None else int(value)


def ending(job: Object, accounts: Accounts, pods: Sequence[Object], now: float) -> Ending | None:
    """Why the Job ends now, if it does."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        if objects.is_true(job, kind):
            condition = objects.condition(job, kind) or {}
            return Ending(kind, condition.get("reason", ""), condition.get("message", ""))
    if accounts.fail_job:
        return Ending("FailureTarget", "PodFailurePolicy", accounts.fail_job)
    return _failure(job, accounts, pods, now) or _success(job, accounts, pods)


def _failure(job: Object, accounts: Accounts, pods: Sequence[Object], now: float) -> Ending | None:
    spec = job["spec"]
    limit = spec.get("backoffLimit")
    limit = 6 if limit is None else int(limit)
    if accounts.all_failed > limit or _too_many_restarts(job, pods, limit):
        return Ending("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if (left := deadline_in(job, now)) is not None and left <= 0:
        return Ending("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")
    if is_indexed(job) and spec.get("backoffLimitPerIndex") is not None:
        failed = accounts.failed_indexes
        most = spec.get("maxFailedIndexes")
        if most is not None and len(failed) > int(most):
            text = "Job has exceeded the specified maximal number of failed indexes"
            return Ending("FailureTarget", "MaxFailedIndexesExceeded", text)
        if failed and len(failed | accounts.completed_indexes) >= int(spec.get("completions") or 0):
            return Ending("FailureTarget", "FailedIndexes", "Job has failed indexes")
    return None


def _too_many_restarts(job: Object, pods: Sequence[Object], limit: int) -> bool:
    template = (job["spec"].get("template") or {}).get("spec") or {}
    if template.get("restartPolicy") != "OnFailure":
        return False
    total = policies.restarts(pod for pod in pods if workloads.phase(pod) in ("Running", "Pending"))
    return total > 0 if not limit else total >= limit


def _success(job: Object, accounts: Accounts, pods: Sequence[Object]) -> Ending | None:
    completions = job["spec"].get("completions")
    if is_indexed(job) and (message := policies.success(job, accounts.completed_indexes)):
        return Ending("SuccessCriteriaMet", "SuccessPolicy", message)
    active = sum(workloads.is_active(pod) for pod in pods)
    succeeded = len(accounts.completed_indexes) if is_indexed(job) else accounts.all_succeeded
    if completions is None:
        done = succeeded > 0 and not active
    else:
        done = succeeded >= int(completions) and not active
    if done:
        text = "Reached expected number of succeeded pods"
        return Ending("SuccessCriteriaMet", "CompletionsReached", text)
    return None


def deadline_in(job: Object, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds are over; None where there is no deadline or no start."""
    seconds = job["spec"].get("activeDeadlineSeconds")
    started = (job.get("status") or {}).get("startTime")
    if seconds is None or not started or is_suspended(job):
        return None
    return objects.parse_time(started) + int(seconds) - now


def wanted_active(job: Object, accounts: Accounts, active: int) -> int:
    """How many pods should be running."""
    if is_suspended(job):
        return 0
    completions = job["spec"].get("completions")
    if completions is None:
        return active if accounts.all_succeeded > 0 else parallelism(job)
    succeeded = len(accounts.completed_indexes) if is_indexed(job) else accounts.all_succeeded
    left = int(completions) - succeeded - len(accounts.failed_indexes)
    return max(0, min(left, parallelism(job)))


def index_backoffs(pods: Sequence[Object], failures: Mapping[int, int], now: float) -> dict[int, float]:
    """Seconds until the next pod of an index may start, for those that failed lately (backoffLimitPerIndex)."""
    found: dict[int, float] = {}
    for pod in pods:
        index = indexes.of_pod(pod)
        if index is None or not failures.get(index) or workloads.is_active(pod):
            continue
        left = _ended(pod) + backoff(failures[index]) - now
        found[index] = max(found.get(index, 0.0), left)
    return {index: left for index, left in found.items() if left > 0}


def _ended(pod: Object) -> float:
    """When the pod's last container ended; where it does not say, when the pod was deleted or made."""
    times = [
        finished
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
        if (finished := ((container.get("state") or {}).get("terminated") or {}).get("finishedAt"))
    ]
    metadata = pod.get("metadata") or {}
    if not times and (known := metadata.get("deletionTimestamp") or metadata.get("creationTimestamp")):
        times = [known]
    return max((objects.parse_time(time) for time in times), default=0.0)


def pending_indexes(job: Object, accounts: Accounts, taken: set[int], count: int) -> list[int]:
    """The first ``count`` indexes that neither ended nor have a pod."""
    found: list[int] = []
    over = taken | accounts.completed_indexes | accounts.failed_indexes
    for index in range(int(job["spec"].get("completions") or 0)):
        if len(found) >= count:
            break
        if index not in over:
            found.append(index)
    return found


def surplus_pods(job: Object, accounts: Accounts, active: Sequence[Object], count: int) -> list[Object]:
    """The ``count`` pods to delete: those of ended, doubled or impossible indexes first."""
    if not is_indexed(job):
        return workloads.deletion_order(active)[:count]
    completions = int(job["spec"].get("completions") or 0)
    seen: set[int] = set()
    useless: list[Object] = []
    useful: list[Object] = []
    for pod in reversed(workloads.deletion_order(active)):
        index = indexes.of_pod(pod)
        done = accounts.completed_indexes | accounts.failed_indexes
        if index is None or index >= completions or index in seen or index in done:
            useless.append(pod)
        else:
            seen.add(index)
            useful.append(pod)
    return [*useless, *workloads.deletion_order(useful)][: max(count, len(useless))]


def backoff(failures: int) -> float:
    """Seconds to wait after the last of so many failures in a row: 10 s, doubling, at most 10 minutes."""
    if failures <= 0:
        return 0.0
    return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures - 1, 16)))


def indexed_template(job: Object, index: int, failures: int) -> Object:
    """The pod template of one index: annotation, label, host name and JOB_COMPLETION_INDEX."""
    template = job["spec"]["template"]
    metadata = template.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), indexes.INDEX: str(index)}
    if job["spec"].get("backoffLimitPerIndex") is not None:
        annotations["batch.kubernetes.io/job-index-failure-count"] = str(failures)
    spec = {**template["spec"], "hostname": f"{objects.name(job)}-{index}"}
    for part in ("containers", "initContainers"):
        if spec.get(part):
            spec[part] = [_with_index(container) for container in spec[part]]
    labels = {**(metadata.get("labels") or {}), indexes.INDEX: str(index)}
    return {"metadata": {**metadata, "annotations": annotations, "labels": labels}, "spec": spec}


def _with_index(container: Mapping[str, object]) -> Object:
    env = container.get("env") or []
    if not isinstance(env, list) or any(entry.get("name") == "JOB_COMPLETION_INDEX" for entry in env):
        return dict(container)
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{indexes.INDEX}']"}}
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}


def condition(kind: str, status: str, reason: str, message: str, now: float) -> Object:
    text = objects.rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": text,
        "lastTransitionTime": text,
        "reason": reason,
        "message": message,
    }
