"""The agent's HTTPS endpoint, as a kubelet serves it: logs, exec, attach, port-forward, pods, health, metrics.

Only the API server may use it: it proves itself by a client certificate of the cluster's authority.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote

from sublet.client.exchange import Request, Response
from sublet.machinery import codec, objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, Forbidden, NotFound, Unauthorized
from sublet.node import crimessages as m
from sublet.node import poddata
from sublet.node.cri import CRI, CRIError
from sublet.node.logs import LogOptions, read_log
from sublet.node.remotecommand import Wanted, asks_for_v5, translate_to
from sublet.node.runtime import PodRuntime, RunningContainer, RuntimeView
from sublet.node.settings import NodeSettings
from sublet.node.streaming import splice_to, supported_protocols
from sublet.node.tunnelled import asks_for_tunnel, tunnel_to

_TRUE = ("1", "true", "True")


class Pods(Protocol):
    """The pods of this node."""

    def pod(self, namespace: str, name: str) -> Object | None: ...
    def all_pods(self) -> list[Object]: ...
    def health(self) -> str:
        """Empty when all is well."""
        ...


class NodeServer:
    """The :class:`~sublet.client.exchange.Application` behind the endpoint."""

    def __init__(
        self,
        settings: NodeSettings,
        cri: CRI,
        view: RuntimeView,
        pods: Pods,
        clock: Clock,
        metrics: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._cri = cri
        self._view = view
        self._pods = pods
        self._clock = clock
        self._metrics = metrics

    async def handle(self, request: Request) -> Response:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts[0] in ("healthz", "livez", "readyz"):
            wrong = self._pods.health()
            return Response(500 if wrong else 200, [("Content-Type", "text/plain")], (wrong or "ok").encode())
        self._authorize(request)
        query = parse_qs(request.query, keep_blank_values=True)
        if parts == ["pods"]:
            listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods.all_pods()}
            return Response(200, [("Content-Type", "application/json")], codec.encode_json(listed))
        if parts == ["metrics"]:
            return Response(200, [("Content-Type", "text/plain; version=0.0.4")], self._metrics().encode())
        if parts[0] == "containerLogs" and len(parts) == 4:
            return await self._logs(parts[1], parts[2], parts[3], query)
        if parts[0] in ("exec", "attach") and len(parts) in (4, 5):
            return await self._stream(parts[0], parts[1], parts[2], parts[-1], query, request)
        if parts[0] == "portForward" and len(parts) in (3, 4):
            return await self._port_forward(parts[1], parts[2], query, request)
        raise NotFound(f"the node agent serves no {request.path}")

    def _authorize(self, request: Request) -> None:
        if request.peer_certificate is None:
            raise Unauthorized
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        subject = x509.load_der_x509_certificate(request.peer_certificate).subject
        names = [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        if "system:masters" not in groups and not set(names) & set(self._settings.api_server_users):
            raise Forbidden(f"user {names!r} may not use the node agent's endpoint")

    def _pod(self, namespace: str, name: str) -> Object:
        pod = self._pods.pod(namespace, name)
        if pod is None:
            raise NotFound(f'pod "{namespace}/{name}" not found')
        return pod

    async def _container(self, pod: Object, name: str) -> tuple[PodRuntime, RunningContainer | None]:
        if poddata.find_container(pod, name) is None:
            raise BadRequest(f"container {name} is not valid for pod {objects.name(pod)}")
        view = await self._view.pod(objects.uid(pod))
        return view, view.latest(name)

    async def _logs(self, namespace: str, name: str, container: str, query: dict[str, list[str]]) -> Response:
        pod = self._pod(namespace, name)
        view, last = await self._container(pod, container)
        if _flag(query, "previous"):
            last = (
                view.previous(container)
                if last is None or not last.ended or not _crashed(pod, container)
                else last
            )
            if last is None:
                raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
        if last is None or not last.log_path:
            reason = _waiting_reason(pod, container)
            raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
        identity, alive = last.id, [last.running]
        options = self._log_options(query)

        def running() -> bool:
            return alive[0]

        async def body() -> object:
            import asyncio

            async def watch() -> None:
                while alive[0]:
                    await asyncio.sleep(0.5)
                    seen = (await self._view.pod(objects.uid(pod))).by_id(identity)
                    alive[0] = seen is not None and seen.running

            watching = asyncio.ensure_future(watch()) if options.follow else None
            try:
                async for chunk in read_log(Path(last.log_path), options, running):
                    yield chunk
            finally:
                if watching is not None:
                    watching.cancel()

        return Response(200, [("Content-Type", "text/plain")], body())  # type: ignore[arg-type]

    def _log_options(self, query: dict[str, list[str]]) -> LogOptions:
        since = 0.0
        if text := _one(query, "sinceTime"):
            try:
                since = objects.parse_time(text)
            except ValueError:
                raise BadRequest(f"sinceTime: {text!r} is not an RFC 3339 time") from None
        elif text := _one(query, "sinceSeconds"):
            since = self._clock.now() - _number("sinceSeconds", text)
        return LogOptions(
            follow=_flag(query, "follow"),
            timestamps=_flag(query, "timestamps"),
            since=since,
            tail=_number("tailLines", _one(query, "tailLines") or "-1"),
            limit=_number("limitBytes", _one(query, "limitBytes") or "0"),
            stream=_one(query, "stream") or "All",
        )

    async def _stream(
        self,
        kind: str,
        namespace: str,
        name: str,
        container: str,
        query: dict[str, list[str]],
        request: Request,
    ) -> Response:
        pod = self._pod(namespace, name)
        _, running = await self._container(pod, container)
        if running is None or not running.running:
            raise NotFound(f'container "{container}" in pod "{name}" is not running')
        by_v5 = asks_for_v5(request)
        headers = [] if by_v5 else supported_protocols(request)
        tty = _flag(query, "tty")
        stdin, stdout, stderr = (_flag(query, key) for key in ("input", "output", "error"))
        try:
            if kind == "exec":
                command = query.get("command") or []
                if not command:
                    raise BadRequest("you must specify at least 1 command for the exec request")
                url = await self._cri.exec_url(
                    m.ExecRequest(running.id, command, tty, stdin, stdout, stderr and not tty)
                )
            else:
                spec = poddata.find_container(pod, container) or {}
                tty, stdin = bool(spec.get("tty")), stdin and bool(spec.get("stdin"))
                url = await self._cri.attach_url(
                    m.AttachRequest(running.id, stdin, tty, stdout, stderr and not tty)
                )
        except CRIError as error:
            raise NotFound(error.message) if error.not_found else error from None
        if by_v5:
            return await translate_to(url, request, Wanted(stdin, stdout, stderr, tty))
        return await splice_to(url, request, headers)

    async def _port_forward(
        self, namespace: str, name: str, query: dict[str, list[str]], request: Request
    ) -> Response:
        pod = self._pod(namespace, name)
        view = await self._view.pod(objects.uid(pod))
        sandbox = view.sandbox
        if sandbox is None or not sandbox.ready:
            raise NotFound(f'pod "{name}" is not running')
        tunnelled = asks_for_tunnel(request)
        headers = [] if tunnelled else supported_protocols(request)
        ports = [_number("port", value) for value in query.get("port") or query.get("ports") or []]
        url = await self._cri.port_forward_url(m.PortForwardRequest(sandbox.id, ports))
        return await tunnel_to(url, request) if tunnelled else await splice_to(url, request, headers)


def _one(query: dict[str, list[str]], key: str) -> str:
    return (query.get(key) or [""])[0]


def _flag(query: dict[str, list[str]], key: str) -> bool:
    return _one(query, key) in _TRUE


def _number(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{key}: {text!r} is not a number") from None


def _status_of(pod: Object, container: str) -> dict[str, object]:
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(key) or []:
            if entry["name"] == container:
                return entry.get("state") or {}
    return {}


def _waiting_reason(pod: Object, container: str) -> str:
    waiting = _status_of(pod, container).get("waiting")
    if isinstance(waiting, dict):
        message = waiting.get("message")
        reason = waiting.get("reason") or "ContainerCreating"
        return (
            f"{message}"
            if message and reason not in ("PodInitializing", "ContainerCreating")
            else str(reason)
        )
    return "ContainerCreating"


def _crashed(pod: Object, container: str) -> bool:
    """Whether the newest container has ended and the next attempt is being waited for: then it is the previous."""
    return "waiting" in _status_of(pod, container)


def server_context(settings: NodeSettings, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS with client certificates asked for; who shows none may see the health only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    authority = settings.client_ca or (settings.access.ca_data if settings.access else b"")
    if authority:
        context.load_verify_locations(cadata=authority.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context
