"""What one scheduler has done, as metrics under upstream's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sublet.machinery.exposition import Histogram, Histograms, escaped, heading

_ATTEMPT_BUCKETS = tuple(0.001 * 2**power for power in range(15))
_POINT_BUCKETS = tuple(0.0001 * 2**power for power in range(12))
_WAIT_BUCKETS = tuple(round(0.01 * 2**power, 2) for power in range(20))
_TRIES_BUCKETS = (1, 2, 4, 8, 16)
_VICTIMS_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_MANY_TRIES = 15
"""So many and more are one label."""


class Counts:
    """``timed`` and the others are told what happens; :meth:`lines` writes it in Prometheus' text format."""

    def __init__(self) -> None:
        self.attempts: Counter[tuple[str, str]] = Counter()
        """(schedulerName, ``scheduled``, ``unschedulable`` or ``error``) -> how often."""
        self.preemptions = 0
        """How often other pods were looked at to make room."""
        self._durations = Histograms(
            "scheduler_scheduling_attempt_duration_seconds",
            "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            _ATTEMPT_BUCKETS,
        )
        self._waits = Histograms(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might "
            "involve multiple scheduling attempts.",
            _WAIT_BUCKETS,
        )
        self._points = Histograms(
            "scheduler_framework_extension_point_duration_seconds",
            "[STABLE] Latency for running all plugins of a specific extension point.",
            _POINT_BUCKETS,
        )
        self._tries = Histogram(_TRIES_BUCKETS)
        self._choices = Histogram(_ATTEMPT_BUCKETS)
        self._victims = Histogram(_VICTIMS_BUCKETS)

    def timed(self, point: str, profile: str, status: str, seconds: float) -> None:
        """All plug-ins of one step have run; ``status`` as upstream's: ``Success``, ``Unschedulable``, ``Error``."""
        labels = f'extension_point="{point}",profile="{escaped(profile)}",status="{status}"'
        self._points.observe(labels, seconds)

    def attempted(self, profile: str, result: str, seconds: float) -> None:
        """One attempt to give a pod a node has come to its end."""
        self.attempts[profile, result] += 1
        self._durations.observe(f'profile="{escaped(profile)}",result="{result}"', seconds)

    def bound(self, tries: int, seconds: float) -> None:
        """A pod has its node, so long after it could first have had one."""
        self._tries.observe(tries)
        label = f"{_MANY_TRIES}+" if tries >= _MANY_TRIES else str(tries)
        self._waits.observe(f'attempts="{label}"', seconds)

    def chose(self, seconds: float) -> None:
        """A node was found in so long."""
        self._choices.observe(seconds)

    def preempted(self, victims: int) -> None:
        """So many pods must go for another."""
        self._victims.observe(victims)

    def lines(
        self,
        pending: Mapping[str, int],
        incoming: Mapping[tuple[str, str], int],
        sizes: Mapping[str, int],
    ) -> Iterator[str]:
        """``pending``: how many pods wait in each place of the queue; ``incoming``: how many came to which place for
        what; ``sizes``: of the cache."""
        name = "scheduler_pending_pods"
        yield from heading(name, "[STABLE] Number of pending pods, by the queue type.", "gauge")
        for place, count in pending.items():
            yield f'{name}{{queue="{place}"}} {count}'
        name = "scheduler_queue_incoming_pods_total"
        what = "[STABLE] Number of pods added to scheduling queues by event and queue type."
        yield from heading(name, what, "counter")
        for (event, place), count in incoming.items():
            yield f'{name}{{event="{event}",queue="{place}"}} {count}'
        name = "scheduler_cache_size"
        what = "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache."
        yield from heading(name, what, "gauge")
        for kind, count in sizes.items():
            yield f'{name}{{type="{kind}"}} {count}'
        name = "scheduler_schedule_attempts_total"
        yield from heading(name, "[STABLE] Number of attempts to schedule pods, by the result.", "counter")
        for (profile, result), count in self.attempts.items():
            yield f'{name}{{profile="{escaped(profile)}",result="{result}"}} {count}'
        yield from self._durations.lines()
        yield from self._waits.lines()
        yield from self._points.lines()
        for name, what, histogram in (
            ("pod_scheduling_attempts", "[STABLE] Number of attempts to successfully schedule a pod.", self._tries),
            ("preemption_victims", "[STABLE] Number of selected preemption victims", self._victims),
            ("scheduling_algorithm_duration_seconds", "[ALPHA] Scheduling algorithm latency in seconds", self._choices),
        ):  # fmt: skip
            yield from heading(f"scheduler_{name}", what, "histogram")
            yield from histogram.lines(f"scheduler_{name}", "")
        name = "scheduler_preemption_attempts_total"
        yield from heading(name, "[STABLE] Total preemption attempts in the cluster till now", "counter")
        yield f"{name} {self.preemptions}"
