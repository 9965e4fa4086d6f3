"""ValidatingAdmissionPolicyBinding."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import policies, show
from sublet.kinds.rules.common import Errors, rule, spec_of
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, not_supported, required

_ACTIONS = ("Audit", "Deny", "Warn")


def _default(obj: Object) -> None:
    policies.default_match_resources(spec_of(obj).get("matchResources"))


def _validate(obj: Object) -> Errors:
    yield from policies.binding(obj, mutating=False)
    actions = spec_of(obj).get("validationActions") or []
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            yield not_supported(f"spec.validationActions[{index}]", action, _ACTIONS)
        if action in actions[:index]:
            yield duplicate(f"spec.validationActions[{index}]", action)
    if {"Deny", "Warn"} <= set(actions):
        detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
        yield invalid("spec.validationActions", actions, detail)
    if not actions:
        yield required("spec.validationActions", "at least one validation action is required")


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        spec.get("policyName", ""),
        policies.reference_text(spec.get("paramRef")),
        show.age(obj, now),
    ]


KIND = builtin(
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    default=_default,
    validate=rule(_validate),
    cells=_cells,
)
