"""certificatesigningrequest-signing-controller: signs approved CSRs of the four ``kubernetes.io`` signers.

Settings: ``authority`` is the cluster's :class:`~sublet.pki.authority.Authority`; without one the controller is idle.
``cluster_signing_duration`` is for how many seconds it signs at most and where nothing is asked for (a year).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile import certificates
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.workloads import set_condition

if TYPE_CHECKING:
    from sublet.pki.authority import Authority

_REQUESTS = resource("certificatesigningrequests.certificates.k8s.io")
_SIGNERS = frozenset(
    {
        certificates.CLIENT_SIGNER,
        certificates.KUBELET_CLIENT_SIGNER,
        certificates.KUBELET_SERVING_SIGNER,
        certificates.LEGACY_SIGNER,
    }
)
_DAY = 86400.0
_LONGEST = 365 * _DAY
_SHORTEST = 600.0


def sign(authority: Authority, csr: Object, longest: float = _LONGEST) -> bytes:
    """The certificate, PEM. Raises ``ValueError`` where the signer's rules forbid it."""
    from sublet.pki.authority import CLIENT, SERVER  # 12 MB, for clusters in which someone asks

    request = certificates.parse(csr)
    if why := certificates.objection(csr, request):
        raise ValueError(why)
    spec = csr["spec"]
    stated = spec.get("expirationSeconds")
    seconds = longest if stated is None else min(longest, max(_SHORTEST, float(stated)))
    usages = [usage for usage in (CLIENT, SERVER) if usage in (spec.get("usages") or ())]
    return authority.certify(
        request.public_key,
        request.common_name,
        request.organizations,
        request.dns,
        request.ips,
        seconds / _DAY,
        usages or (CLIENT,),
    )


def setup(context: Context) -> Controller:
    requests = context.informers.informer(_REQUESTS)
    authority = context.settings.get("authority")
    longest = float(context.settings.get("cluster_signing_duration", _LONGEST))

    async def reconcile(name: str) -> None:
        csr = requests.get("", name)
        if authority is None or csr is None or objects.is_deleting(csr):
            return
        if csr["spec"].get("signerName") not in _SIGNERS:
            return
        if not certificates.is_approved(csr) or certificates.has_ended(csr):
            return
        status = dict(csr.get("status") or {})
        try:
            status["certificate"] = base64.b64encode(sign(authority, csr, longest)).decode()
        except ValueError as error:
            now = objects.rfc3339(context.clock.now())
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(error),
                "lastTransitionTime": now,
                "lastUpdateTime": now,
            }
            status["conditions"] = set_condition(status.get("conditions") or (), failed)
        try:
            await context.client.update_status(_REQUESTS, {**csr, "status": status})
        except NotFound:
            return

    controller = Controller("certificatesigningrequest-signing-controller", reconcile)
    requests.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration(
    "certificatesigningrequest-signing-controller", setup, service_account="certificate-controller"
)
