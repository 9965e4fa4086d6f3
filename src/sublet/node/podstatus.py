"""A pod's status from what the runtime and the probes say: phase, conditions, container statuses. Pure.

Reasons and messages are kubelet's, since controllers and people match them.
Source: kubernetes.io, "Pod Lifecycle"; reference A.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sublet.machinery import objects, usage
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import plan, poddata
from sublet.node.poddata import Container
from sublet.node.runtime import PodRuntime, RunningContainer

Status = dict[str, Any]


@dataclass(slots=True)
class Observed:
    """All that a status is made of."""

    pod: Object
    view: PodRuntime
    health: plan.Health
    now: float
    host_ip: str
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Container name → (reason, message) of why it is not started."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """Container id → termination message."""
    ended: bool = False
    """Whether the pod is through: containers stopped, none will be started again."""
    failed: tuple[str, str] | None = None
    """(reason, message) where the node itself ended the pod (deadline, no admission)."""
    resources: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Container name → the resources it has, where they could not be made those of the pod."""
    rejected: bool = False
    """Whether the node did not take the pod at all: then there is nothing to say of its containers."""


def pod_status(seen: Observed) -> Status:
    pod, view = seen.pod, seen.view
    old: Status = pod.get("status") or {}
    status: Status = {
        "phase": phase(seen),
        "hostIP": seen.host_ip,
        "hostIPs": [{"ip": seen.host_ip}],
        "startTime": old.get("startTime") or objects.rfc3339(seen.now),
        "qosClass": old.get("qosClass") or usage.qos_class(pod),
    }
    if (generation := (pod.get("metadata") or {}).get("generation")) is not None:
        status["observedGeneration"] = generation
    ips = (seen.host_ip,) if poddata.spec(pod).get("hostNetwork") and view.sandboxes else view.ips
    if not ips and old.get("podIP") and (seen.ended or poddata.is_terminal(pod)):
        ips = tuple(entry["ip"] for entry in old.get("podIPs") or [])
    if ips:
        status["podIP"], status["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    if seen.failed is not None:
        status["reason"], status["message"] = seen.failed
        if seen.rejected:
            return status
    elif poddata.is_terminal(pod):
        status.update({key: old[key] for key in ("reason", "message") if old.get(key)})
        if "containerStatuses" not in old:
            return status
    initialized = plan.is_initialized(pod, view, seen.health)
    for key, containers in (
        ("initContainerStatuses", poddata.init_containers(pod)),
        ("containerStatuses", poddata.containers(pod)),
        ("ephemeralContainerStatuses", poddata.ephemeral_containers(pod)),
    ):
        if containers:
            previous = {s["name"]: s for s in old.get(key) or []}
            is_init = key == "initContainerStatuses"
            status[key] = [
                container_status(seen, c, previous.get(c["name"]), initialized, is_init) for c in containers
            ]
    status["conditions"] = conditions(seen, status, initialized)
    return status


def container_status(
    seen: Observed, container: Container, old: Status | None, initialized: bool, is_init: bool
) -> Status:
    name = container["name"]
    last = seen.view.latest(name)
    waits = seen.waiting.get(name)
    status: Status = {
        "name": name,
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": 0 if last is None else last.attempt,
        "image": container.get("image") or "",
        "imageID": "",
        "started": False,
    }
    if last is None or last.state == m.CREATED:
        _never_started(status, seen, old, waits, initialized)
        return status
    wanted = seen.resources.get(name) or container.get("resources") or {}
    status["resources"] = wanted  # also where it is empty: the API server sees that this node can resize
    if wanted.get("requests"):
        status["allocatedResources"] = wanted["requests"]
    status["image"] = last.image or status["image"]
    status["imageID"] = last.image_ref
    status["containerID"] = f"containerd://{last.id}"
    if last.running:
        status["state"] = {"running": {"startedAt": _time(last.started_at)}}
        status["started"] = seen.health.started(last)
        long_lived = not is_init or poddata.is_sidecar(container)
        status["ready"] = long_lived and status["started"] and seen.health.ready(last)
        status["lastState"] = _last_state(seen, name, old, last)
        return status
    ended = {"terminated": terminated(last, seen.messages.get(last.id, ""))}
    if waits is not None and not seen.ended:
        status["state"] = {"waiting": _waiting(*waits)}
        status["lastState"] = ended
    else:
        status["state"] = ended
        status["lastState"] = _last_state(seen, name, old, last)
        status["ready"] = is_init and not poddata.is_sidecar(container) and last.exit_code == 0
    return status


def _never_started(
    status: Status, seen: Observed, old: Status | None, waits: tuple[str, str] | None, initialized: bool
) -> None:
    """Waiting; or, where it ran once but its container is gone, ended in an unknown way."""
    if old is not None and (old.get("state") or {}).get("terminated"):
        status.update({k: old[k] for k in ("state", "lastState", "restartCount", "containerID") if k in old})
        status["ready"] = bool(old.get("ready")) and not seen.ended
        return
    if old is not None and (old.get("state") or {}).get("running"):
        lost = {
            "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None,
            "message": "The container could not be located when the pod was "
            + ("terminated" if seen.ended else "deleted.  The container used to be Running"),
        }  # fmt: skip
        lost = {key: value for key, value in lost.items() if value is not None}
        if seen.ended:
            status["state"] = {"terminated": lost}
            return
        status["lastState"] = {"terminated": lost}
        status["restartCount"] = int(old.get("restartCount") or 0) + 1
    if waits is None:
        pending = poddata.init_containers(seen.pod) and not initialized
        waits = ("PodInitializing", "") if pending else ("ContainerCreating", "")
    status["state"] = {"waiting": _waiting(*waits)}
    if old is not None and not status["lastState"]:
        status["lastState"] = old.get("lastState") or {}
        status["restartCount"] = max(int(old.get("restartCount") or 0), status["restartCount"])


def _waiting(reason: str, message: str) -> Status:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _last_state(seen: Observed, name: str, old: Status | None, last: RunningContainer) -> Status:
    before = seen.view.previous(name)
    if before is not None and before.ended:
        return {"terminated": terminated(before, seen.messages.get(before.id, ""))}
    if old is not None and old.get("restartCount") == last.attempt:
        return dict(old.get("lastState") or {})
    return {}


def terminated(container: RunningContainer, message: str) -> Status:
    reason = container.reason or ("Completed" if container.exit_code == 0 else "Error")
    state: Status = {
        "exitCode": container.exit_code,
        "reason": reason,
        "startedAt": _time(container.started_at or container.created_at),
        "finishedAt": _time(container.finished_at or container.created_at),
        "containerID": f"containerd://{container.id}",
    }
    if text := message or container.message:
        state["message"] = text
    return state


def _time(nanoseconds: int) -> str:
    return objects.rfc3339(nanoseconds // 1_000_000_000)


def phase(seen: Observed) -> str:
    """Pending, Running, Succeeded or Failed; what is terminal once stays so."""
    pod, view = seen.pod, seen.view
    if seen.failed is not None and seen.ended:
        return "Failed"
    if poddata.is_terminal(pod):
        return str(pod["status"]["phase"])
    if plan.init_failed(pod, view) and not view.running:
        return "Failed"
    running = stopped = succeeded = waiting = 0
    for container in poddata.containers(pod):
        last = view.latest(container["name"])
        if last is None or last.state == m.CREATED:
            waiting += 1
        elif last.running:
            running += 1
        else:
            stopped += 1
            succeeded += last.exit_code == 0
    if seen.ended:
        return "Succeeded" if stopped and stopped == succeeded and not waiting else "Failed"
    if not plan.is_initialized(pod, view, seen.health) and not stopped:
        return "Pending"
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if plan.mains_ended(pod, view) and not view.running:
        return "Succeeded" if stopped == succeeded else "Failed"
    return "Running"


def conditions(seen: Observed, status: Status, initialized: bool) -> list[Status]:
    """The conditions that belong to the node agent; others' stay as they are in the API."""
    pod, sandbox = seen.pod, seen.view.sandbox
    final = status["phase"]
    inits = _unfinished_inits(pod, status)
    made = {
        "PodReadyToStartContainers": ("True", "", "")
        if sandbox is not None and sandbox.usable and not seen.ended else ("False", "", ""),
        "Initialized": _initialized(final, inits if not initialized else []),
        "ContainersReady": _containers_ready(final, status),
        "PodScheduled": ("True", "", ""),
    }  # fmt: skip
    made["Ready"] = _ready(pod, made["ContainersReady"])
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    result = []
    for kind, (value, reason, message) in made.items():
        before = old.get(kind)
        same = before is not None and before.get("status") == value
        condition: Status = {"type": kind, "status": value, "lastProbeTime": None}
        condition["lastTransitionTime"] = (
            before["lastTransitionTime"] if same and before is not None and before.get("lastTransitionTime")
            else objects.rfc3339(seen.now)
        )  # fmt: skip
        if "observedGeneration" in status:
            condition["observedGeneration"] = status["observedGeneration"]
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        result.append(condition)
    return result


Verdict = tuple[str, str, str]
"""(status, reason, message)"""


def _unfinished_inits(pod: Object, status: Status) -> list[str]:
    restartable = {c["name"] for c in poddata.init_containers(pod) if poddata.is_sidecar(c)}
    names = []
    for entry in status.get("initContainerStatuses") or []:
        done = entry["started"] if entry["name"] in restartable else entry["ready"]
        if not done:
            names.append(entry["name"])
    return names


def _initialized(final: str, unfinished: list[str]) -> Verdict:
    if final == "Succeeded":
        return "True", "PodCompleted", ""
    if unfinished:
        return (
            "False",
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(unfinished)}]",
        )
    return "True", "", ""


def _containers_ready(final: str, status: Status) -> Verdict:
    if final == "Succeeded":
        return "False", "PodCompleted", ""
    if final == "Failed":
        return "False", "PodFailed", ""
    unready = [s["name"] for s in status.get("containerStatuses") or [] if not s["ready"]]
    unready += [
        s["name"] for s in status.get("initContainerStatuses") or []
        if (s["state"].get("running") and not s["ready"] and s["started"])
    ]  # fmt: skip
    if unready:
        return "False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return "True", "", ""


def _ready(pod: Object, containers: Verdict) -> Verdict:
    if containers[0] != "True":
        return containers
    messages = []
    for gate in poddata.spec(pod).get("readinessGates") or []:
        kind = gate["conditionType"]
        found = objects.condition(pod, kind)
        if found is None:
            messages.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found.get("status") != "True":
            messages.append(
                f'the status of pod readiness gate "{kind}" is not "True", but {found.get("status")}'
            )
    if messages:
        return "False", "ReadinessGatesNotReady", ", ".join(messages)
    return "True", "", ""
