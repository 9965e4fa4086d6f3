"""What a job's status may say: one story, whose end stays what it was."""

from __future__ import annotations

from typing import Any

from sublet.kinds.rules import indexes
from sublet.kinds.rules.common import Errors, not_negative
from sublet.machinery.kind import Object
from sublet.machinery.objects import is_true, parse_time
from sublet.machinery.status import OMITTED, FieldError, duplicate, invalid, required

_TOLD = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
)
_PATH = "status"


def _conditions(detail: str) -> FieldError:
    return invalid(f"{_PATH}.conditions", OMITTED, detail)


def update(new: Object, old: Object) -> Errors:
    """Every rule of a change of a job's status."""
    status, before = new.get("status") or {}, old.get("status") or {}
    spec = new.get("spec") or {}
    for field in ("active", "succeeded", "failed", "ready", "terminating"):
        yield from not_negative(f"{_PATH}.{field}", status.get(field))
    yield from _uncounted(status)
    for one, other, detail in _TOLD:
        if is_true(new, one) and is_true(new, other):
            yield _conditions(detail)
    yield from _times(new, status)
    yield from _finished(new, status)
    yield from _indexes(spec, status)
    yield from _pods(new, status)
    yield from _success(new)
    yield from _changes(new, old, status, before)


def _uncounted(status: Object) -> Errors:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for index, uid in enumerate((status.get("uncountedTerminatedPods") or {}).get(field) or ()):
            where = f"{_PATH}.uncountedTerminatedPods.{field}[{index}]"
            if not uid:
                yield invalid(where, uid, "must not be empty")
            elif uid in seen:
                yield duplicate(where, uid)
            seen.add(uid)


def _times(job: Object, status: Object) -> Errors:
    start, end, where = status.get("startTime"), status.get("completionTime"), f"{_PATH}.completionTime"
    if end and not is_true(job, "Complete"):
        yield invalid(where, end, "cannot set completionTime when there is no Complete=True condition")
    if not end and is_true(job, "Complete"):
        yield required(where, "completionTime is required for Complete jobs")
    if start and end and parse_time(end) < parse_time(start):
        yield invalid(where, end, "must be equal to or after `startTime`")


def _finished(job: Object, status: Object) -> Errors:
    complete, failed = is_true(job, "Complete"), is_true(job, "Failed")
    if failed and not is_true(job, "FailureTarget"):
        yield _conditions("cannot set Failed=True condition without the FailureTarget=true condition")
    if complete and not is_true(job, "SuccessCriteriaMet"):
        yield _conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if not complete and not failed:
        return
    if (status.get("active") or 0) > 0:
        yield invalid(f"{_PATH}.active", status["active"], "active>0 is invalid for finished job")
    if not status.get("startTime"):
        yield required(f"{_PATH}.startTime", "startTime is required for finished job")
    uncounted = status.get("uncountedTerminatedPods") or {}
    if uncounted.get("succeeded") or uncounted.get("failed"):
        shown = {"Succeeded": uncounted.get("succeeded"), "Failed": uncounted.get("failed")}
        yield invalid(f"{_PATH}.uncountedTerminatedPods", shown, "must be empty for finished job")


def _indexes(spec: Object, status: Object) -> Errors:
    completions, completed = spec.get("completions"), status.get("completedIndexes") or ""
    failed, limited = status.get("failedIndexes"), spec.get("backoffLimitPerIndex") is not None
    if completions is not None:
        yield from _readable("completedIndexes", completed, completions)
        if limited and failed is not None:
            yield from _readable("failedIndexes", failed, completions)
    if completed and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield invalid(f"{_PATH}.completedIndexes", completed, detail)
    if failed is None:
        return
    if not limited:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield invalid(f"{_PATH}.failedIndexes", failed, detail)
    if completions is not None and (at := indexes.overlap(completed, failed, completions)) is not None:
        detail = f"failedIndexes and completedIndexes overlap at index: {at}"
        yield invalid(f"{_PATH}.failedIndexes", failed, detail)


def _readable(field: str, text: str, completions: int) -> Errors:
    try:
        indexes.count(text, completions)
    except ValueError as error:
        yield invalid(f"{_PATH}.{field}", text, f"error parsing {field}: {error}")


def _pods(job: Object, status: Object) -> Errors:
    terminating, ready = status.get("terminating") or 0, status.get("ready") or 0
    if terminating > 0 and (is_true(job, "Complete") or is_true(job, "Failed")):
        yield invalid(f"{_PATH}.terminating", terminating, "terminating>0 is invalid for finished job")
    if ready > (status.get("active") or 0):
        yield invalid(f"{_PATH}.ready", ready, "cannot set more ready pods than active")


def _success(job: Object) -> Errors:
    if not is_true(job, "SuccessCriteriaMet"):
        return
    for other in ("Failed", "FailureTarget"):
        if is_true(job, other):
            yield _conditions(f"cannot set SuccessCriteriaMet=True and {other}=true conditions")


def _changes(new: Object, old: Object, status: Object, before: Object) -> Errors:
    for kind in ("Failed", "Complete", "FailureTarget"):
        if is_true(old, kind) and not is_true(new, kind):
            yield _conditions(f"cannot disable the terminal {kind}=True condition")
    for field in ("failed", "succeeded"):
        now: Any = status.get(field) or 0
        if now < (before.get(field) or 0):
            yield invalid(f"{_PATH}.{field}", now, f"cannot decrease the {field} counter")
    end, was = status.get("completionTime"), before.get("completionTime")
    if end and was and end != was:
        yield invalid(f"{_PATH}.completionTime", end, "field is immutable")
    start = before.get("startTime")
    if start and start != status.get("startTime") and not (new.get("spec") or {}).get("suspend"):
        yield required(f"{_PATH}.startTime", "startTime cannot be removed for unsuspended job")
    if is_true(old, "SuccessCriteriaMet") and not is_true(new, "SuccessCriteriaMet"):
        yield _conditions("cannot disable the SuccessCriteriaMet=True condition")
    late = is_true(old, "Complete") and not is_true(old, "SuccessCriteriaMet")
    if late and is_true(new, "SuccessCriteriaMet"):
        yield _conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
