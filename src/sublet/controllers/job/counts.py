"""What the job controller counts, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sublet.controllers.job import accounts
from sublet.controllers.job.decisions import Ending
from sublet.machinery.exposition import Counter, Histograms, escaped
from sublet.machinery.kind import Object

_BUCKETS = tuple(0.004 * 2.0**power for power in range(15))

RECONCILING, CREATED, DELETED = "reconciling", "pods_created", "pods_deleted"
"""What a look at a Job came to."""


class JobCounts:
    def __init__(self) -> None:
        self._syncs = Counter("job_controller_job_syncs_total", "[STABLE] The number of job syncs")
        self._seconds = Histograms(
            "job_controller_job_sync_duration_seconds", "[STABLE] The time it took to sync a job", _BUCKETS
        )
        self._jobs = Counter("job_controller_jobs_finished_total", "[STABLE] The number of finished jobs")
        self._pods = Counter(
            "job_controller_job_pods_finished_total",
            "[STABLE] The number of finished Pods that are fully tracked",
        )

    def lines(self) -> Iterator[str]:
        for each in (self._syncs, self._seconds, self._jobs, self._pods):
            yield from each.lines()

    def synced(self, job: Object, action: str, seconds: float, *, failed: bool) -> None:
        """One look at a Job."""
        result = "error" if failed else "success"
        labels = f'action="{action}",completion_mode="{_mode(job)}",result="{result}"'
        self._syncs.add(labels)
        self._seconds.observe(labels, seconds)

    def finished(self, job: Object, ending: Ending) -> None:
        """A Job that has come to its end."""
        result = "succeeded" if ending.final == "Complete" else "failed"
        self._jobs.add(f'completion_mode="{_mode(job)}",reason="{escaped(ending.reason)}",result="{result}"')

    def tracked(self, job: Object, pods: Sequence[Object]) -> None:
        """Pods that were counted and need nobody's look any more."""
        for pod in pods:
            succeeded = (pod.get("status") or {}).get("phase") == "Succeeded"
            result = "succeeded" if succeeded else "failed"
            self._pods.add(f'completion_mode="{_mode(job)}",result="{result}"')


def _mode(job: Object) -> str:
    return "Indexed" if accounts.is_indexed(job) else "NonIndexed"
