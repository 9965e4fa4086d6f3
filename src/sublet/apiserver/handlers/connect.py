"""``log``, ``exec``, ``attach``, ``portforward`` and ``proxy``: hands the request to whoever reaches the nodes (B.13).

What the API server knows is done here: which container, whether the options make sense, which pod of a Service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from msgspec.structs import replace

from sublet.apiserver import podproxy
from sublet.apiserver.admission.besides import admit_connection
from sublet.apiserver.authentication.authenticator import BEARER_PROTOCOL
from sublet.apiserver.dispatch import router_refusal
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.client.podstreams import PodStreams
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    BadRequest,
    FieldError,
    ServiceUnavailable,
    invalid,
    invalid_object,
)

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_SECRETS = ("authorization", "cookie", "proxy-authorization")
_SECRET_PREFIXES = ("impersonate-", "x-remote-")
_METHODS = {
    "log": ("GET",),
    "exec": ("GET", "POST"),
    "attach": ("GET", "POST"),
    "portforward": ("GET", "POST"),
}
_INTEGERS = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
"""Log options that are numbers, and the smallest each may be."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """The response of the pod's node."""
    if "dryRun" in info.params and info.subresource != "log":
        raise BadRequest("dryRun is not supported")
    if info.subresource == "proxy":
        await admit_connection(request, info, api)
        return await podproxy.handle(without_credentials(request), info, api)
    if request.method not in _METHODS[info.subresource]:
        raise router_refusal()
    if info.subresource != "log":
        await admit_connection(request, info, api)
    pod = await _pod(info, api)
    if info.subresource == "log":
        _check_log(info)
    if not (pod.get("spec") or {}).get("nodeName"):
        if info.subresource == "log":
            return Response(200, [("Content-Type", "text/plain")])
        raise BadRequest(f"pod {info.name} does not have a host assigned")
    if info.subresource != "portforward":
        request = _with_container(request, info, container_of(pod, info.param("container")))
    return await streams(api).connect(pod, info.subresource, without_credentials(request))


def streams(api: APIServer) -> PodStreams:
    """Who reaches the nodes. Raises ``ServiceUnavailable`` where nobody does."""
    if api.pod_streams is None:
        raise ServiceUnavailable("this control plane has no connection to the nodes its pods run on")
    return api.pod_streams


async def _pod(info: RequestInfo, api: APIServer) -> Object:
    kind = api.kinds.stored("", "pods")
    assert kind is not None
    return await api.registry.get(kind, info.namespace, info.name)


def container_of(pod: Object, asked: str) -> str:
    """The container meant. Raises ``BadRequest`` when it must be named, or is none of the pod's."""
    spec = pod.get("spec") or {}
    name = objects.name(pod)
    regular, initial, ephemeral = (
        [str(container["name"]) for container in spec.get(key) or ()]
        for key in ("containers", "initContainers", "ephemeralContainers")
    )
    if asked:
        if asked in (*regular, *initial, *ephemeral):
            return asked
        raise BadRequest(f"container {asked} is not valid for pod {name}")
    if len(regular) == 1:
        return regular[0]
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(regular)}]"
    if initial:
        message += f" or one of the init containers: [{' '.join(initial)}]"
    if ephemeral:
        message += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise BadRequest(message)


def _check_log(info: RequestInfo) -> None:
    errors: list[FieldError] = []
    for option, least in _INTEGERS.items():
        text = info.param(option)
        if not text:
            continue
        try:
            value = int(text)
        except ValueError:
            raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if value < least:
            detail = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            errors.append(invalid(option, value, detail))
    if info.param("sinceSeconds") and info.param("sinceTime"):
        errors.append(
            invalid(
                "sinceSeconds",
                info.param("sinceSeconds"),
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            )
        )
    if errors:
        raise invalid_object("", "PodLogOptions", info.name, errors)


def _with_container(request: Request, info: RequestInfo, container: str) -> Request:
    pairs = [(k, v) for k, values in info.params.items() if k != "container" for v in values]
    return replace(request, query=urlencode([("container", container), *pairs], quote_via=quote))


def without_credentials(request: Request) -> Request:
    """The request as it may leave this server: nothing in it lets the receiver act as the user."""
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in _SECRETS and not name.startswith(_SECRET_PREFIXES)
    }
    if offered := headers.get("sec-websocket-protocol"):
        kept = [p.strip() for p in offered.split(",") if not p.strip().startswith(BEARER_PROTOCOL)]
        headers["sec-websocket-protocol"] = ", ".join(kept)
    return replace(request, headers=headers, peer_certificate=None)
