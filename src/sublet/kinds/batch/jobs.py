"""Job."""

from __future__ import annotations

import re
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import pod_defaults, show, warn, workload
from sublet.kinds.rules.common import (
    MAX_INT32,
    Errors,
    fill,
    fill_empty,
    immutable,
    rule,
    spec_of,
    update_rule,
)
from sublet.kinds.rules.jobs import job_spec, status_consistent
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.objects import is_true, parse_time
from sublet.machinery.status import invalid, required

_UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
_SUSPENDED_TEMPLATE = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "schedulingGates",
    "containers",
    "initContainers",
)
_MANAGER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/._-]+").fullmatch


def _default(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    fill(spec, parallelism=1, suspend=False, manualSelector=False)
    fill(spec, backoffLimit=MAX_INT32 if spec.get("backoffLimitPerIndex") is not None else 6)
    fill_empty(spec, completionMode="NonIndexed")
    failure = spec.get("podFailurePolicy")
    fill_empty(spec, podReplacementPolicy="Failed" if failure is not None else "TerminatingOrFailed")
    for failure_rule in (failure or {}).get("rules") or ():
        for pattern in failure_rule.get("onPodConditions") or ():
            fill_empty(pattern, status="True")
    template_labels = workload.template_labels(spec)
    metadata = job.setdefault("metadata", {})
    if template_labels and not metadata.get("labels"):
        metadata["labels"] = dict(template_labels)
    pod_defaults.template(job)


def generate_selector(job: Object) -> None:
    """The selector and pod labels that tie pods to this very job; needs its uid and final name.

    Does nothing where the selector is the user's (``manualSelector``).
    """
    spec, metadata = job.setdefault("spec", {}), job.get("metadata") or {}
    uid, name = metadata.get("uid"), metadata.get("name")
    if spec.get("manualSelector") or not uid or not name or spec.get("selector"):
        return
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    for key in _NAME_LABELS:
        labels[key] = name
    for key in _UID_LABELS:
        labels[key] = uid
    spec["selector"] = {"matchLabels": {_UID_LABELS[1]: uid}}


def _validate(job: Object) -> Errors:
    spec = spec_of(job)
    metadata = job.get("metadata") or {}
    if spec.get("selector") is None and metadata.get("uid") and metadata.get("name"):
        yield required("spec.selector")
    if spec.get("completionMode") == "Indexed" and spec.get("completions") and metadata.get("name"):
        longest = f"{metadata['name']}-{spec['completions'] - 1}"
        for text in names.dns1123_label(longest):
            yield invalid(
                "metadata.name",
                metadata["name"],
                f"will not able to create pod with invalid DNS label: {longest}" if text else text,
            )
            break
    if spec.get("selector") and (template := spec.get("template")) is not None:
        labels = (template.get("metadata") or {}).get("labels") or {}
        wanted = (spec["selector"] or {}).get("matchLabels") or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            yield invalid(
                "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
            )
    if (manager := spec.get("managedBy")) is not None and not _MANAGER(manager):
        yield invalid("spec.managedBy", manager, 'must be a domain-prefixed path (such as "acme.io/foo")')
    yield from job_spec("spec", spec)


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    yield from _completions(spec, before)
    yield from immutable("spec.selector", spec.get("selector"), before.get("selector"))
    yield from _template(spec, before, old)
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        yield from immutable(f"spec.{field}", spec.get(field), before.get(field))


def _completions(spec: Object, before: Object) -> Errors:
    """Indexed jobs are scaled by changing completions together with parallelism."""
    now, then = spec.get("completions"), before.get("completions")
    if now == then:
        return
    elastic = (
        now is not None
        and then is not None
        and spec.get("completionMode") == "Indexed"
        and spec.get("parallelism") == now
    )
    if not elastic:
        detail = (
            "field is immutable"
            if spec.get("completionMode") != "Indexed"
            else "can only be modified in tandem with parallelism"
        )
        yield invalid("spec.completions", now, detail)


def _template(spec: Object, before: Object, old: Object) -> Errors:
    """While a job is suspended, where and with what its pods run may still be decided."""
    now, then = spec.get("template") or {}, before.get("template") or {}
    if now == then:
        return
    status = old.get("status") or {}
    if before.get("suspend") and not status.get("active"):

        def fixed(template: Object) -> Object:
            pod = template.get("spec") or {}
            kept = {key: value for key, value in pod.items() if key not in _SUSPENDED_TEMPLATE}
            kept["images"] = [
                (c.get("name"), c.get("image"), c.get("command"), c.get("args"))
                for c in pod.get("containers") or ()
            ]
            return kept

        if fixed(now) == fixed(then):
            return
    yield invalid("spec.template", now, "field is immutable")


def _validate_status(new: Object, old: Object) -> Errors:
    yield from status_consistent(new.get("status") or {}, spec_of(new), old.get("status") or {})


def _status_text(job: Object) -> str:
    if is_true(job, "Complete"):
        return "Complete"
    if is_true(job, "Failed"):
        return "Failed"
    if (job.get("metadata") or {}).get("deletionTimestamp"):
        return "Terminating"
    if is_true(job, "Suspended"):
        return "Suspended"
    if is_true(job, "FailureTarget"):
        return "FailureTarget"
    if is_true(job, "SuccessCriteriaMet"):
        return "SuccessCriteriaMet"
    return "Running"


def _completion_text(job: Object) -> str:
    spec, done = spec_of(job), (job.get("status") or {}).get("succeeded") or 0
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(job: Object, now: float) -> str:
    status = job.get("status") or {}
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    return show.human_duration((parse_time(end) if end else now) - parse_time(start))


def _cells(job: Object, now: float) -> list[Any]:
    spec = spec_of(job)
    return [
        show.name(job),
        _status_text(job),
        _completion_text(job),
        _duration(job, now),
        show.age(job, now),
        *show.container_cells(spec.get("template")),
        show.selector_text(spec.get("selector")),
    ]


KIND = builtin(
    "jobs.batch",
    default_propagation="Orphan",
    default=_default,
    prepare_create=generate_selector,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_status=update_rule(_validate_status),
    warnings=warn.job,
    cells=_cells,
    selectable={"status.successful": lambda job: str((job.get("status") or {}).get("succeeded") or 0)},
)
