"""CertificateSigningRequest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import certificates, show
from sublet.kinds.rules.common import Errors, fill, name_rule, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339
from sublet.machinery.status import FieldError, duplicate, field_forbidden, invalid, not_supported, required

USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing",
    "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
_MIN_SECONDS = 600


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from certificates.request("spec.request", spec.get("request") or "")
    usages = spec.get("usages") or ()
    if not usages:
        yield required("spec.usages")
    for index, usage in enumerate(usages):
        if usage not in USAGES:
            yield not_supported(f"spec.usages[{index}]", usage, USAGES)
    for index, usage in enumerate(usages):
        if usage in usages[:index]:
            yield duplicate(f"spec.usages[{index}]", usage)
    signer = spec.get("signerName") or ""
    if signer == "kubernetes.io/legacy-unknown":
        yield invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version")
    else:
        yield from certificates.signer_name("spec.signerName", signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MIN_SECONDS:
        yield invalid(
            "spec.expirationSeconds",
            seconds,
            f"may not specify a duration less than {_MIN_SECONDS} seconds (10 minutes)",
        )
    yield from certificates.conditions(obj, None)


def _prepare_update(new: Object, old: Object) -> None:
    """What was asked for stays; an update of it is not an error."""
    new["spec"] = old["spec"]


def _stamp(new: Object, old: Object | None, now: float) -> None:
    """Conditions tell when they were updated and, unless they tell so themselves, since when they hold."""
    before = (((old or {}).get("status") or {}).get("conditions")) or ()
    since = {(c.get("type"), c.get("status")): c.get("lastTransitionTime") for c in before}
    for condition in (new.get("status") or {}).get("conditions") or ():
        held = since.get((condition.get("type"), condition.get("status")))
        fill(condition, lastUpdateTime=rfc3339(now), lastTransitionTime=held or rfc3339(now))


def _validate_status(new: Object, old: Object) -> Errors:
    yield from certificates.conditions(new, old)
    now, then = ((obj.get("status") or {}).get("certificate") or "" for obj in (new, old))
    if now != then:
        yield from certificates.certificate("status.certificate", now, then)
    yield from certificates.kept_conditions(new, old)
    yield from certificates.decided_conditions(new, old)
    if then and now != then:
        yield field_forbidden("status.certificate", "updates may not modify existing certificate content")


def validate_approval(new: Object, old: Object) -> Sequence[FieldError]:
    """Rules of a write to ``/approval``, which changes nothing but conditions."""
    return [*certificates.conditions(new, old), *certificates.kept_conditions(new, old)]


def _condition_text(obj: Object) -> str:
    status = obj.get("status") or {}
    kinds = {c.get("type") for c in status.get("conditions") or ()}
    parts = [kind for kind in ("Approved", "Denied", "Failed") if kind in kinds]
    if not {"Approved", "Denied"} & kinds:
        parts.insert(0, "Pending")
    if status.get("certificate"):
        parts.append("Issued")
    return ",".join(parts)


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    seconds = spec.get("expirationSeconds")
    return [
        show.name(obj),
        show.age(obj, now),
        spec.get("signerName") or show.NONE,
        spec.get("username", ""),
        show.NONE if seconds is None else show.human_duration(seconds),
        _condition_text(obj),
    ]


KIND = builtin(
    "certificatesigningrequests.certificates.k8s.io",
    validate=rule(_validate),
    prepare_update=_prepare_update,
    reset={
        "": ("spec", "status"),
        "status": ("spec", "status.conditions"),
        "approval": ("spec", "status.certificate"),
    },
    stamp=_stamp,
    validate_status=update_rule(_validate_status),
    validate_name=name_rule(names.path_segment),
    cells=_cells,
    selectable={"spec.signerName": lambda obj: str(spec_of(obj).get("signerName") or "")},
)
