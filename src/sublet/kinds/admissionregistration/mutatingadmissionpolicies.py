"""MutatingAdmissionPolicy."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import policies, show
from sublet.kinds.rules.common import Errors, fill, one_of, rule, spec_of, update_rule
from sublet.kinds.rules.webhooks import REINVOCATION
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required

_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, failurePolicy="Fail")
    policies.default_match_resources(spec.get("matchConstraints"))


def _validate(obj: Object) -> Errors:
    yield from _rules(obj, None)


def _rules(obj: Object, old: Object | None) -> Errors:
    spec = spec_of(obj)
    yield from policies.policy(spec, None if old is None else spec_of(old), mutating=True)
    mutations = spec.get("mutations") or ()
    if not mutations:
        yield required("spec.mutations", "mutations must contain at least one item")
    for index, mutation in enumerate(mutations):
        yield from _mutation(f"spec.mutations[{index}]", mutation)
    policy = spec.get("reinvocationPolicy")
    yield from one_of("spec.reinvocationPolicy", policy, REINVOCATION, needed=True)


def _mutation(path: str, mutation: Object) -> Errors:
    kind = mutation.get("patchType")
    yield from one_of(f"{path}.patchType", kind, tuple(_PATCHES), needed=True)
    if kind not in _PATCHES:
        return
    field, (other,) = _PATCHES[kind], set(_PATCHES.values()) - {_PATCHES[kind]}
    if (patch := mutation.get(field)) is None:
        yield required(f"{path}.{field}", f"must be specified when patchType is {kind}")
    elif not str(patch.get("expression") or "").strip():
        yield required(f"{path}.{field}.expression")
    if mutation.get(other) is not None:
        detail = f"must not be specified when patchType is {kind}"
        yield invalid(f"{path}.{other}", f"{{{other}}}", detail)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        len(spec.get("mutations") or ()),
        policies.kind_text(spec.get("paramKind")),
        show.age(obj, now),
    ]


KIND = builtin(
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_rules),
    update_alone=True,
    cells=_cells,
)
