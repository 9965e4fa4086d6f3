"""The newest report of each node, in memory: figures of now need no store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object

API_VERSION = "metrics.k8s.io/v1beta1"
STALE_SECONDS = 90.0
"""A node that has been silent for so long says nothing of now."""


@dataclass(frozen=True, slots=True)
class _Report:
    at: float
    node: Object
    pods: dict[tuple[str, str], Object]


class Samples:
    """``node`` is a NodeMetrics, ``pods`` are PodMetrics of metrics.k8s.io/v1beta1."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reports: dict[str, _Report] = {}

    def put(self, node: Object, pods: list[Object]) -> None:
        """A node's report takes the place of its last one."""
        by_name = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in pods}
        self._reports[node["metadata"]["name"]] = _Report(self._clock.monotonic(), node, by_name)

    def nodes(self) -> list[Object]:
        return sorted((each.node for each in self._fresh()), key=lambda node: str(node["metadata"]["name"]))

    def node(self, name: str) -> Object | None:
        report = self._reports.get(name)
        return report.node if report is not None and self._is_fresh(report) else None

    def pods(self, namespace: str = "") -> list[Object]:
        """By namespace and name; of all namespaces by default."""
        found: dict[tuple[str, str], Object] = {}
        for report in self._fresh():
            found.update(report.pods)
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def pod(self, namespace: str, name: str) -> Object | None:
        return next((r.pods[namespace, name] for r in self._fresh() if (namespace, name) in r.pods), None)

    def _fresh(self) -> Iterator[_Report]:
        for name, report in tuple(self._reports.items()):
            if self._is_fresh(report):
                yield report
            else:
                del self._reports[name]

    def _is_fresh(self, report: _Report) -> bool:
        return self._clock.monotonic() - report.at < STALE_SECONDS
