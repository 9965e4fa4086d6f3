"""Answers ``/apis/metrics.k8s.io/v1beta1``: to readers as metrics-server does, and to nodes that report.

A node writes ``PUT …/nodes/NAME`` with its NodeMetrics and, in ``pods``, the PodMetrics of its pods. Who may read and
write is decided by the API server before it passes a request on; here only: a node reports of itself.
Source: kubernetes.io, "Resource metrics pipeline".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote

from sublet.client.exchange import Request, Response
from sublet.machinery import codec, objects, quantity, selectors
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    BadRequest,
    MethodNotAllowed,
    StatusError,
    forbidden,
    not_found,
)
from sublet.resourcemetrics.samples import API_VERSION, Samples

GROUP = "metrics.k8s.io"
ROOT = f"/apis/{API_VERSION}"
_NODE_USER = "system:node:"
_RESOURCES: Object = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": API_VERSION,
    "resources": [
        {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
    ],
}  # fmt: skip


class MetricsServer:
    """An :class:`~sublet.client.exchange.Application`."""

    def __init__(self, clock: Clock) -> None:
        self.samples = Samples(clock)

    async def handle(self, request: Request) -> Response:
        try:
            return _json(200, self._answer(request))
        except StatusError as error:
            return _json(error.code, error.to_object())

    def _answer(self, request: Request) -> Object:
        path = unquote(request.path).rstrip("/")
        if path == ROOT:
            return _RESOURCES
        parts = path.removeprefix(ROOT + "/").split("/") if path.startswith(ROOT + "/") else []
        match parts:
            case ["nodes", name] if request.method == "PUT":
                return self._report(request, name)
            case _ if request.method != "GET":
                raise MethodNotAllowed(f"{request.method} is not supported on resource metrics", group=GROUP)
            case ["nodes"]:
                return self._list("NodeMetricsList", self.samples.nodes(), request)
            case ["nodes", name]:
                return _found(self.samples.node(name), "nodes", name)
            case ["pods"]:
                return self._list("PodMetricsList", self.samples.pods(), request)
            case ["namespaces", namespace, "pods"]:
                return self._list("PodMetricsList", self.samples.pods(namespace), request)
            case ["namespaces", namespace, "pods", name]:
                return _found(self.samples.pod(namespace, name), "pods", f"{namespace}/{name}")
        raise not_found(GROUP, "", path)

    def _list(self, kind: str, items: list[Object], request: Request) -> Object:
        query = parse_qs(request.query)
        if query.get("watch", [""])[0] in ("1", "true"):
            raise MethodNotAllowed("resource metrics cannot be watched", group=GROUP)
        if text := query.get("labelSelector", [""])[0]:
            chosen = selectors.parse(text)
            items = [item for item in items if chosen.matches(objects.labels(item))]
        for field in query.get("fieldSelector", [""])[0].split(","):
            items = [item for item in items if _has(item, field)]
        return {"kind": kind, "apiVersion": API_VERSION, "metadata": {}, "items": items}

    def _report(self, request: Request, name: str) -> Object:
        user = request.user.name if request.user is not None else ""
        if user.startswith(_NODE_USER) and user != _NODE_USER + name:
            raise forbidden(
                GROUP, "nodes", name, f"node {user.removeprefix(_NODE_USER)!r} may report of itself only"
            )
        try:
            document = codec.decode_json(request.body)
        except codec.DecodeError as error:
            raise BadRequest(f"the report is no JSON: {error}") from None
        node = _metrics(document, "NodeMetrics", name)
        node["usage"] = _usage(document.get("usage"), name)
        pods = [_pod(each) for each in document.get("pods") or ()]
        self.samples.put(node, pods)
        return node


def _metrics(document: Any, kind: str, name: str) -> Object:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or metadata.get("name") != name or not name:
        raise BadRequest(f"a report of {name or 'a pod'} must be {kind} with that name in its metadata")
    kept = {key: metadata[key] for key in ("name", "namespace", "labels") if metadata.get(key)}
    when = document.get("timestamp")
    if not isinstance(when, str) or not isinstance(document.get("window"), str):
        raise BadRequest(f"a report of {name} must say when (timestamp) and over what time (window)")
    return {
        "kind": kind, "apiVersion": API_VERSION, "metadata": {**kept, "creationTimestamp": when},
        "timestamp": when, "window": document["window"],
    }  # fmt: skip


def _pod(document: Any) -> Object:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = str((metadata or {}).get("name") or "")
    pod = _metrics(document, "PodMetrics", name)
    if not pod["metadata"].get("namespace"):
        raise BadRequest(f"a report of pod {name} must say its namespace")
    pod["containers"] = [
        {"name": str(each.get("name") or ""), "usage": _usage(each.get("usage"), name)}
        for each in document.get("containers") or ()
    ]
    return pod


def _usage(stated: Any, name: str) -> Object:
    if not isinstance(stated, dict):
        raise BadRequest(f"a report of {name} lacks its usage")
    try:
        return {str(key): str(quantity.parse(str(value))) for key, value in stated.items()}
    except ValueError as error:
        raise BadRequest(f"usage of {name}: {error}") from None


def _found(metrics: Object | None, plural: str, name: str) -> Object:
    if metrics is None:
        raise not_found(GROUP, plural, name)
    return metrics


def _has(item: Object, stated: str) -> bool:
    key, _, value = stated.partition("=")
    if not key:
        return True
    wanted = {"metadata.name": "name", "metadata.namespace": "namespace"}.get(key)
    if wanted is None:
        raise BadRequest(f"field label not supported: {key}")
    return bool(item["metadata"].get(wanted) == value.lstrip("="))


def _json(code: int, document: Object) -> Response:
    return Response(code, [("Content-Type", "application/json")], codec.encode_json(document))
