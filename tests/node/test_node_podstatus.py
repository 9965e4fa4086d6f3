"""A pod's status from what runs: phases, conditions and container states as kubelet tells them."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.node import crimessages as m
from sublet.node.podstatus import Observed, pod_status
from sublet.node.runtime import PodRuntime, RunningContainer, Sandbox

NOW = 1_767_322_800.0
STAMP = "2026-01-02T03:00:00Z"


class Health:
    def __init__(self, ready: bool = True) -> None:
        self._ready = ready

    def started(self, container: RunningContainer) -> bool:
        return container.running

    def ready(self, container: RunningContainer) -> bool:
        return self._ready

    def alive(self, container: RunningContainer) -> str:
        return ""


def pod(*names: str, policy: str = "Always", init: tuple[str, ...] = (), **status: Any) -> dict[str, Any]:
    spec = {
        "containers": [{"name": n, "image": "i"} for n in names],
        "initContainers": [{"name": n, "image": "i"} for n in init],
        "restartPolicy": policy,
    }
    return {
        "metadata": {"name": "p", "namespace": "d", "uid": "u", "generation": 2},
        "spec": spec,
        "status": status,
    }


def seen(name: str, state: int, code: int = 0, attempt: int = 0, reason: str = "") -> RunningContainer:
    times = int(NOW * 1e9)
    return RunningContainer(
        f"{name}{attempt}", name, "s1", state, attempt, times, times, times, code, reason, image="i:latest"
    )


def observe(
    p: dict[str, Any], *containers: RunningContainer, ready: bool = True, **more: Any
) -> dict[str, Any]:
    view = PodRuntime("u", [Sandbox("s1", True, 0, 1, ("10.0.0.1",))])
    for container in containers:
        view.containers.setdefault(container.name, []).append(container)
    return pod_status(Observed(p, view, Health(ready), NOW, "192.0.2.1", **more))


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in status["conditions"] if c["type"] == kind)
    return found


@pytest.mark.parametrize(
    ("policy", "states", "expected"),
    [
        ("Always", [(m.RUNNING, 0), (m.RUNNING, 0)], "Running"),
        ("Always", [(m.RUNNING, 0), (m.EXITED, 1)], "Running"),
        ("Always", [(m.EXITED, 0), (m.EXITED, 1)], "Running"),
        ("Always", [(m.RUNNING, 0), (m.CREATED, 0)], "Pending"),
        ("Never", [(m.EXITED, 0), (m.EXITED, 0)], "Succeeded"),
        ("Never", [(m.EXITED, 0), (m.EXITED, 1)], "Failed"),
        ("Never", [(m.EXITED, 0), (m.RUNNING, 1)], "Running"),
        ("OnFailure", [(m.EXITED, 0), (m.EXITED, 1)], "Running"),
        ("OnFailure", [(m.EXITED, 0), (m.EXITED, 0)], "Succeeded"),
    ],
)
def test_phase(policy: str, states: list[tuple[int, int]], expected: str) -> None:
    containers = [seen(name, state, code) for name, (state, code) in zip("ab", states, strict=True)]
    assert observe(pod("a", "b", policy=policy), *containers)["phase"] == expected


def test_a_pod_that_nothing_runs_of_is_pending_and_says_why() -> None:
    status = observe(pod("a", init=("i",)))
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(status, "Initialized")["message"] == "containers with incomplete status: [i]"
    assert condition(status, "Ready")["reason"] == "ContainersNotReady"


def test_a_ready_pod_has_all_conditions_and_addresses() -> None:
    status = observe(pod("a"), seen("a", m.RUNNING))
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "ContainersReady", "PodScheduled", "Ready"), "True"
    )
    assert (status["podIP"], status["hostIP"], status["startTime"]) == ("10.0.0.1", "192.0.2.1", STAMP)
    assert status["observedGeneration"] == 2
    entry = status["containerStatuses"][0]
    assert entry["state"] == {"running": {"startedAt": STAMP}}
    assert (entry["ready"], entry["started"], entry["containerID"]) == (True, True, "containerd://a0")


def test_an_unready_container_makes_the_pod_unready_but_running() -> None:
    status = observe(pod("a"), seen("a", m.RUNNING), ready=False)
    assert status["phase"] == "Running"
    assert condition(status, "Ready")["message"] == "containers with unready status: [a]"


def test_readiness_gates_hold_the_pod_back() -> None:
    p = pod("a")
    p["spec"]["readinessGates"] = [{"conditionType": "x/ok"}]
    found = condition(observe(p, seen("a", m.RUNNING)), "Ready")
    assert (found["status"], found["reason"]) == ("False", "ReadinessGatesNotReady")


def test_back_off_shows_the_last_end_and_the_count() -> None:
    status = observe(
        pod("a"), seen("a", m.EXITED, 3, attempt=4), waiting={"a": ("CrashLoopBackOff", "back-off 10s")},
        messages={"a4": "why"},
    )  # fmt: skip
    entry = status["containerStatuses"][0]
    assert entry["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    assert entry["restartCount"] == 4
    ended = entry["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "why")


def test_last_state_is_the_container_before() -> None:
    status = observe(pod("a"), seen("a", m.RUNNING, attempt=1), seen("a", m.EXITED, 137, reason="OOMKilled"))
    assert status["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "OOMKilled"


def test_transition_times_change_only_with_the_status() -> None:
    old = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "Initialized", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
    ]
    status = observe(pod("a", conditions=old), seen("a", m.RUNNING))
    assert condition(status, "Ready")["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert condition(status, "Initialized")["lastTransitionTime"] == STAMP


def test_an_ended_pod_failed_unless_everything_succeeded() -> None:
    assert observe(pod("a"), seen("a", m.EXITED, 137), ended=True)["phase"] == "Failed"
    assert observe(pod("a"), seen("a", m.EXITED, 0), ended=True)["phase"] == "Succeeded"
    assert observe(pod("a"), ended=True)["phase"] == "Failed"


def test_a_terminal_phase_never_changes_again() -> None:
    assert observe(pod("a", phase="Succeeded"))["phase"] == "Succeeded"


def test_a_refused_pod_tells_the_reason_and_nothing_of_containers() -> None:
    status = observe(pod("a"), ended=True, failed=("NodePorts", "taken"), rejected=True)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "NodePorts", "taken")
    assert "containerStatuses" not in status


def test_a_container_that_vanished_is_told_as_ended_in_an_unknown_way() -> None:
    old = [{"name": "a", "state": {"running": {"startedAt": STAMP}}, "restartCount": 0}]
    status = observe(pod("a", containerStatuses=old), ended=True)
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


def test_a_succeeded_pod_is_not_ready_because_it_completed() -> None:
    status = observe(pod("a", policy="Never"), seen("a", m.EXITED))
    assert condition(status, "Ready")["reason"] == "PodCompleted"
    assert condition(status, "Initialized")["reason"] == "PodCompleted"
