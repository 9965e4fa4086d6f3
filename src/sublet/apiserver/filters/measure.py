"""Counts requests and how long they took, under upstream's names."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.apiserver.health import ENDPOINTS
from sublet.apiserver.metrics import LATENCY, Labels, Metrics
from sublet.apiserver.requestinfo import CONNECT, RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery import durations
from sublet.machinery.clock import Clock

_VERBS = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_APPLY = "application/apply-patch"


class Measure:
    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        metrics = self._metrics
        labels = labels_of(request, request.context["info"])
        started = self._clock.monotonic()
        kind = metrics.begin(labels)
        try:
            response = await proceed(request)
        finally:
            metrics.end(kind)
        body = response.body
        size = len(body) if type(body) is bytes else -1
        notes = request.context.get("audit_annotations")
        held_up = _held_up(notes) if notes else 0.0
        metrics.observe(labels, response.status, self._clock.monotonic() - started, size, held_up)
        if response.status >= 500 and "terminated" in request.context:
            metrics.terminations.add(f'code="{response.status}",{labels.without_dry_run()}')
        return response


def _held_up(notes: dict[str, str]) -> float:
    """Seconds that webhooks and queues took."""
    return sum(durations.parse(text) for key, text in notes.items() if key.startswith(LATENCY))


def labels_of(request: Request, info: RequestInfo) -> Labels:
    """The series a request is counted in."""
    if not info.is_resource:
        verb = request.method if request.method in _METHODS else "other"
        where = info.path if info.parts[0] in ENDPOINTS and len(info.parts) == 1 else ""
        return Labels(verb, "", "", "", "", where, "")
    verb = "CONNECT" if info.subresource in CONNECT else _VERBS.get(info.verb, "other")
    if verb == "PATCH" and request.headers.get("content-type", "").startswith(_APPLY):
        verb = "APPLY"
    dry_run = "All" if "dryRun" in info.params else ""
    if info.name or verb == "POST":
        scope = "resource"
    else:
        scope = "namespace" if info.namespace else "cluster"
    return Labels(verb, dry_run, info.api_group, info.api_version, info.resource, info.subresource, scope)
