"""ValidatingAdmissionPolicy."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import gotypes, policies, show
from sublet.kinds.rules.common import Errors, fill, named, rule, spec_of, update_rule
from sublet.kinds.rules.conditions import conditions
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, invalid, not_supported, required

_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_NOTHING = "validations or auditAnnotations must contain at least one item"
_MAX_AUDITS, _MAX_VALUE = 20, 5 * 1024


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, failurePolicy="Fail")
    policies.default_match_resources(spec.get("matchConstraints"))


def _validate(obj: Object) -> Errors:
    yield from _rules(obj, None)


def _rules(obj: Object, old: Object | None) -> Errors:
    spec = spec_of(obj)
    yield from policies.policy(spec, None if old is None else spec_of(old), mutating=False)
    validations, audits = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not audits:
        yield required("spec.validations", _NOTHING)
        yield required("spec.auditAnnotations", _NOTHING)
    for index, validation in enumerate(validations):
        yield from _validation(f"spec.validations[{index}]", validation)
    if len(audits) > _MAX_AUDITS:
        shown = [gotypes.shown("AuditAnnotation", audit) for audit in audits]
        yield invalid(
            "spec.auditAnnotations", shown, f"must not have more than {_MAX_AUDITS} auditAnnotations"
        )
    seen: set[str] = set()
    for index, audit in enumerate(audits):
        where, key = f"spec.auditAnnotations[{index}]", audit.get("key") or ""
        yield from named(f"{where}.key", f"{show.name(obj)}/{key}", names.qualified_name)
        expression = str(audit.get("valueExpression") or "").strip()
        if not expression:
            yield required(f"{where}.valueExpression", "valueExpression is not specified")
        elif len(expression.encode()) > _MAX_VALUE:
            yield required(f"{where}.valueExpression", f"must not exceed {_MAX_VALUE} bytes in length")
        if key in seen:
            yield duplicate(f"{where}.key", key)
        seen.add(key)


def _validation(path: str, validation: Object) -> Errors:
    message, computed = validation.get("message") or "", validation.get("messageExpression") or ""
    if not str(validation.get("expression") or "").strip():
        yield required(f"{path}.expression", "expression is not specified")
    if computed and not computed.strip():
        yield invalid(f"{path}.messageExpression", computed, "must be non-empty if specified")
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip() or "\r" in message.strip():
        yield invalid(f"{path}.message", message, "message must not contain line breaks")
    reason = validation.get("reason")
    if reason is not None and reason not in _REASONS:
        yield not_supported(f"{path}.reason", reason, _REASONS)


def _validate_status(new: Object, _old: Object) -> Errors:
    status = new.get("status") or {}
    for index, found in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        where = f"status.typeChecking.expressionWarnings[{index}]"
        if not found.get("warning"):
            yield required(f"{where}.warning")
        if not (found.get("fieldRef") or "").strip():
            yield required(f"{where}.fieldRef")
    yield from conditions("status.conditions", status.get("conditions") or ())


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    return [
        show.name(obj),
        len(spec.get("validations") or ()),
        policies.kind_text(spec.get("paramKind")),
        show.age(obj, now),
    ]


KIND = builtin(
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    default=_default,
    validate=rule(_validate),
    validate_update=update_rule(_rules),
    update_alone=True,
    validate_status=update_rule(_validate_status),
    cells=_cells,
)
