"""What a job's status may say: one story, whose end stays what it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sublet.kinds.rules import indexes
from sublet.kinds.rules.common import Errors, not_negative
from sublet.machinery.kind import Object
from sublet.machinery.objects import condition, is_true, parse_time
from sublet.machinery.status import OMITTED, FieldError, duplicate, invalid, required

_OPTIONAL = ("failedIndexes", "startTime", "completionTime", "ready", "terminating")
_PATH = "status"
Changed = Callable[..., bool]
"""Names of facts -> whether any of them is not what it was."""


def _conditions(detail: str) -> FieldError:
    return invalid(f"{_PATH}.conditions", OMITTED, detail)


def _facts(job: Object) -> Mapping[str, Any]:
    """What the rules of a status are about."""
    status = job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods")
    return {
        **{
            kind: is_true(job, kind) for kind in ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet")
        },
        "finished": _finished(job),
        "active": status.get("active") or 0,
        "completedIndexes": status.get("completedIndexes") or "",
        "uncounted": uncounted and [uncounted.get(field) or [] for field in ("succeeded", "failed")],
        **{field: status.get(field) for field in _OPTIONAL},
    }


def _finished(job: Object) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def update(new: Object, old: Object) -> Errors:
    """Every rule of a change of a job's status.

    Most are asked only when what they are about has changed: a status that the job's spec has just overtaken can
    be written on until its controller mends it.
    """
    now, then = _facts(new), _facts(old)

    def changed(*facts: str) -> bool:
        return any(now[fact] != then[fact] for fact in facts)

    status, before = new.get("status") or {}, old.get("status") or {}
    spec = new.get("spec") or {}
    for field in ("active", "succeeded", "failed", "ready", "terminating"):
        yield from not_negative(f"{_PATH}.{field}", status.get(field))
    yield from _uncounted(status)
    for other in ("Failed", "FailureTarget"):
        if changed("Complete", other) and is_true(new, "Complete") and is_true(new, other):
            yield _conditions(f"cannot set Complete=True and {other}=true conditions")
    yield from _times(new, status, changed)
    yield from _ended(new, status, changed)
    yield from _indexes(spec, status, changed)
    yield from _pods(new, status, changed)
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


def _times(job: Object, status: Object, changed: Changed) -> Errors:
    start, end, where = status.get("startTime"), status.get("completionTime"), f"{_PATH}.completionTime"
    if changed("Complete", "completionTime"):
        if end and not is_true(job, "Complete"):
            yield invalid(where, end, "cannot set completionTime when there is no Complete=True condition")
        if not end and is_true(job, "Complete"):
            yield required(where, "completionTime is required for Complete jobs")
    if changed("startTime", "completionTime") and start and end and parse_time(end) < parse_time(start):
        yield invalid(where, end, "must be equal to or after `startTime`")


def _ended(job: Object, status: Object, changed: Changed) -> Errors:
    complete, failed, spec = is_true(job, "Complete"), is_true(job, "Failed"), job.get("spec") or {}
    if changed("Failed", "failedIndexes") and failed and not is_true(job, "FailureTarget"):
        yield _conditions("cannot set Failed=True condition without the FailureTarget=true condition")
    met = is_true(job, "SuccessCriteriaMet")
    if changed("Complete", "SuccessCriteriaMet") and complete and not met:
        yield _conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if not complete and not failed:
        return
    if changed("finished", "active") and (status.get("active") or 0) > 0:
        yield invalid(f"{_PATH}.active", status["active"], "active>0 is invalid for finished job")
    never = spec.get("suspend") and spec.get("completions") == 0
    if changed("finished", "startTime") and not never and not status.get("startTime"):
        yield required(f"{_PATH}.startTime", "startTime is required for finished job")
    uncounted = status.get("uncountedTerminatedPods") or {}
    some = uncounted.get("succeeded") or uncounted.get("failed")
    if changed("finished", "uncounted") and some:
        shown = {"Succeeded": uncounted.get("succeeded"), "Failed": uncounted.get("failed")}
        yield invalid(f"{_PATH}.uncountedTerminatedPods", shown, "must be empty for finished job")


def _indexes(spec: Object, status: Object, changed: Changed) -> Errors:
    completions, completed = spec.get("completions"), status.get("completedIndexes") or ""
    failed, limited = status.get("failedIndexes"), spec.get("backoffLimitPerIndex") is not None
    if completions is not None:
        if changed("completedIndexes"):
            yield from _readable("completedIndexes", completed, completions)
        if changed("failedIndexes") and limited and failed is not None:
            yield from _readable("failedIndexes", failed, completions)
    if changed("completedIndexes") and completed and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield invalid(f"{_PATH}.completedIndexes", completed, detail)
    if failed is None or not changed("failedIndexes", "completedIndexes"):
        return
    if changed("failedIndexes") and not limited:
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


def _pods(job: Object, status: Object, changed: Changed) -> Errors:
    terminating, ready = status.get("terminating") or 0, status.get("ready") or 0
    if changed("finished", "terminating") and terminating > 0 and _finished(job):
        yield invalid(f"{_PATH}.terminating", terminating, "terminating>0 is invalid for finished job")
    if changed("ready", "active") and ready > (status.get("active") or 0):
        yield invalid(f"{_PATH}.ready", ready, "cannot set more ready pods than active")


def _success(job: Object) -> Errors:
    met = is_true(job, "SuccessCriteriaMet")
    for other in ("Failed", "FailureTarget"):
        if met and is_true(job, other):
            yield _conditions(f"cannot set SuccessCriteriaMet=True and {other}=true conditions")
    policy = (job.get("spec") or {}).get("successPolicy")
    if policy is not None and not met and is_true(job, "Complete"):
        yield _conditions(
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        )


def _changes(new: Object, old: Object, status: Object, before: Object) -> Errors:
    spec = new.get("spec") or {}
    for kind in ("Failed", "Complete", "FailureTarget"):
        if is_true(old, kind) and not is_true(new, kind):
            yield _conditions(f"cannot disable the terminal {kind}=True condition")
    # An indexed job that is scaled down forgets what the indexes it no longer has came to.
    scaled = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for field in ("failed", "succeeded"):
        now: Any = status.get(field) or 0
        if now < (before.get(field) or 0) and not (scaled and field == "succeeded"):
            yield invalid(f"{_PATH}.{field}", now, f"cannot decrease the {field} counter")
    end, was = status.get("completionTime"), before.get("completionTime")
    if end and was and end != was:
        yield invalid(f"{_PATH}.completionTime", end, "field is immutable")
    start = before.get("startTime")
    resumed = is_true(old, "Suspended") and (condition(new, "Suspended") or {}).get("status") == "False"
    if start and start != status.get("startTime") and not spec.get("suspend") and not resumed:
        yield required(f"{_PATH}.startTime", "startTime cannot be removed for unsuspended job")
    if is_true(old, "SuccessCriteriaMet") and not is_true(new, "SuccessCriteriaMet"):
        yield _conditions("cannot disable the SuccessCriteriaMet=True condition")
    late = is_true(old, "Complete") and not is_true(old, "SuccessCriteriaMet")
    if late and is_true(new, "SuccessCriteriaMet"):
        yield _conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
