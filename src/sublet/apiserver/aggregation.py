"""API aggregation: groups and versions that other API servers serve behind this one (reference B.19).

An APIService with a ``service`` says who. Requests for its group and version are passed on, saying who asks
(``X-Remote-*`` headers, believed for the front-proxy certificate); discovery and OpenAPI are merged in.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver.aggregation_documents import Documents
from sublet.apiserver.aggregation_local import LocalAPIServices
from sublet.apiserver.follower import Follower
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.webhookclient import CallFailed, socket_reason, tls_context
from sublet.client.exchange import IN_PROCESS, Application, Request, Response, User
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import ServiceUnavailable

if TYPE_CHECKING:
    from sublet.apiserver.aggregation_availability import Availability
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

GROUP, PLURAL = "apiregistration.k8s.io", "apiservices"
PREFIX = f"/registry/{GROUP}/{PLURAL}/"
AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
"""As whom this server itself asks the others."""
_REDIRECTED = b"the backend attempted to redirect this request, which is not permitted"
_SECRETS = ("authorization", "cookie", "proxy-authorization")
_SECRET_PREFIXES = ("impersonate-", "x-remote-")


class Remote(Struct, frozen=True):
    """Another API server, for one group and version."""

    name: str
    """Of the APIService: ``v1.example.com``."""
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: bytes
    insecure: bool
    group_priority: int
    version_priority: int
    available: bool

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}"

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc"


def remote_of(api_service: Object) -> Remote | None:
    """What an APIService says; None where this server itself serves it."""
    spec = api_service.get("spec") or {}
    service = spec.get("service")
    if not service:
        return None
    try:
        ca = base64.b64decode(spec.get("caBundle") or "")
    except (binascii.Error, ValueError):
        ca = b"not base64"
    return Remote(
        objects.name(api_service),
        str(spec.get("group") or ""),
        str(spec.get("version") or ""),
        str(service.get("namespace") or ""),
        str(service.get("name") or ""),
        int(service.get("port") or 443),
        ca,
        bool(spec.get("insecureSkipTLSVerify")),
        int(spec.get("groupPriorityMinimum") or 0),
        int(spec.get("versionPriority") or 0),
        objects.is_true(api_service, "Available"),
    )


class Aggregation:
    """Between :meth:`start` and :meth:`stop`: knows the other API servers and passes requests on to them."""

    def __init__(self, api: APIServer) -> None:
        self._api = api
        self.remotes: dict[tuple[str, str], Remote] = {}
        """(group, version) -> who serves it. Empty in most clusters."""
        self.hosted: dict[tuple[str, str], Application] = {}
        """(namespace, name) of a Service -> the server in this process that stands for it; needs no such Service."""
        self.documents = Documents(api.discovery, api.openapi)
        self.local = LocalAPIServices(api)
        self._follower = Follower(api.caches.cache(PREFIX), self._changed, self._reset)
        self._contexts: dict[tuple[bytes, bool], ssl.SSLContext] = {}
        self._proxy_pair = (api.settings.proxy_client_cert, api.settings.proxy_client_key)
        self._availability: dict[str, Availability] = {}
        self._ended: set[asyncio.Task[None]] = set()
        self._reasons: dict[str, str] = {}
        """APIService -> the reason of its condition."""
        self._lost: dict[tuple[str, str], int] = {}
        """(APIService, reason) -> how often it became unavailable for it."""

    def start(self) -> None:
        self._follower.start()
        self.local.start()

    async def stop(self) -> None:
        await self.local.stop()
        await self._follower.stop()
        for each in tuple(self._availability.values()):
            await each.stop()
        self._availability.clear()
        await asyncio.gather(*self._ended, return_exceptions=True)

    def told(self, place: tuple[str, str], *, available: bool, reason: str) -> None:
        """Whether the server for a group and version was found to answer, and why it is thought so."""
        remote = self.remotes.get(place)
        if remote is None:
            return
        if not available and self._reasons.get(remote.name) != reason:
            key = remote.name, reason
            self._lost[key] = self._lost.get(key, 0) + 1
        self._reasons[remote.name] = reason
        if remote.available != available:
            self.remotes[place] = replace(remote, available=available)

    # -- requests --

    def responsible(self, info: RequestInfo) -> Remote | None:
        """Who serves what a request asks for, if it is another API server."""
        if info.is_resource:
            return self.remotes.get((info.api_group, info.api_version))
        parts = [part for part in info.parts if part]
        if len(parts) == 3 and parts[0] == "apis":
            return self.remotes.get((parts[1], parts[2]))
        return None

    async def answer(self, request: Request, remote: Remote) -> Response:
        """Passes a request on as its user, upgrades and watches included; 503 where nobody can answer."""
        if not remote.available:
            return _unavailable(request, "service unavailable")
        user = request.user
        if user is None:
            return Response(500, [("Content-Type", "text/plain; charset=utf-8")], b"missing user\n")
        try:
            return await self.send(replace(request, headers=_passed(request)), remote, user)
        except CallFailed as error:
            _log.warning("the API server for %s cannot be found: %s", remote.name, error)
            return _unavailable(request, "service unavailable")
        except ServiceUnavailable as error:
            return _unavailable(request, f"error trying to reach service: {error.message}")

    async def send(self, request: Request, remote: Remote, user: User) -> Response:
        """The other server's response. Raises :class:`CallFailed` where nobody knows where it is, else
        ``ServiceUnavailable`` with Go's words."""
        address = await self.address(remote)
        response = await self._send(request, remote, user, address)
        if 300 <= response.status < 400 and response.header("location"):
            if not isinstance(response.body, bytes):
                await response.body.aclose()  # type: ignore[attr-defined]
            return Response(502, [], _REDIRECTED)
        return response

    async def address(self, remote: Remote) -> str:
        """``host:port`` where it listens now. Raises :class:`CallFailed`."""
        if (remote.namespace, remote.service) in self.hosted:
            return IN_PROCESS
        host, port = await self._api.resolve_service(remote.namespace, remote.service, remote.port)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def ask(
        self, remote: Remote, path: str, address: str, *, insecure: bool = False
    ) -> tuple[int, bytes]:
        """A GET by this server itself: (status, body). Raises ``ServiceUnavailable``.

        ``insecure``: whoever listens there is believed.
        """
        from sublet.client import tunnel

        request = Request("GET", path, headers={"accept": "application/json"})
        response = await self._send(request, remote, AGGREGATOR, address, insecure=insecure)
        return response.status, await tunnel.whole(response, 64 << 20)

    async def _send(
        self, request: Request, remote: Remote, user: User, address: str, *, insecure: bool = False
    ) -> Response:
        from sublet.client import tunnel

        hosted = self.hosted.get((remote.namespace, remote.service))
        if hosted is not None:
            return await hosted.handle(replace(request, user=user))
        context = self._context(replace(remote, insecure=True) if insecure else remote)
        try:
            return await tunnel.send(
                f"https://{address}", request, request.path, _identity(user, request.remote), context,
                remote.server_name,
            )  # fmt: skip
        except tunnel.Unreachable as error:
            raise ServiceUnavailable(socket_reason(error.error, address)) from error.error

    def _context(self, remote: Remote) -> ssl.SSLContext:
        key = (remote.ca, remote.insecure)
        context = self._contexts.get(key)
        if context is None:
            context = tls_context(remote.ca)
            if remote.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            certificate, private = self._proxy_pair
            if certificate:
                _load_chain(context, certificate, private)
            self._contexts[key] = context
        return context

    def renew(self, certificate: bytes, key: bytes) -> None:
        """Shows a renewed front-proxy certificate (PEM) to servers from the next connection on."""
        self._proxy_pair = (certificate, key)
        self._contexts.clear()

    # -- who there is --

    def _reset(self) -> None:
        for name in tuple(self._availability):
            self._forget(name)

    def _changed(self, key: str, api_service: Object | None) -> None:
        name = key.rpartition("/")[2]
        self.local.look()
        remote = remote_of(api_service) if api_service is not None else None
        known = next((each for each in self.remotes.values() if each.name == name), None)
        if remote is None:
            self._forget(name)
            return
        if known is not None and (known.group, known.version) != (remote.group, remote.version):
            self._forget(name)
        self.remotes[remote.group, remote.version] = remote
        if known is None or replace(known, available=remote.available) != remote:
            self._contexts.clear()
            self._watch(remote)
        self.documents.known(remote)

    def _watch(self, remote: Remote) -> None:
        from sublet.apiserver.aggregation_availability import Availability

        self._end(self._availability.pop(remote.name, None))
        self._availability[remote.name] = Availability(self._api, self, remote.group, remote.version)

    def _forget(self, name: str) -> None:
        self._end(self._availability.pop(name, None))
        self._reasons.pop(name, None)
        for key in [key for key in self._lost if key[0] == name]:
            del self._lost[key]
        for place, remote in tuple(self.remotes.items()):
            if remote.name == name:
                del self.remotes[place]
                self.documents.gone(remote)

    def _end(self, availability: Availability | None) -> None:
        if availability is not None:
            task = asyncio.ensure_future(availability.stop())
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)

    def lines(self) -> Iterator[str]:
        """Metrics, under upstream's names."""
        if not self.remotes:
            return
        metric = "aggregator_unavailable_apiservice"
        yield f"# HELP {metric} [ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name."
        yield f"# TYPE {metric} gauge"
        for remote in self.remotes.values():
            yield f'{metric}{{name="{remote.name}"}} {0 if remote.available else 1}'
        if self._lost:
            metric += "_total"
            yield f"# HELP {metric} [ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and reason."
            yield f"# TYPE {metric} counter"
            for (name, reason), count in self._lost.items():
                yield f'{metric}{{name="{name}",reason="{reason}"}} {count}'


def _passed(request: Request) -> Mapping[str, str]:
    """The headers that may leave this server: none lets the receiver act as the user, none pretends to be us."""
    return {
        name: value
        for name, value in request.headers.items()
        if name not in _SECRETS and not name.startswith(_SECRET_PREFIXES)
    }


def _identity(user: User, peer: str) -> list[tuple[str, str]]:
    """Who asks, for the other server (RequestHeader authentication)."""
    found = [("X-Remote-User", user.name)]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        found += [(f"X-Remote-Extra-{quote(key, safe='')}", value) for value in values]
    if peer:
        found.append(("X-Forwarded-For", peer.rpartition(":")[0].strip("[]")))
    return found


def _unavailable(request: Request, text: str) -> Response:
    request.context["terminated"] = True
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
    return Response(503, headers, f"{text}\n".encode())


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads chains from files only: one that only we can read, gone when read."""
    import os
    import tempfile

    handle, name = tempfile.mkstemp(prefix="sublet-proxy-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink(missing_ok=True)


__all__ = ["AGGREGATOR", "Aggregation", "Remote", "remote_of"]
