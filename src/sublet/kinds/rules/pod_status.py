"""What a pod's status says about it: quality of service, the Status cell, restarts."""

from __future__ import annotations

from typing import Any

from sublet.kinds.rules.show import NONE, age, human_duration, name, or_none
from sublet.machinery.kind import Object
from sublet.machinery.objects import condition, is_true, parse_time


def cells(pod: Object, now: float) -> list[Any]:
    """The row of a pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    shown = _Shown(pod)
    ips = status.get("podIPs") or ()
    return [
        name(pod),
        f"{shown.ready}/{shown.total}",
        shown.reason,
        shown.restart_text(now),
        age(pod, now),
        or_none(ips[0].get("ip") if ips else status.get("podIP")),
        or_none(spec.get("nodeName")),
        or_none(status.get("nominatedNodeName")),
        _readiness_gates(pod),
    ]


_COMPLETED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


def row_conditions(pod: Object) -> list[Object]:
    """That a pod has ended, for clients that hide such rows."""
    phase = str((pod.get("status") or {}).get("phase") or "")
    if phase not in _COMPLETED:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _COMPLETED[phase]}]


def _readiness_gates(pod: Object) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    if not gates:
        return NONE
    return f"{sum(is_true(pod, gate.get('conditionType')) for gate in gates)}/{len(gates)}"


def _is_sidecar(container: Object | None) -> bool:
    return container is not None and container.get("restartPolicy") == "Always"


def _ending(terminated: Object) -> str:
    """Why a container ended that gave no reason."""
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


class _Shown:
    """The reason, readiness and restarts that a pod's row shows; walks its container statuses once."""

    def __init__(self, pod: Object) -> None:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        self.init = {c.get("name"): c for c in spec.get("initContainers") or ()}
        self.total = len(spec.get("containers") or ()) + sum(map(_is_sidecar, self.init.values()))
        self.ready = 0
        self.restarts = 0
        self.last_restart = 0.0
        self.reason = str(status.get("reason") or status.get("phase") or "")
        scheduled = condition(pod, "PodScheduled")
        if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"
        initializing = self._walk_init(status)
        if not initializing or is_true(pod, "Initialized"):
            self._walk_main(pod, status)
        self._end_of_life(pod, status)

    def _walk_init(self, status: Object) -> bool:
        """Whether the pod is still initialising."""
        sidecar_restarts, sidecar_last = 0, 0.0
        initializing = False
        for index, found in enumerate(status.get("initContainerStatuses") or ()):
            self._count(found)
            sidecar = _is_sidecar(self.init.get(found.get("name")))
            if sidecar:
                sidecar_restarts += found.get("restartCount") or 0
                sidecar_last = max(sidecar_last, self._last(found))
            initializing = self._init_reason(index, found, sidecar)
            if initializing:
                break  # what comes after has not begun
        if not initializing:
            self.restarts, self.last_restart = sidecar_restarts, sidecar_last
        self._sidecars = sidecar_restarts, sidecar_last
        return initializing

    def _init_reason(self, index: int, found: Object, sidecar: bool) -> bool:
        state = found.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            return False
        if sidecar and found.get("started"):
            self.ready += bool(found.get("ready"))
            return False
        if terminated is not None:
            self.reason = "Init:" + (terminated.get("reason") or _ending(terminated))
        elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            self.reason = "Init:" + waiting["reason"]
        else:
            self.reason = f"Init:{index}/{len(self.init)}"
        return True

    def _walk_main(self, pod: Object, status: Object) -> None:
        self.restarts, self.last_restart = self._sidecars
        running = False
        for found in reversed(status.get("containerStatuses") or ()):
            self._count(found)
            state = found.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if waiting is not None and waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated is not None:
                self.reason = terminated.get("reason") or _ending(terminated)
            elif found.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if is_true(pod, "Ready") else "NotReady"

    def _end_of_life(self, pod: Object, status: Object) -> None:
        if not (pod.get("metadata") or {}).get("deletionTimestamp"):
            return
        if status.get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif status.get("phase") not in ("Failed", "Succeeded"):
            self.reason = "Terminating"

    def _count(self, found: Object) -> None:
        self.restarts += found.get("restartCount") or 0
        self.last_restart = max(self.last_restart, self._last(found))

    @staticmethod
    def _last(found: Object) -> float:
        finished = ((found.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        return parse_time(finished) if finished else 0.0

    def restart_text(self, now: float) -> str:
        """``3 (5m ago)``"""
        if self.restarts and self.last_restart:
            return f"{self.restarts} ({human_duration(now - self.last_restart)} ago)"
        return str(self.restarts)
