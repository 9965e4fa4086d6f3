"""Nobody gets a client certificate of the group ``system:masters`` from the API."""

from __future__ import annotations

import base64
import binascii

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery.status import forbidden

_GROUP = "certificates.k8s.io"
_MASTERS = "system:masters"


async def _validate(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().get("spec") or {}
    if spec.get("signerName") != "kubernetes.io/kube-apiserver-client":
        return
    if _MASTERS in _organizations(str(spec.get("request") or "")):
        raise forbidden(
            _GROUP, "certificatesigningrequests", attributes.name,
            f"use of kubernetes.io/kube-apiserver-client signer with {_MASTERS} group is not allowed",
        )  # fmt: skip


def _organizations(request: str) -> list[str]:
    """The O parts of a base64 PEM request; what cannot be read is validation's to refuse."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(request))
    except (ValueError, binascii.Error):
        return []
    return [str(part.value) for part in parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


PLUGIN = Plugin(
    "CertificateSubjectRestriction",
    on("certificatesigningrequests.certificates.k8s.io", operations=(CREATE,)),
    validate=_validate,
)
