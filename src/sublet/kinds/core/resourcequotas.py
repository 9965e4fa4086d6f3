"""ResourceQuota."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, show
from sublet.kinds.rules.common import Errors, immutable, named, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, not_supported

_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
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
    wrong = list(named(path, name, names.qualified_name))
    yield from wrong
    known = "/" in name or name in _STANDARD or amounts.is_hugepages(name.removeprefix("requests."))
    if not wrong and not known:
        yield invalid(path, name, "must be a standard resource for quota")


def _validate(quota: Object) -> Errors:
    spec = spec_of(quota)
    for name, value in (spec.get("hard") or {}).items():
        where = f"spec.hard[{name}]"
        yield from _resource_name(where, name)
        yield from amounts.amount(where, name, value)
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            yield not_supported("spec.scopes", scope, _SCOPES)
    for pair in _OPPOSED:
        if pair <= set(scopes):
            yield invalid("spec.scopes", scopes, "conflicting scopes")
    for index, item in enumerate((spec.get("scopeSelector") or {}).get("matchExpressions") or ()):
        where = f"spec.scopeSelector.matchExpressions[{index}]"
        if item.get("scopeName") not in _SCOPES:
            yield not_supported(f"{where}.scopeName", item.get("scopeName") or "", _SCOPES)
        operator, values = item.get("operator"), item.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                yield invalid(
                    f"{where}.values",
                    values,
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                )
        elif operator not in ("Exists", "DoesNotExist"):
            yield invalid(f"{where}.operator", operator or "", "not a valid selector operator")


def _validate_update(new: Object, old: Object) -> Errors:
    now, then = spec_of(new).get("scopes") or [], spec_of(old).get("scopes") or []
    yield from immutable("spec.scopes", sorted(now), sorted(then))


def _cells(quota: Object, now: float) -> list[Any]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits.") else requests).append(text)
    return [show.name(quota), ", ".join(requests), ", ".join(limits), show.age(quota, now)]


KIND = builtin(
    "resourcequotas",
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    cells=_cells,
)
