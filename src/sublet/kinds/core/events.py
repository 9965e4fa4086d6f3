"""Event: stored in the core group's shape, also served as ``events.k8s.io/v1``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sublet.kinds import resources
from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, show
from sublet.kinds.rules.common import Errors, fill, immutable, named, rule
from sublet.machinery import names
from sublet.machinery.kind import Object, Served
from sublet.machinery.status import NIL, invalid, required

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


_LIMITS = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}


def _text(value: Any) -> Any:
    return value or ""


def _time(value: Any) -> Any:
    return value or NIL


def _reference(value: Any) -> Any:
    return gotypes.shown("ObjectReference", value or {})


_FIXED: Sequence[tuple[str, Callable[[Any], Any]]] = (
    ("involvedObject", _reference),
    ("reason", _text),
    ("message", _text),
    ("source", lambda value: gotypes.shown("EventSource", value or {})),
    ("firstTimestamp", _time),
    ("lastTimestamp", _time),
    ("count", lambda value: value or 0),
    ("reason", _text),
    ("type", _text),
    ("eventTime", _time),
    ("action", _text),
    ("related", lambda value: NIL if value is None else _reference(value)),
    ("reportingComponent", _text),
    ("reportingInstance", _text),
)
"""Fields that an event of the new group keeps, and how messages show them; upstream tells of one twice."""


def _validate(event: Object, reporter: str = "reportingComponent") -> Errors:
    """What every event obeys, however it is written; only what its reporter is called differs."""
    namespace = (event.get("metadata") or {}).get("namespace") or ""
    involved = (event.get("involvedObject") or {}).get("namespace") or ""
    homes = ("default", "kube-system") if event.get("eventTime") else ("", "default")
    if namespace not in homes if not involved else not event.get("eventTime") and involved != namespace:
        yield invalid("involvedObject.namespace", involved, "does not match event.namespace")
    if event.get("eventTime"):
        yield from _new_style(event, reporter)


def _new_style(event: Object, path: str) -> Errors:
    """An event with ``eventTime`` says who reports what."""
    reporter = event.get("reportingComponent") or ""
    if not reporter:
        yield required(path)
    yield from named(path, reporter, names.qualified_name)
    for field, limit in _LIMITS.items():
        value = event.get(field) or ""
        if not value and field != "message":
            yield required(field)
        if len(value.encode()) > limit:
            yield invalid(field, "", f"can have at most {limit} characters")


def _series(event: Object) -> Errors:
    series = event.get("series")
    if series is None:
        return
    if (series.get("count") or 0) < 2:
        yield invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield required("series.lastObservedTime")


def _strict(event: Object, old: Object | None) -> Errors:
    """What is asked of events that are written in their own group; paths are the core group's all the same."""
    yield from _validate(event, "reportingController")
    if old is not None:
        if event.get("series") != old.get("series"):
            yield from _series(event)
        for field, shown in _FIXED:
            now, then = shown(event.get(field)), shown(old.get(field))
            yield from immutable("reportingController" if field == "reportingComponent" else field, now, then)
        return
    yield from _series(event)
    if not event.get("eventTime"):
        yield required("eventTime")
    if (kind := event.get("type") or "") not in ("Normal", "Warning"):
        yield invalid("type", "", f"has invalid value: {kind}")
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if event.get(field):
            yield invalid(field, "", "needs to be unset")
    if any((event.get("source") or {}).values()):
        yield invalid("source", "", "needs to be unset")


def _default(event: Object) -> None:
    fill(event, source={}, reportingComponent="", reportingInstance="")
    for field in ("eventTime", "firstTimestamp", "lastTimestamp"):
        event.setdefault(field, None)


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
    also_served=(
        Served(_NEW, _from_stored, _to_stored, _NEW_FIELDS, lambda new, old: list(_strict(new, old))),
    ),
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
