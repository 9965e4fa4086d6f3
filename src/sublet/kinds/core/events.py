"""Event: stored in the core group's shape, also served as ``events.k8s.io/v1``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sublet.kinds import resources
from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, rule
from sublet.machinery.kind import Object, Served
from sublet.machinery.status import invalid, required

_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Core name -> name in events.k8s.io; all other fields are called the same."""
_BACK = {new: old for old, new in _RENAMED.items()}
_UNSTATED = ("reportingComponent", "reportingInstance")
"""Always there in the core group's shape; here only with a value."""
_NEW = resources.resource("events.events.k8s.io")


def _from_stored(event: Object) -> Object:
    made = {_RENAMED.get(key, key): value for key, value in event.items() if value or key not in _UNSTATED}
    return {**made, "apiVersion": _NEW.api_version, "kind": "Event"}


def _to_stored(event: Object) -> Object:
    made = {_BACK.get(key, key): value for key, value in event.items()}
    return {**made, "apiVersion": "v1", "kind": "Event"}


def _validate(event: Object) -> Errors:
    namespace = (event.get("metadata") or {}).get("namespace") or ""
    involved = (event.get("involvedObject") or {}).get("namespace") or ""
    if involved:
        if involved != namespace:
            yield invalid("involvedObject.namespace", involved, "does not match event.namespace")
    elif namespace not in ("", "default", "kube-system"):
        yield invalid("involvedObject.namespace", involved, "does not match event.namespace")
    if event.get("eventTime") and (kind := event.get("type")) not in ("Normal", "Warning"):
        yield invalid("type", kind or "", "has invalid value")
    if event.get("eventTime") and not event.get("reportingComponent"):
        yield required("reportingController")


def _default(event: Object) -> None:
    fill(event, source={}, reportingComponent="", reportingInstance="")


def _seen(event: Object, now: float) -> tuple[str, str, int]:
    """(last seen, first seen) as ages, and how often."""
    at = event.get("eventTime")
    first_seen = show.since(event.get("firstTimestamp") or at, now)
    last = event.get("lastTimestamp")
    last_seen = show.since(last, now) if last else first_seen
    series = event.get("series")
    if series:
        return show.since(series.get("lastObservedTime"), now), first_seen, int(series.get("count") or 0)
    return last_seen, first_seen, int(event.get("count") or 1)


def _object_text(involved: Object) -> str:
    kind, name = str(involved.get("kind") or "").lower(), involved.get("name") or ""
    return f"{kind}/{name}" if name else kind


def _source_text(event: Object) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _cells(event: Object, now: float) -> list[Any]:
    if event.get("apiVersion") == _NEW.api_version:
        event = _to_stored(event)
    last_seen, first_seen, count = _seen(event, now)
    involved = event.get("involvedObject") or {}
    return [
        last_seen,
        event.get("type", ""),
        event.get("reason", ""),
        _object_text(involved),
        involved.get("fieldPath", ""),
        _source_text(event),
        str(event.get("message") or "").strip(),
        first_seen,
        count,
        show.name(event),
    ]


def _involved(field: str) -> Callable[[Object], str]:
    return lambda event: str((event.get("involvedObject") or event.get("regarding") or {}).get(field) or "")


def _top(field: str) -> Callable[[Object], str]:
    return lambda event: str(event.get(field) or "")


def _source(event: Object) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


_OBJECT_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_BOTH = {"reason": _top("reason"), "type": _top("type")}
_NEW_FIELDS = {
    **{f"regarding.{field}": _involved(field) for field in _OBJECT_FIELDS},
    "reportingController": _top("reportingComponent"),
    **_BOTH,
}

KIND = builtin(
    "events",
    default_propagation="Unsupported",
    also_served=(Served(_NEW, _from_stored, _to_stored, _NEW_FIELDS),),
    default=_default,
    validate=rule(_validate),
    cells=_cells,
    selectable={
        **{f"involvedObject.{field}": _involved(field) for field in _OBJECT_FIELDS},
        "reportingComponent": _top("reportingComponent"),
        "source": _source,
        **_BOTH,
    },
)
