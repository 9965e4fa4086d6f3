"""Admission of what is no stored object: the options of a connection, a Binding, an Eviction, a TokenRequest, a review."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sublet.apiserver.admission.framework import CONNECT, CREATE, Attributes
from sublet.apiserver.calls import warnings
from sublet.apiserver.options import WriteOptions
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request
from sublet.kinds import schemas
from sublet.machinery import managedfields
from sublet.machinery.kind import Object
from sublet.machinery.status import Unauthorized

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_STREAMS = ("stdin", "stdout", "stderr", "tty")


async def admit_created(
    request: Request, info: RequestInfo, api: APIServer, obj: Object, options: WriteOptions, name: str = "",
    check: Callable[[], object] | None = None,
) -> None:  # fmt: skip
    """Asks all plug-ins about what is posted, which they may change in place.

    ``check`` refuses what has gone through the mutating ones and is wrong, before the validating ones see it.
    """
    _manage(info, api, obj, options)
    await _admit(request, info, api, CREATE, obj, options, name or info.name, check)


def _manage(info: RequestInfo, api: APIServer, obj: Object, options: WriteOptions) -> None:
    """Says whose the fields are, as of any object that is created."""
    group, _, version = obj["apiVersion"].rpartition("/")
    obj.setdefault("metadata", {})
    managedfields.update(
        None, obj, manager=options.manager, api_version=obj["apiVersion"], subresource=info.subresource,
        now=api.clock.now(), schema=schemas.definition(api.settings.minor, group, version, obj["kind"]),
    )  # fmt: skip


async def admit_connection(request: Request, info: RequestInfo, api: APIServer) -> None:
    """Asks all plug-ins about an exec, attach, port-forward or proxy request."""
    await _admit(request, info, api, CONNECT, connect_options(info, api), WriteOptions(), info.name)


async def _admit(
    request: Request, info: RequestInfo, api: APIServer, operation: str, obj: Object, options: WriteOptions,
    name: str, check: Callable[[], object] | None = None,
) -> None:  # fmt: skip
    admission = api.registry.admission
    found = api.kinds.find(info.api_group, info.api_version, info.resource)
    if found is None or admission is None:
        if check is not None:
            check()
        return
    if request.user is None:
        raise Unauthorized
    kind, resource = found
    attributes = Attributes(
        operation, kind, resource, info.subresource, info.namespace if resource.namespaced else "", name,
        obj, None, request.user, options.dry_run, options.body, warnings(request),
        annotations=request.context.setdefault("audit_annotations", {}), shown=(obj, None),
    )  # fmt: skip
    try:
        await admission.admit(attributes)
        if check is not None:
            check()
        await admission.validate(attributes)
    finally:
        attributes.settle()


def connect_options(info: RequestInfo, api: APIServer) -> Object:
    """The options object of a connection (``PodExecOptions``, ``PodProxyOptions`` ...), from its query and path."""
    found = api.kinds.find(info.api_group, info.api_version, info.resource)
    below = found[0].subresources.get(info.subresource) if found is not None else None
    made: Object = {"kind": below.kind if below is not None else "", "apiVersion": info.api_version}
    if info.subresource == "proxy":
        if path := "/".join(info.parts[3:]):
            made["path"] = unquote(path)
        return made
    if info.subresource == "portforward":
        ports = [
            int(text) for value in info.params.get("ports", ()) for text in value.split(",") if text.isdigit()
        ]
        return {**made, "ports": ports} if ports else made
    made |= {key: True for key in _STREAMS if info.flag(key)}
    if container := info.param("container"):
        made["container"] = container
    if info.subresource == "exec" and (command := info.params.get("command")):
        made["command"] = list(command)
    return made
