"""Who writes a certificate into a request must be allowed to ``sign`` for its signer."""

from __future__ import annotations

from sublet.apiserver.admission.framework import UPDATE, Attributes, Context, Plugin, on
from sublet.machinery.status import forbidden

GROUP = "certificates.k8s.io"


async def _validate(attributes: Attributes, context: Context) -> None:
    before, after = attributes.old().get("status") or {}, attributes.new().get("status") or {}
    if all(
        (before.get(field) or None) == (after.get(field) or None) for field in ("certificate", "conditions")
    ):
        return
    signer = str((attributes.old().get("spec") or {}).get("signerName") or "")
    for name in (signer, signer.partition("/")[0] + "/*"):
        if await context.authorize(attributes.user, "sign", GROUP, "signers", name):
            return
    raise forbidden(
        GROUP, "certificatesigningrequests", attributes.name,
        f'user not permitted to sign requests with signerName "{signer}"',
    )  # fmt: skip


PLUGIN = Plugin(
    "CertificateSigning",
    on("certificatesigningrequests.certificates.k8s.io", operations=(UPDATE,), subresources=("status",)),
    validate=_validate,
)
