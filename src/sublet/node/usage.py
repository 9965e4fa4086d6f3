"""What this machine and its containers use: the counters of the kernel and of the runtime, as rates."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import nodestatus, podconfig
from sublet.node.metricsreport import NodeUsage, PodUsage

_STAT = Path("/proc/stat")
_IDLE = (3, 4)
"""Columns idle and iowait of the line ``cpu``."""


@dataclass(slots=True)
class Meter:
    """Remembers the last counters, so that the next ones are rates."""

    clock: Clock
    _containers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Container id -> (time, cpu time), both in nanoseconds."""
    _machine: tuple[float, float] | None = None

    def node(
        self, name: str, labels: dict[str, str], pods: list[Object], stats: list[m.ContainerStats]
    ) -> NodeUsage:
        """Containers that were not there at the last reading have no rate yet and are left out."""
        by_uid: dict[str, dict[str, dict[str, str]]] = {}
        seen: dict[str, tuple[int, int]] = {}
        for each in stats:
            labelled = each.attributes.labels if each.attributes else {}
            usage = self._container(each, seen)
            if usage is not None:
                found = by_uid.setdefault(labelled.get(podconfig.POD_UID, ""), {})
                found[labelled.get(podconfig.CONTAINER_NAME, "")] = usage
        self._containers = seen
        reported = [
            PodUsage(objects.namespace(pod), objects.name(pod), objects.labels(pod), by_uid[objects.uid(pod)])
            for pod in pods
            if objects.uid(pod) in by_uid
        ]
        return NodeUsage(name, labels, self._node(), reported)

    def _container(self, stats: m.ContainerStats, seen: dict[str, tuple[int, int]]) -> dict[str, str] | None:
        if stats.attributes is None or stats.cpu is None or stats.cpu.usage_core_nano_seconds is None:
            return None
        now = (stats.cpu.timestamp, stats.cpu.usage_core_nano_seconds.value)
        seen[stats.attributes.id] = now
        before = self._containers.get(stats.attributes.id)
        if before is None or now[0] <= before[0] or now[1] < before[1]:
            return None
        nano_cores = (now[1] - before[1]) * 10**9 // (now[0] - before[0])
        working = (
            stats.memory.working_set_bytes.value if stats.memory and stats.memory.working_set_bytes else 0
        )
        return _usage(nano_cores, working)

    def _node(self) -> dict[str, str]:
        columns = [int(part) for part in _STAT.read_text().splitlines()[0].split()[1:9]]
        busy = sum(columns) - sum(columns[i] for i in _IDLE)
        now = (self.clock.monotonic(), busy / os.sysconf("SC_CLK_TCK"))
        before, self._machine = self._machine, now
        cores = (now[1] - before[1]) / (now[0] - before[0]) if before and now[0] > before[0] else 0.0
        total, available = nodestatus.memory()
        return _usage(int(max(cores, 0.0) * 10**9), total - available)


def _usage(nano_cores: int, memory: int) -> dict[str, str]:
    return {"cpu": f"{nano_cores}n", "memory": f"{memory // 1024}Ki"}
