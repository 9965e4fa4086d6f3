"""The status of a pod that does not run: what a node agent would report if all went well, or as annotations say.

Everything is derived from the pod and the time, so a restarted hollow node goes on where the last one was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object

EXIT_CODE = "sublet.dev/hollow-exit-code"
"""Annotation: the containers end with this code. Without it they run until they are deleted."""
RUN_SECONDS = "sublet.dev/hollow-run-seconds"
"""Annotation: how long they run before that; alone it means exit code 0."""
INIT_EXIT_CODE = "sublet.dev/hollow-init-exit-code"
"""Annotation: init containers end with this code, 0 without it."""
INIT_SECONDS = "sublet.dev/hollow-init-seconds"
"""Annotation: how long each init container runs before that; without it, it is done at once."""

_FIRST_BACKOFF = 10.0
_MAX_BACKOFF = 300.0
_PULL_SECONDS = 1.0
"""How long a pull that fails is told as such, before it is told that the next waits."""
_KILLED = 137


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pod is, and what its node refuses."""

    node_ips: Sequence[str]
    pod_ips: Sequence[str]
    """One of each address family that the node's pods have, the primary one first; so are the node's."""
    denied_images: Sequence[str] = ()
    """Patterns of images that cannot be pulled."""
    finish_seconds: float | None = None
    """After which pods with restartPolicy Never or OnFailure succeed by themselves; None: they do not."""


def ending(pod: Object, place: Place) -> tuple[float, int] | None:
    """(seconds a container runs, exit code), or None where it runs until it is deleted."""
    if (found := _stated(pod, RUN_SECONDS, EXIT_CODE)) is not None:
        return found
    if place.finish_seconds is not None and _policy(pod) != "Always":
        return place.finish_seconds, 0
    return None


def _stated(pod: Object, seconds: str, code: str) -> tuple[float, int] | None:
    annotations = objects.annotations(pod)
    if seconds not in annotations and code not in annotations:
        return None
    try:
        return float(annotations.get(seconds) or 0), int(annotations.get(code) or 0)
    except ValueError:
        return None


def running(pod: Object, place: Place, now: float) -> tuple[Object, float]:
    """(the pod's status now, seconds until it may change by itself or 0)."""
    spec, old = pod.get("spec") or {}, pod.get("status") or {}
    start = old.get("startTime") or objects.rfc3339(now)
    left = 0.0
    if deadline := spec.get("activeDeadlineSeconds"):
        left = objects.parse_time(start) + float(deadline) - now
        if left <= 0:
            message = "Pod was active on the node longer than the specified deadline"
            return ended(pod, place, now, "DeadlineExceeded", message), 0.0
    machine = _Containers(pod, place, now, objects.parse_time(start))
    inits = machine.inits(spec.get("initContainers") or ())
    initialized = all(_past(status) for status in inits)
    waiting = None if initialized else "PodInitializing"
    containers = [machine.ordinary(c, waiting) for c in spec.get("containers") or ()]
    ephemeral = [machine.ordinary(c, waiting, ends=False) for c in spec.get("ephemeralContainers") or ()]
    phase = "Failed" if machine.init_failed else _phase(pod, containers)
    status = _status(pod, place, start, phase, inits, containers, ephemeral)
    status["conditions"] = _conditions(pod, phase, initialized, inits, containers, now)
    times = [t for t in (left, *machine.times) if t > 0]
    return status, min(times, default=0.0)


def rejected(pod: Object, place: Place, now: float, reason: str, message: str) -> Object:
    """The status of a pod that the node does not admit: Failed without having run."""
    return {
        "phase": "Failed",
        "reason": reason,
        "message": f"Pod was rejected: {message}",
        "startTime": objects.rfc3339(now),
        "hostIP": place.node_ips[0],
        "observedGeneration": _generation(pod),
    }


def ended(pod: Object, place: Place, now: float, reason: str = "", message: str = "") -> Object:
    """The status after all containers were stopped: by deletion, or for ``reason``."""
    spec, old = pod.get("spec") or {}, pod.get("status") or {}
    before = {
        part: {s["name"]: s for s in old.get(part) or ()}
        for part in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    }
    inits = [
        _stopped(before["initContainerStatuses"].get(c["name"]), c, pod, now)
        for c in spec.get("initContainers") or ()
    ]
    containers = [
        _stopped(before["containerStatuses"].get(c["name"]), c, pod, now)
        for c in spec.get("containers") or ()
    ]
    ephemeral = [
        _stopped(before["ephemeralContainerStatuses"].get(c["name"]), c, pod, now)
        for c in spec.get("ephemeralContainers") or ()
    ]
    codes = [(status["state"].get("terminated") or {}).get("exitCode", _KILLED) for status in containers]
    phase = "Failed" if reason or any(codes) else "Succeeded"
    start = old.get("startTime") or objects.rfc3339(now)
    status = _status(pod, place, start, phase, inits, containers, ephemeral)
    status["conditions"] = _conditions(pod, phase, True, inits, containers, now)
    if reason:
        status |= {"reason": reason, "message": message}
    return status


def _status(
    pod: Object, place: Place, start: str, phase: str, inits: list[Object], containers: list[Object],
    ephemeral: list[Object],
) -> Object:  # fmt: skip
    status: Object = {
        "phase": phase,
        "observedGeneration": _generation(pod),
        "startTime": start,
        "hostIP": place.node_ips[0],
        "hostIPs": [{"ip": ip} for ip in place.node_ips],
        "podIP": place.pod_ips[0],
        "podIPs": [{"ip": ip} for ip in place.pod_ips],
        "containerStatuses": containers,
    }
    if inits:
        status["initContainerStatuses"] = inits
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    return status


def _generation(pod: Object) -> int:
    return int((pod.get("metadata") or {}).get("generation") or 0)


def _policy(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("restartPolicy") or "Always")


def _past(init: Object) -> bool:
    """Whether what comes after an init container may begin."""
    done = init["state"].get("terminated")
    return done.get("exitCode") == 0 if done else "running" in init["state"] and bool(init["ready"])


_Start = Callable[[Mapping[str, Any], int, Mapping[str, Any]], Object]
"""(container, how often it was started before, its last state) -> its status now."""


class _Containers:
    """Moves each container of one pod on by what is due."""

    def __init__(self, pod: Object, place: Place, now: float, since: float) -> None:
        self._pod = pod
        self._now = now
        self._since = since
        self._denied = place.denied_images
        self._ending = ending(pod, place)
        self._init_ending = _stated(pod, INIT_SECONDS, INIT_EXIT_CODE) or (0.0, 0)
        self._policy = _policy(pod)
        status = pod.get("status") or {}
        self._before: dict[str, Object] = {
            found["name"]: found
            for part in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
            for found in status.get(part) or ()
        }
        self.times: list[float] = []
        self.init_failed = False
        """An init container has failed for good: the pod has, too."""

    def inits(self, containers: Iterable[Mapping[str, Any]]) -> list[Object]:
        """One after another: behind one that is not done none begins."""
        found: list[Object] = []
        held = False
        for container in containers:
            found.append(self._waiting(container, "PodInitializing", "") if held else self._init(container))
            held = held or not _past(found[-1])
        return found

    def _init(self, container: Mapping[str, Any]) -> Object:
        if container.get("restartPolicy") == "Always":
            return self.ordinary(container, None, ends=False)
        if self._is_denied(container):
            return self._not_pulled(container)
        old = self._before.get(container["name"])
        if old is None or not old.get("containerID"):
            return self._run_init(container, 0, {})
        seconds, code = self._init_ending
        state: Mapping[str, Any] = old.get("state") or {}
        last = state.get("terminated") or (old.get("lastState") or {}).get("terminated")
        if "running" in state:
            begun = objects.parse_time(state["running"]["startedAt"])
            if begun <= self._now < begun + seconds:
                self.times.append(begun + seconds - self._now)
                return old
            last = self._end_of(old, code)
        if last is None or not last.get("exitCode"):
            return {**old, "state": {"terminated": last}, "ready": True, "started": False} if last else old
        self.init_failed = self._policy == "Never"
        return self._after(container, old, last, int(old.get("restartCount") or 0), self._run_init)

    def _run_init(self, container: Mapping[str, Any], count: int, last: Mapping[str, Any]) -> Object:
        (seconds, code), time = self._init_ending, objects.rfc3339(self._now)
        if seconds > 0:
            self.times.append(seconds)
            state: Object = {"running": {"startedAt": time}}
            return _shape(self._pod, container, state, ready=False, started=True, count=count, last=last)
        if code:
            self.times.append(0.001)
        identity = _container_id(self._pod, container, count)
        done: Object = {"terminated": _terminated(code, time, time, identity)}
        return _shape(self._pod, container, done, ready=not code, started=False, count=count, last=last)

    def _not_pulled(self, container: Mapping[str, Any]) -> Object:
        """Pulls are tried again after 10, 20, 40 … 300 seconds; in between, it is told that one waits."""
        error, begun, delay = _pull_error(container), self._since, _FIRST_BACKOFF
        while begun + delay <= self._now and delay < _MAX_BACKOFF:
            begun, delay = begun + delay, min(delay * 2, _MAX_BACKOFF)
        if begun + delay <= self._now:
            begun += (self._now - begun) // delay * delay
        if self._now < begun + _PULL_SECONDS:
            self.times.append(begun + _PULL_SECONDS - self._now)
            return self._waiting(container, "ErrImagePull", error)
        self.times.append(begun + delay - self._now)
        text = f'Back-off pulling image "{container.get("image")}": ErrImagePull: {error}'
        return self._waiting(container, "ImagePullBackOff", text)

    def ordinary(self, container: Mapping[str, Any], waiting: str | None, *, ends: bool = True) -> Object:
        if waiting:
            return self._waiting(container, waiting, "")
        if self._is_denied(container):
            return self._not_pulled(container)
        old = self._before.get(container["name"])
        if old is None or not old.get("containerID"):
            return self._start(container, 0, {})
        count = int(old.get("restartCount") or 0)
        state: Mapping[str, Any] = old.get("state") or {}
        if old.get("image") != container.get("image") and "running" in state:
            return self._start(container, count + 1, {"terminated": self._end_of(old, 0)})
        if "running" in state:
            return self._go_on(container, old | _resources(container), ends)
        last = state.get("terminated") or (old.get("lastState") or {}).get("terminated")
        if last is None:
            return self._start(container, count, {})
        return self._after(container, old, last, count)

    def _go_on(self, container: Mapping[str, Any], old: Object, ends: bool) -> Object:
        if self._ending is None or not ends:
            return old
        seconds, code = self._ending
        since = objects.parse_time(old["state"]["running"]["startedAt"])
        if since <= self._now < since + seconds:  # else it is over, or the clock was put back
            self.times.append(since + seconds - self._now)
            return old
        return self._after(container, old, self._end_of(old, code), int(old.get("restartCount") or 0))

    def _after(
        self, container: Mapping[str, Any], old: Object, last: Mapping[str, Any], count: int,
        start: _Start | None = None,
    ) -> Object:  # fmt: skip
        """A container that has ended: stays so, waits in back-off, or starts again."""
        again = self._policy == "Always" or (self._policy == "OnFailure" and last.get("exitCode"))
        if not again:
            return {**old, "state": {"terminated": last}, "ready": False, "started": False}
        delay = min(_FIRST_BACKOFF * 2 ** min(count, 10), _MAX_BACKOFF) if count else 0.0
        ended = objects.parse_time(last["finishedAt"])
        left = ended + delay - self._now
        if left <= 0 or ended > self._now:  # the latter: the clock was put back
            return (start or self._start)(container, count + 1, {"terminated": last})
        self.times.append(left)
        text = f"back-off {int(delay)}s restarting failed container={container['name']} pod={objects.name(self._pod)}"
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
        return {**old, "state": state, "lastState": {"terminated": last}, "ready": False, "started": False}

    def _start(self, container: Mapping[str, Any], count: int, last: Mapping[str, Any]) -> Object:
        state = {"running": {"startedAt": objects.rfc3339(self._now)}}
        if self._ending is not None:
            self.times.append(max(self._ending[0], 0.001))
        return _shape(self._pod, container, state, ready=True, started=True, count=count, last=last)

    def _waiting(self, container: Mapping[str, Any], reason: str, message: str) -> Object:
        waiting = {"reason": reason} | ({"message": message} if message else {})
        return _shape(self._pod, container, {"waiting": waiting}, ready=False, started=False, pulled=False)

    def _end_of(self, old: Object, code: int) -> Object:
        started = old["state"]["running"]["startedAt"]
        finished = max(objects.rfc3339(self._now), started)
        return _terminated(code, started, finished, str(old.get("containerID") or ""))

    def _is_denied(self, container: Mapping[str, Any]) -> bool:
        return is_denied(str(container.get("image") or ""), self._denied)


def is_denied(image: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(image, pattern) for pattern in patterns)


def _pull_error(container: Mapping[str, Any]) -> str:
    return f'failed to pull and unpack image "{container.get("image")}": not found'


def _shape(
    pod: Object, container: Mapping[str, Any], state: Object, *, ready: bool, started: bool, count: int = 0,
    last: Mapping[str, Any] | None = None, pulled: bool = True,
) -> Object:  # fmt: skip
    image = str(container.get("image") or "")
    status = {
        "name": container["name"],
        "state": state,
        "lastState": dict(last or {}),
        "ready": ready,
        "restartCount": count,
        "image": image,
        "imageID": f"{image.partition('@')[0]}@sha256:{_digest(image)}" if pulled else "",
        "started": started,
    }
    if pulled:
        status["containerID"] = _container_id(pod, container, count)
        status |= _resources(container)
    return status


def _resources(container: Mapping[str, Any]) -> Object:
    """What the container has: a resize is done as soon as it is asked for."""
    asked = container.get("resources") or {}
    found: Object = {"resources": {part: asked[part] for part in ("limits", "requests") if asked.get(part)}}
    if asked.get("requests"):
        found["allocatedResources"] = asked["requests"]
    return found


def _container_id(pod: Object, container: Mapping[str, Any], count: int) -> str:
    return "hollow://" + _digest(f"{objects.uid(pod)}/{container['name']}/{count}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _terminated(code: int, started: str, finished: str, container_id: str) -> Object:
    return {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": started,
        "finishedAt": finished,
        "containerID": container_id,
    }


def _stopped(old: Object | None, container: Mapping[str, Any], pod: Object, now: float) -> Object:
    """A container's status once nothing of the pod runs any more."""
    state: Mapping[str, Any] = (old or {}).get("state") or {}
    if old is not None and "terminated" in state:
        return old
    if old is None or "running" not in state:
        time = objects.rfc3339(now)
        done = {
            "exitCode": _KILLED,
            "reason": "ContainerStatusUnknown",
            "startedAt": None,
            "finishedAt": time,
        }
        done = {key: value for key, value in done.items() if value is not None}
        return _shape(
            pod, container, {"terminated": done}, ready=False, started=False,
            count=int((old or {}).get("restartCount") or 0), pulled=False,
        )  # fmt: skip
    done = _terminated(
        _KILLED, state["running"]["startedAt"], objects.rfc3339(now), str(old.get("containerID") or "")
    )
    return {**old, "state": {"terminated": done}, "ready": False, "started": False}


def _phase(pod: Object, containers: Sequence[Object]) -> str:
    states = [status["state"] for status in containers]
    never_ran = any("waiting" in s["state"] and not s.get("lastState") for s in containers)
    if never_ran:
        return "Pending"
    if all("terminated" in state for state in states):
        return "Failed" if any(state["terminated"].get("exitCode") for state in states) else "Succeeded"
    return "Running"


def _conditions(
    pod: Object,
    phase: str,
    initialized: bool,
    inits: Sequence[Object],
    containers: Sequence[Object],
    now: float,
) -> list[Object]:
    not_ready = [status["name"] for status in containers if not status["ready"]]
    detail: dict[str, str] = {}
    if phase == "Succeeded":
        detail = {"reason": "PodCompleted"}
    elif phase == "Failed":
        detail = {"reason": "PodFailed"}
    elif not_ready:
        names = " ".join(not_ready)
        detail = {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{names}]",
        }
    ready, ready_detail = not detail, detail
    if ready:
        missing = [g["conditionType"] for g in (pod.get("spec") or {}).get("readinessGates") or ()
                   if not objects.is_true(pod, g["conditionType"])]  # fmt: skip
        if missing:
            text = "; ".join(f'the status of pod readiness gate "{m}" is not "True"' for m in missing)
            ready, ready_detail = False, {"reason": "ReadinessGatesNotReady", "message": text}
    going = phase in ("Pending", "Running")
    stated = [
        ("PodReadyToStartContainers", going, {}),
        ("Initialized", initialized, _initializing(phase, inits)),
        ("Ready", ready, ready_detail),
        ("ContainersReady", not detail, detail),
        ("PodScheduled", True, {}),
    ]
    return [_condition(pod, kind, holds, more, now) for kind, holds, more in stated]


def _initializing(phase: str, inits: Sequence[Object]) -> dict[str, str]:
    if phase == "Succeeded":
        return {"reason": "PodCompleted"}
    if undone := [status["name"] for status in inits if not _past(status)]:
        text = f"containers with incomplete status: [{' '.join(undone)}]"
        return {"reason": "ContainersNotInitialized", "message": text}
    return {}


def _condition(pod: Object, kind: str, holds: bool, detail: Mapping[str, str], now: float) -> Object:
    old = objects.condition(pod, kind) or {}
    status = "True" if holds else "False"
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    found = {
        "type": kind,
        "status": status,
        "observedGeneration": _generation(pod),
        "lastProbeTime": None,
        "lastTransitionTime": since or objects.rfc3339(now),
    }
    # A strategic merge patch keeps what it does not name: an old reason has to be taken away.
    gone = {part: None for part in ("reason", "message") if part in old and part not in detail}
    return found | dict(detail) | gone
