"""CertificateSigningRequest."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show
from sublet.kinds.rules.common import Errors, fill, name_rule, rule, spec_of, update_rule
from sublet.kinds.rules.references import domain_path
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required

USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing",
    "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
_MIN_SECONDS = 600
_BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from _request(spec.get("request") or "")
    usages = spec.get("usages") or ()
    if not usages:
        yield required("spec.usages")
    for index, usage in enumerate(usages):
        if usage not in USAGES:
            yield not_supported(f"spec.usages[{index}]", usage, USAGES)
        if usage in usages[:index]:
            yield duplicate(f"spec.usages[{index}]", usage)
    signer = spec.get("signerName") or ""
    if not signer:
        yield required("spec.signerName")
    elif signer == "kubernetes.io/legacy-unknown":
        yield invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version")
    else:
        yield from domain_path("spec.signerName", signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MIN_SECONDS:
        yield invalid(
            "spec.expirationSeconds",
            seconds,
            f"may not specify a duration less than {_MIN_SECONDS} seconds (10 minutes)",
        )
    yield from _conditions(obj)


def _request(encoded: str) -> Errors:
    """A PEM block of a PKCS #10 request; whether it may be granted is the signer's to decide."""
    try:
        pem = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        pem = b""
    if not pem.lstrip().startswith(_BEGIN):
        yield invalid("spec.request", encoded, "PEM block type must be CERTIFICATE REQUEST")
        return
    from cryptography import x509  # 12 MB that only this kind needs here

    try:
        x509.load_pem_x509_csr(pem)
    except ValueError as error:
        yield invalid("spec.request", encoded, str(error))


def _conditions(obj: Object) -> Errors:
    kinds: list[str] = []
    for index, found in enumerate((obj.get("status") or {}).get("conditions") or ()):
        where, kind, state = f"status.conditions[{index}]", found.get("type") or "", found.get("status")
        if not kind:
            yield required(f"{where}.type")
        if state not in ("False", "True", "Unknown"):
            yield not_supported(f"{where}.status", state or "", ("False", "True", "Unknown"))
        elif kind in ("Approved", "Denied", "Failed") and state != "True":
            yield not_supported(f"{where}.status", state, ("True",))
        if kind in kinds:
            yield duplicate(f"{where}.type", kind)
        kinds.append(kind)
    if {"Approved", "Denied"} <= set(kinds):
        yield invalid("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive")


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
    yield from _conditions(new)
    now, then = new.get("status") or {}, old.get("status") or {}
    kinds = {c.get("type") for c in now.get("conditions") or ()}
    for kind in ("Approved", "Denied", "Failed"):
        if kind not in kinds and any(c.get("type") == kind for c in then.get("conditions") or ()):
            yield field_forbidden(
                "status.conditions", f"updates may not remove a condition of type {kind!r}".replace("'", '"')
            )
    if then.get("certificate") and now.get("certificate") != then["certificate"]:
        yield field_forbidden("status.certificate", "updates may not change the certificate once it is set")


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
