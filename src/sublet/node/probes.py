"""Probes: startup, liveness, readiness, by exec, HTTP, TCP and gRPC. Source: kubernetes.io, "Configure Probes"."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable
from sublet.node import poddata
from sublet.node.cri import CRI, CRIError
from sublet.node.poddata import Container
from sublet.node.runtime import PodRuntime, RunningContainer
from sublet.node.wire import Message

log = logging.getLogger(__name__)

KINDS = ("startup", "liveness", "readiness")
_LIMIT = 10 << 10
_USER_AGENT = "kube-probe/1.36"


@dataclass(slots=True)
class _State:
    """What is known of one container; absent verdicts are: not started, alive, not ready."""

    startup: bool | None = None
    liveness: bool | None = None
    readiness: bool | None = None
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)


class Probes:
    """The probes of one pod's containers. ``changed`` is called when a verdict changes."""

    def __init__(
        self,
        cri: CRI,
        record: Callable[[str, str, str], None],
        changed: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self._cri = cri
        self._record = record
        self._changed = changed
        self._rng = rng
        self._states: dict[str, _State] = {}
        self._probed: dict[str, frozenset[str]] = {}

    def started(self, container: RunningContainer) -> bool:
        if "startup" not in self._probed.get(container.name, frozenset()):
            return container.running
        state = self._states.get(container.id)
        return state is not None and state.startup is True

    def ready(self, container: RunningContainer) -> bool:
        if "readiness" not in self._probed.get(container.name, frozenset()):
            return container.running
        state = self._states.get(container.id)
        return state is not None and state.readiness is True

    def alive(self, container: RunningContainer) -> str:
        state = self._states.get(container.id)
        if state is None:
            return ""
        if state.startup is False:
            return "startup"
        return "liveness" if state.liveness is False else ""

    def know(self, pod: Object) -> None:
        """Takes note of which containers have which probes, before any verdict is asked for."""
        for container in poddata.all_containers(pod):
            self._probed[container["name"]] = frozenset(k for k in KINDS if container.get(f"{k}Probe"))

    def follow(self, pod: Object, view: PodRuntime, ips: tuple[str, ...]) -> None:
        """Starts probing running containers at the pod's addresses, ends it for those that are not."""
        self.know(pod)
        running = {c.id: c for c in view.running}
        for gone in self._states.keys() - running.keys():
            self._end(gone)
        for identity, seen in running.items():
            container = poddata.find_container(pod, seen.name)
            if container is None or identity in self._states or not self._probed.get(seen.name):
                continue
            self._states[identity] = state = _State()
            _adopt(state, pod, seen)
            for kind in KINDS:
                if probe := container.get(f"{kind}Probe"):
                    work = self._probe(pod, container, seen, kind, probe, state, ips)
                    state.tasks[kind] = asyncio.create_task(work)

    def stop(self) -> None:
        for identity in list(self._states):
            self._end(identity)

    def stop_kinds(self, *kinds: str) -> None:
        """Ends some probes: a pod that is being stopped is still probed for readiness only."""
        for state in self._states.values():
            for kind in kinds:
                if task := state.tasks.pop(kind, None):
                    task.cancel()

    def _end(self, identity: str) -> None:
        for task in self._states.pop(identity).tasks.values():
            task.cancel()

    async def _probe(
        self, pod: Object, container: Container, seen: RunningContainer, kind: str, probe: Mapping[str, Any],
        state: _State, ips: tuple[str, ...],
    ) -> None:  # fmt: skip
        period = float(probe.get("periodSeconds") or 10)
        if kind != "startup" and container.get("startupProbe"):
            await state.started.wait()
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        run, last = 0, None
        while True:
            passed, text = await self._attempt(container, seen, probe, ips)
            run = run + 1 if passed == last else 1
            last = passed
            if not passed:
                title = kind.capitalize()
                self._record("Warning", "Unhealthy", f"{title} probe failed: {text}")
            needed = probe.get("successThreshold" if passed else "failureThreshold") or (1 if passed else 3)
            if run >= int(needed) and getattr(state, kind) is not passed:
                setattr(state, kind, passed)
                if state.startup:
                    state.started.set()
                self._changed()
                if (kind == "startup" and passed) or (kind != "readiness" and not passed):
                    return
            await asyncio.sleep(period)

    async def _attempt(
        self, container: Container, seen: RunningContainer, probe: Mapping[str, Any], ips: tuple[str, ...]
    ) -> tuple[bool, str]:
        timeout = float(probe.get("timeoutSeconds") or 1)
        host = ips[0] if ips else "127.0.0.1"
        try:
            if action := probe.get("exec"):
                return await run_exec(self._cri, seen.id, action.get("command") or [], timeout)
            if action := probe.get("httpGet"):
                return await http_get(container, action, host, timeout)
            if action := probe.get("tcpSocket"):
                return await tcp_connect(container, action, host, timeout)
            if action := probe.get("grpc"):
                return await grpc_check(action, host, timeout)
        except (CRIError, ServiceUnavailable) as error:
            return False, error.message
        except ValueError as error:
            return False, str(error)
        return False, "the probe names no action"


def _adopt(state: _State, pod: Object, seen: RunningContainer) -> None:
    """A container that an earlier agent found started and ready keeps that until probed anew."""
    status = pod.get("status") or {}
    for known in (*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])):
        if known.get("containerID") == f"containerd://{seen.id}":
            state.startup = True if known.get("started") else None
            if state.startup:
                state.started.set()
            state.readiness = True if known.get("ready") else None


def port_number(container: Container, port: int | str) -> int:
    """A port given by number or by the name of one of the container's. Raises ``ValueError``."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for named in container.get("ports") or []:
        if named.get("name") == port:
            return int(named["containerPort"])
    raise ValueError(f"couldn't find port {port!r} in the ports of container {container['name']}")


async def run_exec(cri: CRI, container: str, command: list[str], timeout: float) -> tuple[bool, str]:
    answer = await cri.exec_sync(container, command, max(int(timeout), 1))
    output = (answer.stdout + answer.stderr)[:_LIMIT].decode(errors="replace").rstrip("\n")
    return answer.exit_code == 0, output


async def http_get(
    container: Container, action: Mapping[str, Any], host: str, timeout: float
) -> tuple[bool, str]:
    """Success is any status from 200 to 399; redirects are followed on the same host only."""
    import aiohttp

    port = port_number(container, action["port"])
    scheme = (action.get("scheme") or "HTTP").lower()
    host = action.get("host") or host
    path = action.get("path") or "/"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
    for header in action.get("httpHeaders") or []:
        headers[header["name"]] = header["value"]
    headers = {key: value for key, value in headers.items() if value}
    limits = aiohttp.ClientTimeout(total=timeout)
    try:
        connector = aiohttp.TCPConnector(ssl=False, force_close=True)
        async with aiohttp.ClientSession(timeout=limits, connector=connector, trust_env=False) as session:
            for _ in range(10):
                async with session.get(url, headers=headers, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if not (300 <= response.status < 400 and location):
                        break
                    following = response.url.join(type(response.url)(location))
                    if following.host != response.url.host:
                        break
                    url = str(following)
    except TimeoutError:
        return (
            False,
            f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return False, f'Get "{url}": {_cause(error, f"{host}:{port}")}'
    if 200 <= response.status < 400:
        return True, ""
    return False, f"HTTP probe failed with statuscode: {response.status}"


def _cause(error: BaseException, address: str) -> str:
    inner = getattr(error, "os_error", None) or error
    if not isinstance(inner, OSError):
        return str(inner)
    text = _reason(inner).lower()
    return f"dial tcp {address}: connect: {text}" if isinstance(inner, ConnectionRefusedError) else text


def _reason(error: OSError) -> str:
    """What the operating system says; the event loop's own text repeats the address."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


async def tcp_connect(
    container: Container, action: Mapping[str, Any], host: str, timeout: float
) -> tuple[bool, str]:
    port = port_number(container, action["port"])
    host = action.get("host") or host
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return False, f"dial tcp {host}:{port}: i/o timeout"
    except OSError as error:
        return False, f"dial tcp {host}:{port}: connect: {_reason(error).lower()}"
    writer.close()
    return True, ""


@dataclass(slots=True)
class _HealthCheckRequest(Message):
    service: Annotated[str, 1] = ""


@dataclass(slots=True)
class _HealthCheckResponse(Message):
    status: Annotated[int, 1] = 0


async def grpc_check(action: Mapping[str, Any], host: str, timeout: float) -> tuple[bool, str]:
    """grpc.health.v1.Health/Check must answer SERVING."""
    import grpc
    import grpc.aio

    async with grpc.aio.insecure_channel(
        f"{host}:{int(action['port'])}", options=[("grpc.enable_http_proxy", 0)]
    ) as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=_HealthCheckRequest.encode,
            response_deserializer=_HealthCheckResponse.decode,
        )
        try:
            answer = await check(_HealthCheckRequest(action.get("service") or ""), timeout=timeout)
        except grpc.RpcError as error:
            return False, f"service unhealthy: {error.code().name}: {error.details()}"
    return (
        (True, "") if answer.status == 1 else (False, f"service unhealthy (responded with {answer.status})")
    )
