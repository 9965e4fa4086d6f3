"""FlowSchema."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import flows, gotypes, show
from sublet.kinds.rules.common import Errors, named, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.objects import condition
from sublet.machinery.status import invalid, not_supported, required

_MAX_PRECEDENCE = 10_000
_METHODS = ("ByNamespace", "ByUser")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def _validate(obj: Object) -> Errors:
    called, spec = show.name(obj), spec_of(obj)
    yield from _precedence("spec.matchingPrecedence", called, spec.get("matchingPrecedence") or 0)
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        shown = gotypes.shown("FlowDistinguisherMethod", method)
        yield not_supported("spec.distinguisherMethod.type", shown, _METHODS)
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    if level:
        yield from named("spec.priorityLevelConfiguration.name", level, names.dns1123_subdomain)
    else:
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for index, entry in enumerate(spec.get("rules") or ()):
        yield from flows.rule(f"spec.rules[{index}]", entry)
    if called in flows.SCHEMAS and flows.stated(spec) != flows.stated(flows.SCHEMAS[called]):
        yield invalid(
            "spec", gotypes.shown("FlowSchemaSpec", spec), f"spec of '{called}' must equal the fixed value"
        )
    yield from flows.conditions(obj)


def _precedence(path: str, called: str, value: int) -> Errors:
    if value <= 0:
        yield invalid(path, value, "must be a positive value")
    if value > _MAX_PRECEDENCE:
        yield invalid(path, value, f"must not be greater than {_MAX_PRECEDENCE}")
    if value == 1 and called != "exempt":
        yield invalid(path, value, "only the schema named 'exempt' may have matchingPrecedence 1")


def _order(obj: Object) -> tuple[int, str]:
    """As requests are matched against them."""
    return spec_of(obj).get("matchingPrecedence") or 0, show.name(obj)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    dangling = condition(obj, "Dangling")
    return [
        show.name(obj),
        (spec.get("priorityLevelConfiguration") or {}).get("name") or "",
        spec.get("matchingPrecedence") or 0,
        (spec.get("distinguisherMethod") or {}).get("type") or show.NONE,
        show.age(obj, now),
        "?" if dangling is None else str(dangling.get("status")),
    ]


KIND = builtin(
    "flowschemas.flowcontrol.apiserver.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_status=update_rule(lambda new, _old: flows.conditions(new)),
    cells=_cells,
    row_order=_order,
)
