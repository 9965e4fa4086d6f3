"""ValidatingAdmissionPolicy."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, webhooks
from sublet.kinds.rules.common import Errors, fill, named, rule, spec_of
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, not_supported, required

_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, failurePolicy="Fail")
    webhooks.default_match_resources(spec.get("matchConstraints"))


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from webhooks.policy(spec)
    validations, audits = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not audits:
        detail = "validations or auditAnnotations must be non-empty; at least one validation or audit annotation is required"
        yield required("spec.validations", detail)
        yield required("spec.auditAnnotations", detail)
    for index, validation in enumerate(validations):
        where = f"spec.validations[{index}]"
        if not str(validation.get("expression") or "").strip():
            yield required(f"{where}.expression", "expression is not specified")
        reason = validation.get("reason")
        if reason is not None and reason not in _REASONS:
            yield not_supported(f"{where}.reason", reason, _REASONS)
    seen: set[str] = set()
    for index, audit in enumerate(audits):
        where, key = f"spec.auditAnnotations[{index}]", audit.get("key") or ""
        if not key:
            yield required(f"{where}.key", "key is required")
        else:
            yield from named(f"{where}.key", key, names.qualified_name)
        if key in seen:
            yield duplicate(f"{where}.key", key)
        seen.add(key)
        if not str(audit.get("valueExpression") or "").strip():
            yield required(f"{where}.valueExpression", "valueExpression is not specified")


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        len(spec.get("validations") or ()),
        webhooks.kind_text(spec.get("paramKind")),
        show.age(obj, now),
    ]


KIND = builtin(
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    default=_default,
    validate=rule(_validate),
    cells=_cells,
)
