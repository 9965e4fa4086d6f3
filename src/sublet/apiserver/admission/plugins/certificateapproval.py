"""Who approves a certificate request must be allowed to ``approve`` for its signer."""

from __future__ import annotations

from sublet.apiserver.admission.framework import UPDATE, Attributes, Context, Plugin, on
from sublet.machinery.status import forbidden

GROUP = "certificates.k8s.io"


async def may_use_signer(attributes: Attributes, context: Context, verb: str, signer: str) -> bool:
    """Whether the user may ``verb`` this signer or all of its domain."""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        if await context.authorize(attributes.user, verb, GROUP, "signers", name):
            return True
    return False


async def _validate(attributes: Attributes, context: Context) -> None:
    signer = str((attributes.old().get("spec") or {}).get("signerName") or "")
    if not await may_use_signer(attributes, context, "approve", signer):
        raise forbidden(
            GROUP, "certificatesigningrequests", attributes.name,
            f'user not permitted to approve requests with signerName "{signer}"',
        )  # fmt: skip


PLUGIN = Plugin(
    "CertificateApproval",
    on("certificatesigningrequests.certificates.k8s.io", operations=(UPDATE,), subresources=("approval",)),
    validate=_validate,
)
