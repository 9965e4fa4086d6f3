"""persistentvolume-expander-controller: claims that ask for more than they have.

Source: kube-controller-manager's expand controller. A CSI volume is grown by its driver's resizer, for which the claim
waits; no in-tree volume can be grown any more.
"""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

_CLAIMS, _VOLUMES = resource("persistentvolumeclaims"), resource("persistentvolumes")
_RESIZER = "volume.kubernetes.io/storage-resizer"


def wants_more(claim: Object) -> bool:
    """Whether a bound claim requests more than its volume gives it."""
    status = claim.get("status") or {}
    wanted = (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
    has = (status.get("capacity") or {}).get("storage")
    if status.get("phase") != "Bound" or not wanted or not has:
        return False
    return quantity.parse(str(wanted)) > quantity.parse(str(has))


def setup(context: Context) -> Controller:
    claims = context.informers.informer(_CLAIMS)
    volumes = context.informers.informer(_VOLUMES)

    async def reconcile(key: str) -> None:
        claim = claims.get(*objects.split_key(key))
        if claim is None or not wants_more(claim):
            return
        volume = volumes.get("", (claim.get("spec") or {}).get("volumeName") or "")
        if volume is None:
            return
        if not (volume.get("spec") or {}).get("csi") and not objects.annotations(claim).get(_RESIZER):
            text = "didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC"
            context.events.event(claim, _CLAIMS, "Warning", "ExternalExpanding", text)
            return
        text = "waiting for an external controller to expand this PVC"
        context.events.event(claim, _CLAIMS, "Normal", "ExternalExpanding", text)

    controller = Controller("persistentvolume-expander-controller", reconcile)

    def on_claim(event: str, claim: Object, old: Object | None) -> None:
        if event != "delete" and wants_more(claim) and (old is None or not wants_more(old)):
            controller.enqueue(objects.key(claim))

    claims.add_handler(on_claim)
    return controller


CONTROLLER = Registration("persistentvolume-expander-controller", setup, service_account="expand-controller")
