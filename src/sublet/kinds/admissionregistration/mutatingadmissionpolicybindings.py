"""MutatingAdmissionPolicyBinding."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import policies, show
from sublet.kinds.rules.common import Errors, rule, spec_of
from sublet.machinery.kind import Object


def _default(obj: Object) -> None:
    policies.default_match_resources(spec_of(obj).get("matchResources"))


def _validate(obj: Object) -> Errors:
    yield from policies.binding(obj, mutating=True)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        spec.get("policyName", ""),
        policies.reference_text(spec.get("paramRef")),
        show.age(obj, now),
    ]


KIND = builtin(
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    default=_default,
    validate=rule(_validate),
    cells=_cells,
)
