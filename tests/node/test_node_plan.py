"""What a pod needs next: sandbox, init containers in order, sidecars, restarts."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.node import crimessages as m
from sublet.node import plan as planning
from sublet.node import poddata
from sublet.node.runtime import PodRuntime, RunningContainer, Sandbox


class Health:
    """Verdicts by container name."""

    def __init__(self, *, unstarted: tuple[str, ...] = (), dead: dict[str, str] | None = None) -> None:
        self._unstarted = unstarted
        self._dead = dead or {}

    def started(self, container: RunningContainer) -> bool:
        return container.name not in self._unstarted

    def ready(self, container: RunningContainer) -> bool:
        return True

    def alive(self, container: RunningContainer) -> str:
        return self._dead.get(container.name, "")


def pod(*names: str, init: tuple[dict[str, Any], ...] = (), policy: str = "Always") -> dict[str, Any]:
    containers = [{"name": name, "image": "i"} for name in names]
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": containers, "initContainers": list(init), "restartPolicy": policy},
    }


def seen(name: str, state: int, code: int = 0, sandbox: str = "s1", attempt: int = 0) -> RunningContainer:
    digest = poddata.container_hash({"name": name, "image": "i"})
    return RunningContainer(f"{name}-{attempt}", name, sandbox, state, attempt, exit_code=code, hash=digest)


def view(*containers: RunningContainer, ready: bool = True, sandbox: str = "s1") -> PodRuntime:
    result = PodRuntime("u", [Sandbox(sandbox, ready, 0, 1, ("10.0.0.1",) if ready else ())])
    for container in containers:
        result.containers.setdefault(container.name, []).append(container)
    return result


def starts(p: dict[str, Any], v: PodRuntime, health: Health | None = None) -> list[str]:
    return [c["name"] for c in planning.plan(p, v, health or Health()).start]


INIT = ({"name": "i1", "image": "i"}, {"name": "i2", "image": "i"})
SIDE = {"name": "side", "image": "i", "restartPolicy": "Always"}


def test_a_new_pod_needs_a_sandbox_first() -> None:
    steps = planning.plan(pod("a"), PodRuntime("u"), Health())
    assert (steps.new_sandbox, steps.attempt, steps.start) == (True, 0, [])


def test_a_dead_sandbox_is_replaced_and_what_still_runs_in_it_killed() -> None:
    steps = planning.plan(pod("a"), view(seen("a", m.RUNNING), ready=False), Health())
    assert (steps.new_sandbox, steps.attempt) == (True, 1)
    assert [k.container.name for k in steps.kill] == ["a"]


def test_all_containers_start_together() -> None:
    assert starts(pod("a", "b"), view()) == ["a", "b"]


def test_init_containers_start_one_after_the_other() -> None:
    p = pod("a", init=INIT)
    assert starts(p, view()) == ["i1"]
    assert starts(p, view(seen("i1", m.RUNNING))) == []
    assert starts(p, view(seen("i1", m.EXITED))) == ["i2"]
    assert starts(p, view(seen("i1", m.EXITED), seen("i2", m.EXITED))) == ["a"]


def test_failed_init_container_is_tried_again_unless_the_policy_is_never() -> None:
    assert starts(pod("a", init=INIT), view(seen("i1", m.EXITED, 1))) == ["i1"]
    never = pod("a", init=INIT, policy="Never")
    assert starts(never, view(seen("i1", m.EXITED, 1))) == []
    assert planning.init_failed(never, view(seen("i1", m.EXITED, 1)))


def test_init_containers_run_again_in_a_new_sandbox() -> None:
    assert starts(pod("a", init=INIT[:1]), view(seen("i1", m.EXITED, sandbox="s0"))) == ["i1"]


def test_the_next_container_waits_until_a_sidecar_has_started() -> None:
    p = pod("a", init=(SIDE,))
    assert starts(p, view()) == ["side"]
    assert starts(p, view(seen("side", m.RUNNING)), Health(unstarted=("side",))) == []
    assert starts(p, view(seen("side", m.RUNNING))) == ["a"]


def test_a_sidecar_is_restarted_while_others_run_whatever_the_policy() -> None:
    p = pod("a", init=(SIDE,), policy="Never")
    assert starts(p, view(seen("side", m.EXITED), seen("a", m.RUNNING))) == ["side"]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 1, False),
    ],
)
def test_restart_policy(policy: str, code: int, again: bool) -> None:
    p = pod("a", "b", policy=policy)
    assert ("a" in starts(p, view(seen("a", m.EXITED, code), seen("b", m.RUNNING)))) is again


def test_a_pod_that_ended_for_good_needs_nothing() -> None:
    p = pod("a", policy="Never")
    assert planning.mains_ended(p, view(seen("a", m.EXITED, 1)))
    assert planning.plan(p, view(seen("a", m.EXITED, 1), ready=False), Health()) == planning.Plan()


def test_failed_probe_and_changed_image_kill_the_container() -> None:
    steps = planning.plan(pod("a"), view(seen("a", m.RUNNING)), Health(dead={"a": "liveness"}))
    assert [(k.probe, k.message) for k in steps.kill] == [
        ("liveness", "Container a failed liveness probe, will be restarted")
    ]
    changed = pod("a")
    changed["spec"]["containers"][0]["image"] = "other"
    assert (
        "definition changed" in planning.plan(changed, view(seen("a", m.RUNNING)), Health()).kill[0].message
    )


def test_a_container_that_was_only_created_is_started_anew() -> None:
    assert starts(pod("a"), view(seen("a", m.CREATED))) == ["a"]


def test_an_ephemeral_container_starts_once() -> None:
    p = pod("a")
    p["spec"]["ephemeralContainers"] = [{"name": "e", "image": "i"}]
    assert starts(p, view(seen("a", m.RUNNING))) == ["e"]
    assert starts(p, view(seen("a", m.RUNNING), seen("e", m.EXITED))) == []
