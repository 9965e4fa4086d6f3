"""CronJob."""

from __future__ import annotations

import re
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill,
    fill_empty,
    made,
    not_negative,
    rule,
    selector_value,
    spec_of,
    update_rule,
)
from sublet.kinds.rules.jobs import default_failures, job_spec
from sublet.machinery import cron
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported, required

_MAX_NAME = 52
_POLICIES = ("Allow", "Forbid", "Replace")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}").fullmatch


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill_empty(spec, concurrencyPolicy="Allow")
    fill(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    made(spec, "jobTemplate", "metadata")
    default_failures(made(spec, "jobTemplate", "spec"))
    pod_defaults.template(obj, "jobTemplate", "spec", "template")


def _validate(obj: Object) -> Errors:
    yield from _spec(obj, None)
    if len(name := show.name(obj)) > _MAX_NAME:
        yield invalid("metadata.name", name, f"must be no more than {_MAX_NAME} characters")


def _validate_update(new: Object, old: Object) -> Errors:
    yield from _spec(new, spec_of(old))


def _spec(obj: Object, before: Object | None) -> Errors:
    """``before``: the stored spec; a zone in an old schedule, and an old zone, are let be."""
    spec = spec_of(obj)
    schedule_text, zone = str(spec.get("schedule") or ""), spec.get("timeZone")
    if not schedule_text:
        yield required("spec.schedule")
    else:
        yield from _schedule(schedule_text, zone, "TZ" in str((before or {}).get("schedule") or ""))
    yield from not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    if zone is not None and (before is None or before.get("timeZone") != zone):
        yield from _time_zone(zone)
    policy = spec.get("concurrencyPolicy") or ""
    if not policy:
        yield required("spec.concurrencyPolicy")
    elif policy not in _POLICIES:
        yield not_supported("spec.concurrencyPolicy", policy, _POLICIES)
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    yield from job_spec("spec.jobTemplate.spec", template)
    if (selector := template.get("selector")) is not None:
        detail = "`selector` will be auto-generated"
        yield invalid("spec.jobTemplate.spec.selector", selector_value(selector), detail)
    if template.get("manualSelector"):
        yield not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from not_negative(f"spec.{field}", spec.get(field))


def _schedule(text: str, zone: str | None, zone_allowed: bool) -> Errors:
    try:
        _parse(text)
    except ValueError as error:
        yield invalid("spec.schedule", text, str(error))
    if "TZ" in text and not zone_allowed:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid("spec.schedule", text, detail)
    elif "TZ" in text and zone is not None:
        detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        yield invalid("spec.schedule", text, detail)


def _parse(text: str) -> None:
    """Raises ``ValueError`` where a schedule, or the zone before it, is none."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, _, text = text.partition("=")[2].partition(" ")
        if not _is_zone(zone):
            raise ValueError(f"provided bad location {zone}: unknown time zone {zone}")
        text = text.strip()
    cron.parse(text)


def _time_zone(zone: str) -> Errors:
    if not zone:
        yield invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
        return
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART(part):
            yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")
            return
    if zone.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid("spec.timeZone", zone, detail)
    if not _is_zone(zone):
        yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")


def _is_zone(zone: str) -> bool:
    if zone in ("", "Local", "UTC"):
        return True
    import zoneinfo  # only CronJobs with a time zone need its data

    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), obj.get("status") or {}
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        show.name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or show.NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        show.since(last, now) if last else show.NONE,
        show.age(obj, now),
        *show.container_cells(job.get("template")),
        show.selector_text(job.get("selector")),
    ]


KIND = builtin(
    "cronjobs.batch",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    warnings=warn.cron_job,
    cells=_cells,
)
