"""Servers' certificates that Go believes and OpenSSL does not: those that name nobody.

Whoever makes certificates without names (pepr does) signs one whose subject and issuer are both empty. OpenSSL takes
that for one which signed itself and looks no further; Go asks whether an authority of that name signed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

REFUSED = 18
"""OpenSSL's ``X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT``."""


def vouched(certificate: bytes, authorities: bytes, now: float) -> tuple[bytes, float] | None:
    """(PEM, until when): a server's certificate (DER) which may be trusted as if it were an authority itself.

    So it is where its subject is its issuer and one of ``authorities`` (PEM), whose time it is, signed it. Its own
    time and its names are still to be looked at. Raises ``ValueError`` for what is no certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    shown = x509.load_der_x509_certificate(certificate)
    if shown.subject != shown.issuer:
        return None
    for authority in x509.load_pem_x509_certificates(authorities):
        begins, ends = (
            at.timestamp() for at in (authority.not_valid_before_utc, authority.not_valid_after_utc)
        )
        if begins <= now <= ends and _is_authority(authority) and _signed(authority, shown):
            return shown.public_bytes(Encoding.PEM), ends
    return None


def _is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _signed(authority: Certificate, certificate: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):  # by another key, of another name, in a way unknown
        return False
    return True
