"""Nobody gets a client certificate of the group ``system:masters`` from the API."""

from __future__ import annotations

from sublet.apiserver.admission import certificates
from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery.status import forbidden

_GROUP = "certificates.k8s.io"
_MASTERS = "system:masters"


async def _validate(attributes: Attributes, _context: Context) -> None:
    spec = attributes.new().get("spec") or {}
    if spec.get("signerName") != "kubernetes.io/kube-apiserver-client":
        return
    try:
        subject = certificates.request_subject(str(spec.get("request") or ""))
    except ValueError:
        return  # what cannot be read is validation's to refuse
    if _MASTERS in subject.organizations:
        raise forbidden(
            _GROUP, "certificatesigningrequests", attributes.name,
            f"use of kubernetes.io/kube-apiserver-client signer with {_MASTERS} group is not allowed",
        )  # fmt: skip


PLUGIN = Plugin(
    "CertificateSubjectRestriction",
    on("certificatesigningrequests.certificates.k8s.io", operations=(CREATE,)),
    validate=_validate,
)
