"""ResourceQuota."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, gotypes, show
from sublet.kinds.rules.common import IMMUTABLE, Errors, made, rule, spec_of, update_rule
from sublet.machinery.kind import Object
from sublet.machinery.status import NIL, invalid, required

_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
_ONLY_THERE = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
_MUST_EXIST = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_COMPUTE = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_OF_CLAIMS = ("persistentvolumeclaims", "requests.storage")
_OPPOSED = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_STANDARD = frozenset(
    (
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
        "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods",
        "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip


def _resource_name(path: str, name: str) -> Errors:
    yield from amounts.resource_name(path, name)
    known = "/" in name or name in _STANDARD or amounts.is_hugepages(name.removeprefix("requests."))
    if not known:
        yield invalid(path, name, "must be a standard resource for quota")


def _amounts(path: str, found: Object | None) -> Errors:
    for name, value in (found or {}).items():
        yield from _resource_name(f"{path}[{name}]", name)
        yield from amounts.amount(f"{path}[{name}]", name, value)


def _fits(scope: str, name: str) -> bool:
    """Whether a scope can narrow what a resource counts."""
    if scope == "VolumeAttributesClass":
        return name in _OF_CLAIMS
    return name == "pods" or (scope != "BestEffort" and name in _COMPUTE)


def _scopes(path: str, scopes: Sequence[str], hard: Object) -> Errors:
    """``path`` gets every error and ``scopes`` every value: no scope is told by its place."""
    for scope in scopes:
        if scope not in _SCOPES:
            yield invalid(path, list(scopes), "unsupported scope")
        for name in hard:
            if scope in _SCOPES and name in _STANDARD and not _fits(scope, name):
                yield invalid(path, list(scopes), "unsupported scope applied to resource")
    for pair in _OPPOSED:
        if pair <= set(scopes):
            yield invalid(path, list(scopes), "conflicting scopes")


def _selector(path: str, selector: Object, hard: Object, told: Sequence[str]) -> Errors:
    """As :func:`_scopes`; requirements are not told by their place either, and opposites at all by ``told``."""
    expressions = selector.get("matchExpressions") or ()
    scopes = [item.get("scopeName") or "" for item in expressions]
    shown = {
        "MatchExpressions": [gotypes.shown("ScopedResourceSelectorRequirement", item) for item in expressions]
    }
    for item in expressions:
        scope, operator, values = (
            item.get("scopeName") or "",
            item.get("operator") or "",
            item.get("values") or [],
        )
        if scope not in _SCOPES:
            yield invalid(f"{path}.scopeName", scope, "unsupported scope")
        for name in hard:
            if scope in _SCOPES and name in _STANDARD and not _fits(scope, name):
                yield invalid(path, shown, "unsupported scope applied to resource")
        if scope in _ONLY_THERE and operator != "Exists":
            yield invalid(f"{path}.operator", operator, _MUST_EXIST)
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{path}.values", detail)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid(f"{path}.values", values, detail)
        else:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    for pair in _OPPOSED:
        if pair <= set(scopes):
            yield invalid(path, told or NIL, "conflicting scopes")


def _validate(quota: Object) -> Errors:
    spec = spec_of(quota)
    hard = spec.get("hard") or {}
    yield from _amounts("spec.hard", hard)
    yield from _scopes("spec.scopes", spec.get("scopes") or (), hard)
    if (selector := spec.get("scopeSelector")) is not None:
        yield from _selector("spec.scopeSelector.matchExpressions", selector, hard, spec.get("scopes") or ())


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = spec_of(new).get("scopes") or [], spec_of(old).get("scopes") or []
    if set(now) != set(then):
        yield invalid("spec.scopes", now or NIL, IMMUTABLE)


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    yield from _amounts("status.hard", status.get("hard"))
    yield from _amounts("status.used", status.get("used"))


def _cells(quota: Object, now: float) -> list[Any]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits.") else requests).append(text)
    return [show.name(quota), ", ".join(requests), ", ".join(limits), show.age(quota, now)]


def _default(quota: Object) -> None:
    status = quota.get("status") or {}
    amounts.rounded(made(quota, "spec").get("hard"), status.get("hard"), status.get("used"))


KIND = builtin(
    "resourcequotas",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_status=update_rule(_validate_status),
    cells=_cells,
)
