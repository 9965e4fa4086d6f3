"""Rules of certificate requests: what is asked of whom, what was decided, what came of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence

from sublet.kinds.rules.common import Errors
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    quoted,
    required,
    too_long,
)

_DECISIONS = ("Approved", "Denied")
_OUTCOMES = (*_DECISIONS, "Failed")
"""Conditions that hold or are not there."""
_STATUSES = ("False", "True", "Unknown")
_MAX_SIGNER = 571
_PATH = "status.conditions"
_block = re.compile(
    rb"-----BEGIN ([^\n-]+)-----\s*\n((?:[^\n:]+: [^\n]*\n)*)\s*([A-Za-z0-9+/=\s]*)-----END \1-----"
).search


def signer_name(path: str, name: str) -> Errors:
    """``DOMAIN/NAME``."""
    if not name:
        yield required(path)
        return
    if name.count("/") != 1:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield invalid(path, name, detail)
        return
    domain, _, called = name.partition("/")
    if len(domain) > names.SUBDOMAIN_LIMIT:
        yield too_long(path, names.SUBDOMAIN_LIMIT)
    yield from _each_label(path, domain, names.dns1123_label)
    if "." not in domain:
        yield invalid(path, domain, "should be a domain with at least two segments separated by dots")
    yield from _each_label(path, called, names.dns1123_subdomain)
    if len(name) > _MAX_SIGNER:
        yield too_long(path, _MAX_SIGNER)


def _each_label(path: str, text: str, rule: Callable[[str], Sequence[str]]) -> Errors:
    """Of labels between dots; only the first one that is wrong is told."""
    for label in text.split("."):
        if wrong := rule(label):
            for message in wrong:
                yield invalid(path, text, f"validating label {quoted(label)}: {message}")
            return


def request(path: str, encoded: str) -> Errors:
    """A PEM block of a PKCS #10 request, signed by its own key; whether it may be granted is the signer's to decide."""
    found = _block(_decoded(encoded))
    if found is None or found[1] != b"CERTIFICATE REQUEST":
        yield invalid(path, encoded, "PEM block type must be CERTIFICATE REQUEST")
        return
    from cryptography import x509  # 12 MB that only this kind needs here

    try:
        csr = x509.load_der_x509_csr(base64.b64decode(found[3]))
        if csr.is_signature_valid:
            return
        wrong = "x509: signature of the request is not that of its key"
    except ValueError as error:
        wrong = str(error)
    yield invalid(path, encoded, wrong)


def certificate(path: str, encoded: str, before: str) -> Errors:
    """Nothing but PEM blocks of certificates; where something else was already, nothing is asked."""
    if _not_certificates(_decoded(before)):
        return
    if wrong := _not_certificates(_decoded(encoded)):
        yield invalid(path, "<certificate data>", wrong)


def _not_certificates(pem: bytes) -> str:
    """What makes it no certificates; nothing at all is fine."""
    if not pem:
        return ""
    from cryptography import x509

    blocks = 0
    while (found := _block(pem)) is not None:
        kind = found[1].decode(errors="replace")
        if kind != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quoted(kind)}"
        if found[2]:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(found[3]))
        except ValueError as error:
            return str(error)
        blocks += 1
        pem = pem[found.end() :]
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return b""


# -- conditions --


def _listed(obj: Object | None) -> list[Object]:
    return ((obj or {}).get("status") or {}).get("conditions") or []


def conditions(obj: Object, old: Object | None) -> Errors:
    """Every condition by itself and beside the others; faults that the old ones have are let be."""
    before = [found.get("type") or "" for found in _listed(old)]
    may_be_both = set(_DECISIONS) <= set(before)
    may_be_double = len(set(before)) < len(before)
    seen: list[str] = []
    for index, found in enumerate(_listed(obj)):
        where, kind, status = f"{_PATH}[{index}]", found.get("type") or "", found.get("status") or ""
        allowed = ("True",) if kind in _OUTCOMES else _STATUSES
        if not kind and "" not in before:
            yield required(f"{where}.type")
        if not status:
            yield required(f"{where}.status")
        elif status not in allowed:
            yield not_supported(f"{where}.status", status, allowed)
        if not may_be_both and kind in _DECISIONS and set(_DECISIONS) - {kind} <= set(seen):
            yield invalid(_PATH, kind, "Approved and Denied conditions are mutually exclusive")
        if kind in seen and not may_be_double:
            yield duplicate(f"{where}.type", kind)
        seen.append(kind)


def _of(obj: Object, kind: str) -> list[Object]:
    return [found for found in _listed(obj) if found.get("type") == kind]


def kept_conditions(new: Object, old: Object) -> Errors:
    """What was decided, or failed, stays so."""
    for kind in _OUTCOMES:
        if len(_of(new, kind)) < len(_of(old, kind)):
            yield field_forbidden(_PATH, f"updates may not remove a condition of type {quoted(kind)}")


def decided_conditions(new: Object, old: Object) -> Errors:
    """Decisions are made at ``/approval`` alone."""
    for kind in _DECISIONS:
        now, then = _of(new, kind), _of(old, kind)
        if len(now) > len(then):
            yield field_forbidden(_PATH, f"updates may not add a condition of type {quoted(kind)}")
        elif len(now) == len(then) and now != then:
            yield field_forbidden(_PATH, f"updates may not modify a condition of type {quoted(kind)}")
