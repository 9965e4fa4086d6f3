"""Rules of jobs, also as templates in CronJobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sublet.kinds.rules import pod_spec
from sublet.kinds.rules.common import Errors, label_selector, not_negative, one_of
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)

_MAX_INDEXED = 100_000
_MAX_RULES, _MAX_EXIT_CODES = 20, 255
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip


def job_spec(path: str, spec: Object) -> Errors:
    """What holds for jobs and job templates alike."""
    for field in _COUNTS:
        yield from not_negative(f"{path}.{field}", spec.get(field))
    yield from label_selector(f"{path}.selector", spec.get("selector"))
    mode = spec.get("completionMode")
    yield from one_of(f"{path}.completionMode", mode, ("Indexed", "NonIndexed"))
    if mode == "Indexed":
        yield from _indexed(path, spec)
    for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if mode != "Indexed" and spec.get(field) is not None:
            yield invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    yield from one_of(
        f"{path}.podReplacementPolicy", spec.get("podReplacementPolicy"), ("Failed", "TerminatingOrFailed")
    )
    yield from _template(path, spec)
    yield from _failure_policy(f"{path}.podFailurePolicy", spec)
    yield from _success_policy(f"{path}.successPolicy", spec)


def _indexed(path: str, spec: Object) -> Errors:
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    if completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism > _MAX_INDEXED:
        detail = f"must be less than or equal to {_MAX_INDEXED} when completion mode is Indexed"
        yield invalid(f"{path}.parallelism", parallelism, detail)


def _template(path: str, spec: Object) -> Errors:
    template = spec.get("template")
    if template is None:
        yield required(f"{path}.template")
        return
    yield from pod_spec.template(f"{path}.template", template)
    policy = (template.get("spec") or {}).get("restartPolicy")
    where = f"{path}.template.spec.restartPolicy"
    if policy not in ("Never", "OnFailure"):
        yield (
            required(where, 'valid values: "OnFailure", "Never"')
            if policy == ""
            else not_supported(where, policy, ("OnFailure", "Never"))
        )
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid(where, policy, detail)


def _failure_policy(path: str, spec: Object) -> Errors:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    rules = policy.get("rules") or ()
    if len(rules) > _MAX_RULES:
        yield too_many(f"{path}.rules", len(rules), _MAX_RULES)
    template = (spec.get("template") or {}).get("spec") or {}
    names = {c.get("name") for key in ("containers", "initContainers") for c in template.get(key) or ()}
    for index, rule in enumerate(rules):
        where, action = f"{path}.rules[{index}]", rule.get("action") or ""
        if not action:
            yield required(f"{where}.action", f"valid values: {list(_ACTIONS)!r}")
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield invalid(f"{where}.action", action, "requires the backoffLimitPerIndex to be set")
        elif action not in _ACTIONS:
            yield not_supported(f"{where}.action", action, _ACTIONS)
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            yield from _exit_codes(f"{where}.onExitCodes", codes, names)
        if codes is not None and conditions:
            yield invalid(where, rule, "specifying both OnExitCodes and OnPodConditions is not supported")
        if codes is None and not conditions:
            yield invalid(where, rule, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(path: str, rule: Object, names: set[str | None]) -> Errors:
    operator, values = rule.get("operator") or "", rule.get("values") or []
    if not operator:
        yield required(f"{path}.operator", 'valid values: ["In" "NotIn"]')
    elif operator not in ("In", "NotIn"):
        yield not_supported(f"{path}.operator", operator, ("In", "NotIn"))
    container = rule.get("containerName")
    if container is not None and container not in names:
        yield invalid(
            f"{path}.containerName",
            container,
            "must be one of the container or initContainer names in the pod template",
        )
    if not values:
        yield invalid(f"{path}.values", values, "at least one value is required")
    elif len(values) > _MAX_EXIT_CODES:
        yield too_many(f"{path}.values", len(values), _MAX_EXIT_CODES)
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator")
        if value in values[:index]:
            yield duplicate(f"{path}.values[{index}]", value)
    if values != sorted(values):
        yield invalid(f"{path}.values", values, "must be ordered")


def _success_policy(path: str, spec: Object) -> Errors:
    policy = spec.get("successPolicy")
    if policy is None:
        return
    if spec.get("completionMode") != "Indexed":
        yield invalid(path, policy, "requires indexed completion mode")
        return
    rules = policy.get("rules") or ()
    if not rules:
        yield required(
            f"{path}.rules", "at least one rules must be specified when the successPolicy is specified"
        )
    elif len(rules) > _MAX_RULES:
        yield too_many(f"{path}.rules", len(rules), _MAX_RULES)
    for index, rule in enumerate(rules):
        where = f"{path}.rules[{index}]"
        if rule.get("succeededCount") is None and rule.get("succeededIndexes") is None:
            yield required(where, "at least one of succeededCount or succeededIndexes must be specified")
        yield from not_negative(f"{where}.succeededCount", rule.get("succeededCount"))


def status_consistent(new: Mapping[str, object], spec: Object, old: Mapping[str, object]) -> Errors:
    """A job's status tells one story: finished or not, and what is counted does not shrink."""
    conditions: Sequence[Object] = new.get("conditions") or ()  # type: ignore[assignment]
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    completion = new.get("completionTime")
    for field in ("active", "ready", "terminating", "succeeded", "failed"):
        value = new.get(field)
        if isinstance(value, int):
            yield from not_negative(f"status.{field}", value)
    if {"Complete", "Failed"} <= true:
        yield invalid(
            "status.conditions", list(conditions), "cannot set Complete=True and Failed=True conditions"
        )
    if completion is not None and "Complete" not in true:
        yield invalid(
            "status.completionTime",
            completion,
            "cannot set completionTime when there is no Complete=True condition",
        )
    if "Complete" in true and completion is None:
        yield required("status.completionTime", "completionTime is required for Complete jobs")
    if true & {"Complete", "Failed"} and new.get("active"):
        yield invalid("status.active", new["active"], "active>0 is invalid for finished job")
    if old.get("startTime") and not new.get("startTime") and not spec.get("suspend"):
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")
    for field in ("succeeded", "failed"):
        before, now = old.get(field) or 0, new.get(field) or 0
        if isinstance(before, int) and isinstance(now, int) and now < before:
            yield invalid(f"status.{field}", now, f"cannot decrease the {field} counter")
