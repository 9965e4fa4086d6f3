"""CronJob."""

from __future__ import annotations

import re
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, schedule, show, warn
from sublet.kinds.rules.common import Errors, fill, fill_empty, not_negative, one_of, rule, spec_of
from sublet.kinds.rules.jobs import job_spec
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required

_MAX_NAME = 52
_EVERY = re.compile(r"@every \d+(\.\d+)?(h|m|s|ms|us|µs|ns)([\d.]+(h|m|s|ms|us|µs|ns))*").fullmatch


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill_empty(spec, concurrencyPolicy="Allow")
    fill(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    pod_defaults.template(obj, "jobTemplate", "spec", "template")


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from _schedule(str(spec.get("schedule") or ""), spec.get("timeZone"))
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from not_negative(f"spec.{field}", spec.get(field))
    policy = spec.get("concurrencyPolicy")
    yield from one_of("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace"), needed=True)
    template = (spec.get("jobTemplate") or {}).get("spec")
    if template is None:
        yield required("spec.jobTemplate.spec")
        return
    if template.get("manualSelector"):
        yield invalid("spec.jobTemplate.spec.manualSelector", True, "must not be set")
    yield from job_spec("spec.jobTemplate.spec", template)


def _schedule(text: str, zone: str | None) -> Errors:
    if not text:
        yield required("spec.schedule")
    else:
        bare = text
        if text.startswith(("TZ=", "CRON_TZ=")):
            bare = text.partition(" ")[2]
            if zone is not None:
                yield invalid(
                    "spec.schedule", text, "cannot use both timeZone field and TZ or CRON_TZ in schedule"
                )
            else:
                yield invalid(
                    "spec.schedule", text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
                )
        if not _EVERY(bare):
            try:
                schedule.parse(bare)
            except ValueError as error:
                yield invalid("spec.schedule", text, str(error))
    if zone is not None:
        yield from _time_zone(zone)


def _time_zone(zone: str) -> Errors:
    if not zone:
        yield invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        yield invalid(
            "spec.timeZone",
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        )
    else:
        import zoneinfo  # only CronJobs with a time zone need its data

        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")


def _validate_name(name: str, prefix: bool) -> list[str]:
    messages = names.dns1123_subdomain(names.mask_trailing_dash(name) if prefix else name)
    if not prefix and len(name) > _MAX_NAME:
        messages.append(f"must be no more than {_MAX_NAME} characters")
    return messages


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
    validate_name=_validate_name,
    warnings=warn.cron_job,
    cells=_cells,
)
