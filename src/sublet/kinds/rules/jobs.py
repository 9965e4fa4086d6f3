"""Rules of jobs, also as templates in CronJobs. Those of a job's status: ``job_status``."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules import gotypes, indexes, pod_spec
from sublet.kinds.rules.common import Errors, fill_empty, named, not_negative
from sublet.kinds.rules.references import domain_path
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    NIL,
    OMITTED,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)

_MAX_INDEXED = _MANY = 100_000
_MAX_OF_MANY = 10_000
_MAX_RULES, _MAX_EXIT_CODES = 20, 255
_MAX_MANAGER, _MAX_INDEX_TEXT = 63, 64 * 1024
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_STATES = ("False", "True", "Unknown")
_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip


def default_failures(spec: Object) -> None:
    """Fills in place, of a job or a job's template, that conditions of pods which count as failures are true ones."""
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            fill_empty(pattern, status="True")


def job_spec(path: str, spec: Object) -> Errors:
    """What holds for jobs and job templates alike."""
    for field in _COUNTS:
        yield from not_negative(f"{path}.{field}", spec.get(field))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if (manager := spec.get("managedBy")) is not None:
        yield from domain_path(f"{path}.managedBy", manager)
        if len(manager) > _MAX_MANAGER:
            yield too_long(f"{path}.managedBy", _MAX_MANAGER)
    mode = spec.get("completionMode")
    if mode not in (None, "NonIndexed", "Indexed"):
        yield not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    if mode == "Indexed":
        yield from _indexed(path, spec)
    elif mode in (None, "NonIndexed"):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                yield invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
    yield from _failure_policy(f"{path}.podFailurePolicy", spec)
    yield from _success_policy(f"{path}.successPolicy", spec)
    yield from _replacement(f"{path}.podReplacementPolicy", spec)
    yield from _template(f"{path}.template", spec)


def _indexed(path: str, spec: Object) -> Errors:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism is not None and parallelism > _MAX_INDEXED:
        detail = f"must be less than or equal to {_MAX_INDEXED} when completion mode is Indexed"
        yield invalid(f"{path}.parallelism", parallelism, detail)
    where = f"{path}.maxFailedIndexes"
    if completions is not None and failed is not None and failed > completions:
        yield invalid(where, failed, "must be less than or equal to completions")
    if failed is not None and failed > _MAX_INDEXED:
        yield invalid(where, failed, f"must be less than or equal to {_MAX_INDEXED}")
    if completions is None or completions <= _MANY or spec.get("backoffLimitPerIndex") is None:
        return
    if failed is None:
        yield required(where, f"must be specified when completions is above {_MANY}")
    detail = (
        f"must be less than or equal to {_MAX_OF_MANY} when completions are above {_MANY} "
        "and used with backoff limit per index"
    )
    for field, value in (("parallelism", parallelism), ("maxFailedIndexes", failed)):
        if value is not None and value > _MAX_OF_MANY:
            yield invalid(f"{path}.{field}", value, detail)


def _replacement(path: str, spec: Object) -> Errors:
    policy = spec.get("podReplacementPolicy")
    supported = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if policy is not None and policy not in supported:
        yield not_supported(path, policy, supported)


def _template(path: str, spec: Object) -> Errors:
    template = spec.get("template") or {}
    yield from pod_spec.template(path, template)
    policy = (template.get("spec") or {}).get("restartPolicy") or ""
    where = f"{path}.spec.restartPolicy"
    # ``Always`` is what a template gets where nothing was said.
    if policy in ("", "Always"):
        yield required(where, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield not_supported(where, policy, ("OnFailure", "Never"))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid(where, policy, detail)


def _valid(values: Sequence[str]) -> str:
    return "valid values: [" + " ".join(f'"{value}"' for value in values) + "]"


def _failure_policy(path: str, spec: Object) -> Errors:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    rules = policy.get("rules") or ()
    if len(rules) > _MAX_RULES:
        yield too_many(f"{path}.rules", len(rules), _MAX_RULES)
    template = (spec.get("template") or {}).get("spec") or {}
    known = {c.get("name") for key in ("containers", "initContainers") for c in template.get(key) or ()}
    for index, rule in enumerate(rules):
        yield from _failure_rule(f"{path}.rules[{index}]", rule, spec, known)


def _failure_rule(path: str, rule: Object, spec: Object, known: set[str | None]) -> Errors:
    action = rule.get("action") or ""
    if not action:
        yield required(f"{path}.action", _valid(_ACTIONS))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            yield invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set")
    elif action not in _ACTIONS:
        yield not_supported(f"{path}.action", action, _ACTIONS)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    if codes is not None:
        yield from _exit_codes(f"{path}.onExitCodes", codes, known)
    if len(conditions) > _MAX_RULES:
        yield too_many(f"{path}.onPodConditions", len(conditions), _MAX_RULES)
    for number, pattern in enumerate(conditions):
        where, state = f"{path}.onPodConditions[{number}]", pattern.get("status") or ""
        yield from named(f"{where}.type", pattern.get("type") or "", names.qualified_name)
        if not state:
            yield required(f"{where}.status", _valid(_STATES))
        elif state not in _STATES:
            yield not_supported(f"{where}.status", state, _STATES)
    if codes is not None and conditions:
        yield invalid(path, OMITTED, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        yield invalid(path, OMITTED, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(path: str, rule: Object, known: set[str | None]) -> Errors:
    operator, values = rule.get("operator") or "", rule.get("values") or []
    if not operator:
        yield required(f"{path}.operator", _valid(("In", "NotIn")))
    elif operator not in ("In", "NotIn"):
        yield not_supported(f"{path}.operator", operator, ("In", "NotIn"))
    container = rule.get("containerName")
    if container is not None and container not in known:
        detail = "must be one of the container or initContainer names in the pod template"
        yield invalid(f"{path}.containerName", container, detail)
    if not values:
        yield invalid(f"{path}.values", NIL, "at least one value is required")
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
        yield invalid(path, gotypes.shown("SuccessPolicy", policy), "requires indexed completion mode")
        return
    rules = policy.get("rules") or ()
    if not rules:
        yield required(
            f"{path}.rules", "at least one rules must be specified when the successPolicy is specified"
        )
    if len(rules) > _MAX_RULES:
        yield too_many(f"{path}.rules", len(rules), _MAX_RULES)
    for index, rule in enumerate(rules):
        yield from _success_rule(f"{path}.rules[{index}]", rule, spec.get("completions") or 0)


def _success_rule(path: str, rule: Object, completions: int) -> Errors:
    count, text, total = rule.get("succeededCount"), rule.get("succeededIndexes"), 0
    if count is None and text is None:
        yield required(path, "at least one of succeededCount or succeededIndexes must be specified")
    if text is not None:
        where = f"{path}.succeededIndexes"
        if len(text) > _MAX_INDEX_TEXT:
            yield too_long(where, _MAX_INDEX_TEXT)
        try:
            total = indexes.count(text, completions)
        except ValueError as error:
            yield invalid(where, text, f"error parsing succeededIndexes: {error}")
    if count is None:
        return
    where = f"{path}.succeededCount"
    yield from not_negative(where, count)
    if count > completions:
        detail = f"must be less than or equal to {completions} (the number of specified completions)"
        yield invalid(where, count, detail)
    if text is not None and count > total:
        what = "the number of indexes in the specified succeededIndexes field"
        yield invalid(where, count, f"must be less than or equal to {total} ({what})")
