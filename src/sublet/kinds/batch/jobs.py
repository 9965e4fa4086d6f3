"""Job."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, job_status, pod_defaults, show, warn, workload
from sublet.kinds.rules.common import (
    IMMUTABLE,
    MAX_INT32,
    Errors,
    fill,
    immutable,
    label_selector,
    made,
    rule,
    selector_value,
    spec_of,
    update_rule,
)
from sublet.kinds.rules.jobs import default_failures, job_spec
from sublet.machinery import names, selectors
from sublet.machinery.kind import Object
from sublet.machinery.objects import is_true, parse_time
from sublet.machinery.status import invalid, required

_UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
_ORPHANS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)
_PLACEMENT = ("nodeSelector", "tolerations", "schedulingGates")


def _default(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    fill(spec, parallelism=1, suspend=False, manualSelector=False)
    fill(spec, backoffLimit=MAX_INT32 if spec.get("backoffLimitPerIndex") is not None else 6)
    fill(spec, completionMode="NonIndexed")
    failure = spec.get("podFailurePolicy")
    fill(spec, podReplacementPolicy="Failed" if failure is not None else "TerminatingOrFailed")
    default_failures(spec)
    template_labels = workload.template_labels(spec)
    metadata = job.setdefault("metadata", {})
    if template_labels and not metadata.get("labels"):
        metadata["labels"] = dict(template_labels)
    pod_defaults.template(job)


def generate_selector(job: Object) -> None:
    """The selector and pod labels that tie pods to this very job; needs its uid and final name.

    Does nothing where the selector is the user's (``manualSelector``). What the user wrote there all the same stays,
    for validation to refuse.
    """
    spec, metadata = job.setdefault("spec", {}), job.get("metadata") or {}
    uid, name = metadata.get("uid"), metadata.get("name")
    if spec.get("manualSelector") or not uid or not name:
        return
    labels = made(spec, "template", "metadata", "labels")
    for keys, value in ((_NAME_LABELS, name), (_UID_LABELS, uid)):
        for key in keys:
            labels.setdefault(key, value)
    made(spec, "selector", "matchLabels").setdefault(_UID_LABELS[1], uid)


def _validate(job: Object, prefixed: bool = True) -> Errors:
    """``prefixed``: the labels with a prefix must be there too; jobs from before there were any do without."""
    spec, name = spec_of(job), show.name(job)
    if spec.get("selector") is not None and not spec.get("manualSelector"):
        yield from _generated(job, spec, name, prefixed)
    yield from _spec(spec)
    if spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        longest = f"{name}-{spec['completions'] - 1}"
        if names.dns1123_label(longest):
            detail = f"will not able to create pod with invalid DNS label: {longest}"
            yield invalid("metadata.name", name, detail)


def _generated(job: Object, spec: Object, name: str, prefixed: bool) -> Errors:
    """A selector that is not the user's must be the one this server makes."""
    uid = str((job.get("metadata") or {}).get("uid") or "")
    labels = workload.template_labels(spec)
    wanted = {_UID_LABELS[0]: uid, _NAME_LABELS[0]: name}
    if prefixed:
        wanted |= {_UID_LABELS[1]: uid, _NAME_LABELS[1]: name}
    for key, value in wanted.items():
        where = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            yield required(where, f"must be '{value}'")
        elif labels[key] != value:
            yield invalid(where, dict(sorted(labels.items())), f"must be '{value}'")
    selector = spec["selector"]
    if not list(label_selector("", selector)) and not selectors.from_label_selector(selector).matches(wanted):
        yield invalid("spec.selector", selector_value(selector), "`selector` not auto-generated")


def _spec(spec: Object) -> Errors:
    yield from job_spec("spec", spec)
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    wrong = list(label_selector("spec.selector", selector))
    yield from wrong
    if not wrong:
        yield from workload.selects_template(spec)


def _validate_update(new: Object, old: Object) -> Errors:
    """The job as a new one, then its change: what breaks a rule of the spec is told twice, as Kubernetes does."""
    spec, before = spec_of(new), spec_of(old)
    labels = workload.template_labels(before)
    yield from _validate(new, prefixed=_UID_LABELS[1] in labels and _NAME_LABELS[1] in labels)
    yield from _spec(spec)
    yield from _completions(spec, before)
    yield from immutable(
        "spec.selector", selector_value(spec.get("selector")), selector_value(before.get("selector"))
    )
    yield from _template(new, old)
    yield from immutable("spec.completionMode", spec.get("completionMode"), before.get("completionMode"))
    yield from _fixed_policy("podFailurePolicy", "PodFailurePolicy", spec, before)
    for field in ("backoffLimitPerIndex", "managedBy"):
        yield from immutable(f"spec.{field}", spec.get(field), before.get(field))
    yield from _fixed_policy("successPolicy", "SuccessPolicy", spec, before)


def _fixed_policy(field: str, kind: str, spec: Object, before: Object) -> Errors:
    now, then = spec.get(field), before.get(field)
    if now != then:
        yield invalid(f"spec.{field}", now and gotypes.shown(kind, now), IMMUTABLE)


def _completions(spec: Object, before: Object) -> Errors:
    """Indexed jobs are scaled by changing completions together with parallelism."""
    now, then = spec.get("completions"), before.get("completions")
    if spec.get("completionMode") != "Indexed":
        yield from immutable("spec.completions", now, then)
    elif now not in (then, None) and now != spec.get("parallelism"):
        detail = "can only be modified in tandem with spec.parallelism"
        yield invalid("spec.completions", now, detail)


def _template(new: Object, old: Object) -> Errors:
    """While a job has no pods as it is suspended, where and with what they run may still be decided."""
    now, then = spec_of(new).get("template") or {}, spec_of(old).get("template") or {}
    if now == then:
        return
    status = old.get("status") or {}
    stopped = not status.get("startTime") or is_true(old, "Suspended")
    if not spec_of(old).get("suspend") or not stopped or status.get("active"):
        yield invalid("spec.template", gotypes.template(now), IMMUTABLE)
        return
    allowed = _with_placement(then, now)
    spec, fixed = now.get("spec") or {}, _with_resources(allowed.get("spec") or {}, now.get("spec") or {})
    if spec != fixed:
        yield invalid("spec.template.spec", gotypes.shown("PodSpec", spec), IMMUTABLE)


def _with_placement(then: Object, now: Object) -> Object:
    """The old template with what the new one says of placement, labels and annotations."""
    spec, wanted = dict(then.get("spec") or {}), now.get("spec") or {}
    for field in _PLACEMENT:
        spec.pop(field, None)
        if field in wanted:
            spec[field] = wanted[field]
    affinity = {k: v for k, v in (spec.get("affinity") or {}).items() if k != "nodeAffinity"}
    node = (wanted.get("affinity") or {}).get("nodeAffinity")
    if node is not None:
        affinity["nodeAffinity"] = node
    spec.pop("affinity", None)
    if affinity or "affinity" in wanted:
        spec["affinity"] = affinity
    return {**then, "metadata": now.get("metadata") or {}, "spec": spec}


def _with_resources(then: Object, now: Object) -> Object:
    spec = dict(then)
    for key in ("containers", "initContainers"):
        mine, theirs = now.get(key) or [], spec.get(key) or []
        if len(mine) == len(theirs) and theirs:
            spec[key] = [
                {**old, "resources": new.get("resources") or {}}
                if new.get("name") == old.get("name")
                else old
                for new, old in zip(mine, theirs, strict=True)
            ]
    return spec


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
    delete_warning=_ORPHANS,
    default=_default,
    prepare_create=generate_selector,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    validate_status=update_rule(job_status.update),
    warnings=warn.job,
    cells=_cells,
    selectable={"status.successful": lambda job: str((job.get("status") or {}).get("succeeded") or 0)},
)
