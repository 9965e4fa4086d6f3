"""What plug-ins read of a CertificateSigningRequest's ``spec.request``."""

from __future__ import annotations

import base64
import binascii

from msgspec import Struct


class Subject(Struct, frozen=True):
    common_name: str
    organizations: tuple[str, ...]


def request_subject(request: str) -> Subject:
    """Of a base64 PEM request. Raises ``ValueError``."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        pem = base64.b64decode(request)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    name = x509.load_pem_x509_csr(pem).subject
    common = [str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organizations = tuple(str(part.value) for part in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return Subject(common[-1] if common else "", organizations)
