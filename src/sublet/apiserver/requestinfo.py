"""What a request asks for, read from its method, path and query as Kubernetes reads them.

Source: reference/kubernetes-api.md B.5, B.15 (verbs); the Kubernetes API concepts page, "Resource URIs".
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

from msgspec import Struct, field

from sublet.client.exchange import Request

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
CONNECT = frozenset(("log", "exec", "attach", "portforward", "proxy"))
"""Subresources whose verbs are not those of objects, and whose requests last as long as they like."""
_NAMESPACE_SUBRESOURCES = frozenset(("status", "finalize"))
_NO_QUERY: Mapping[str, list[str]] = {}


def _is_false(text: str) -> bool:
    return text == "0" or text.lower() == "false"


class RequestInfo(Struct):
    """One request, taken apart. For non-resource requests only ``verb``, ``path`` and ``parts`` say anything."""

    verb: str
    """``get list watch create update patch delete deletecollection``; the lower-case method off resources."""
    path: str
    """Percent-decoded."""
    is_resource: bool = False
    api_group: str = ""
    api_version: str = ""
    namespace: str = ""
    """For ``namespaces/x`` itself also ``x``, as upstream."""
    resource: str = ""
    """The plural name."""
    subresource: str = ""
    name: str = ""
    """Also that of a list or watch (not a deletecollection) limited by ``metadata.name`` in its field selector."""
    parts: tuple[str, ...] = ()
    """Path segments from the resource on: ``("pods", "web", "proxy", "index.html")``."""
    field_selector: str = ""
    label_selector: str = ""
    params: Mapping[str, list[str]] = field(default_factory=dict)
    """The decoded query; repeated keys in order."""

    @property
    def long_running(self) -> bool:
        """Whether the request may last as long as it likes: a watch, a log, a connection."""
        return self.verb == "watch" or self.subresource in CONNECT

    def as_create(self) -> RequestInfo:
        """The same place asked for with the verb create."""
        return RequestInfo(
            "create", self.path, True, self.api_group, self.api_version, self.namespace, self.resource,
            self.subresource, self.name,
        )  # fmt: skip

    def param(self, key: str) -> str:
        """The first value of a query parameter, or ``""``."""
        found = self.params.get(key)
        return found[0] if found else ""

    def flag(self, key: str) -> bool:
        """A boolean query parameter: absent, ``0`` and ``false`` are False, anything else is True."""
        found = self.params.get(key)
        return bool(found) and not _is_false(found[0])  # type: ignore[index]  # bool(found) narrowed it


def parse(request: Request) -> RequestInfo:
    """The RequestInfo of a request. Never raises: what cannot be a resource request is a non-resource one."""
    path = request.path
    if "%" in path:
        path = unquote(path)
    params = parse_qs(request.query, keep_blank_values=True) if request.query else _NO_QUERY
    parts = (
        ([part for part in path.split("/") if part] or [""]) if "//" in path else path.strip("/").split("/")
    )
    prefix = parts[0]
    needed = 3 if prefix == "api" else 4 if prefix == "apis" else 0
    if not needed or len(parts) < needed:
        return RequestInfo(request.method.lower(), path, params=params, parts=tuple(parts))
    if prefix == "api":
        info = RequestInfo(_VERBS.get(request.method, ""), path, True, "", parts[1], params=params)
        rest = parts[2:]
    else:
        info = RequestInfo(_VERBS.get(request.method, ""), path, True, parts[1], parts[2], params=params)
        rest = parts[3:]
    if rest[0] == "watch" and len(rest) > 1:
        info.verb = "watch"
        rest = rest[1:]
    _address(info, rest)
    if not info.name:
        _collection(info)
    elif info.verb == "watch":
        _selectors(info)
        info.field_selector = info.field_selector or f"metadata.name={info.name}"
    return info


def _address(info: RequestInfo, rest: list[str]) -> None:
    """Fills namespace, resource, name and subresource from the segments after the version."""
    if rest[0] == "namespaces" and len(rest) > 1:
        info.namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    info.parts = tuple(rest)
    info.resource = rest[0]
    if len(rest) > 1:
        info.name = rest[1]
        if len(rest) > 2:
            info.subresource = rest[2]


def _collection(info: RequestInfo) -> None:
    """Turns the verb of a request on a collection into list, watch or deletecollection."""
    if info.verb == "get":
        watching = info.params.get("watch")
        info.verb = "watch" if watching and not _is_false(watching[0]) else "list"
    elif info.verb == "delete":
        info.verb = "deletecollection"
    if info.verb in ("list", "watch", "deletecollection"):
        _selectors(info)
        if info.field_selector and info.verb != "deletecollection":
            info.name = _named(info.field_selector)


def _selectors(info: RequestInfo) -> None:
    if info.params:
        info.field_selector = info.param("fieldSelector")
        info.label_selector = info.param("labelSelector")


def _named(selector: str) -> str:
    """The name that a field selector pins down, or ``""`` (a value that is no path segment names nothing)."""
    if "\\" in selector:
        return ""
    for requirement in selector.split(","):
        key, operator, value = requirement.partition("=")
        if operator and key == "metadata.name":
            value = value.removeprefix("=")
            if value and "/" not in value and "%" not in value and value not in (".", ".."):
                return value
    return ""
