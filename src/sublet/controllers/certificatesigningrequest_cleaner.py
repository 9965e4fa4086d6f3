"""certificatesigningrequest-cleaner-controller: deletes CSRs that are of no more use.

Pending ones after 24 h; approved, denied, failed and issued ones after 1 h; those whose certificate has expired at once.
"""

from __future__ import annotations

import base64
import math

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

_REQUESTS = resource("certificatesigningrequests.certificates.k8s.io")
_PENDING = 24 * 3600.0
_DECIDED = 3600.0


def expires_in(csr: Object, now: float) -> float:
    """Seconds until the request may go."""
    conditions = (csr.get("status") or {}).get("conditions") or ()
    times = [
        objects.parse_time(time)
        for condition in conditions
        if (time := condition.get("lastUpdateTime") or condition.get("lastTransitionTime"))
    ]
    if times:
        return min(max(times) + _DECIDED, _ends(csr)) - now
    return objects.parse_time(csr["metadata"]["creationTimestamp"]) + _PENDING - now


def _ends(csr: Object) -> float:
    """Unix seconds until which the issued certificate is good; infinite where there is none that can be read.

    Only of those with a stated life is the certificate read: all others live longer than their requests.
    """
    issued = (csr.get("status") or {}).get("certificate")
    stated = (csr.get("spec") or {}).get("expirationSeconds")
    if not issued or stated is None or stated > _DECIDED:
        return math.inf
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(issued))
    except ValueError:
        return math.inf
    return certificate.not_valid_after_utc.timestamp()


def setup(context: Context) -> Controller:
    requests = context.informers.informer(_REQUESTS)

    async def reconcile(name: str) -> Result | None:
        csr = requests.get("", name)
        if csr is None:
            return None
        left = expires_in(csr, context.clock.now())
        if left > 0:
            return Result(requeue_after=left)
        try:
            await context.client.delete(_REQUESTS, name, uid=objects.uid(csr))
        except NotFound:
            return None
        return None

    controller = Controller("certificatesigningrequest-cleaner-controller", reconcile)
    requests.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration(
    "certificatesigningrequest-cleaner-controller", setup, service_account="certificate-controller"
)
