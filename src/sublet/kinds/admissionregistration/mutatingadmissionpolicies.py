"""MutatingAdmissionPolicy."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, webhooks
from sublet.kinds.rules.common import Errors, fill, one_of, rule, spec_of
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, required

_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, failurePolicy="Fail")
    webhooks.default_match_resources(spec.get("matchConstraints"))


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from webhooks.policy(spec)
    mutations = spec.get("mutations") or ()
    if not mutations:
        yield required("spec.mutations", "mutations must contain at least one item")
    for index, mutation in enumerate(mutations):
        where, kind = f"spec.mutations[{index}]", mutation.get("patchType")
        yield from one_of(f"{where}.patchType", kind, tuple(_PATCHES), needed=True)
        for name, field in _PATCHES.items():
            if name == kind:
                if not str((mutation.get(field) or {}).get("expression") or "").strip():
                    yield required(f"{where}.{field}.expression", "expression is not specified")
            elif mutation.get(field) is not None:
                yield field_forbidden(f"{where}.{field}", f"must not be specified when patchType is {kind}")
    policy = spec.get("reinvocationPolicy")
    yield from one_of("spec.reinvocationPolicy", policy, ("IfNeeded", "Never"), needed=True)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        len(spec.get("mutations") or ()),
        webhooks.kind_text(spec.get("paramKind")),
        show.age(obj, now),
    ]


KIND = builtin(
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    default=_default,
    validate=rule(_validate),
    cells=_cells,
)
