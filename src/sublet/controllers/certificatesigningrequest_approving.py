"""certificatesigningrequest-approving-controller: approves the client certificates of nodes that may ask for them."""

from __future__ import annotations

from dataclasses import dataclass

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile import certificates
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.workloads import set_condition

_REQUESTS = resource("certificatesigningrequests.certificates.k8s.io")
_REVIEWS = resource("subjectaccessreviews.authorization.k8s.io")


@dataclass(frozen=True)
class Recognised:
    """Which right approves the request, and what is written then."""

    subresource: str
    message: str


def recognise(csr: Object) -> list[Recognised]:
    """The kinds of node request this is; empty where it is none."""
    if csr["spec"].get("signerName") != certificates.KUBELET_CLIENT_SIGNER:
        return []
    try:
        request = certificates.parse(csr)
    except ValueError:
        return []
    if certificates.objection(csr, request):
        return []
    found = []
    if csr["spec"].get("username") == request.common_name:
        text = "Auto approving self kubelet client certificate after SubjectAccessReview."
        found.append(Recognised("selfnodeclient", text))
    text = "Auto approving kubelet client certificate after SubjectAccessReview."
    return [*found, Recognised("nodeclient", text)]


def review_of(csr: Object, subresource: str) -> Object:
    """The question whether whoever made the request may have it approved."""
    spec = csr["spec"]
    return {
        "apiVersion": _REVIEWS.api_version,
        "kind": _REVIEWS.kind,
        "spec": {
            "user": spec.get("username", ""),
            "uid": spec.get("uid", ""),
            "groups": spec.get("groups") or [],
            "extra": spec.get("extra") or {},
            "resourceAttributes": {
                "group": _REQUESTS.group,
                "resource": _REQUESTS.plural,
                "verb": "create",
                "subresource": subresource,
                "version": "*",
            },
        },
    }


def setup(context: Context) -> Controller:
    requests = context.informers.informer(_REQUESTS)

    async def reconcile(name: str) -> None:
        csr = requests.get("", name)
        if csr is None or certificates.has_ended(csr) or objects.is_true(csr, "Approved"):
            return
        for recognised in recognise(csr):
            review = await context.client.create(_REVIEWS, review_of(csr, recognised.subresource))
            if (review.get("status") or {}).get("allowed"):
                await approve(csr, recognised.message)
                return

    async def approve(csr: Object, message: str) -> None:
        now = objects.rfc3339(context.clock.now())
        approved = {
            "type": "Approved",
            "status": "True",
            "reason": "AutoApproved",
            "message": message,
            "lastUpdateTime": now,
            "lastTransitionTime": now,
        }
        status = csr.get("status") or {}
        conditions = set_condition(status.get("conditions") or (), approved)
        changed = {**csr, "status": {**status, "conditions": conditions}}
        try:
            await context.client.update(_REQUESTS, changed, subresource="approval")
        except NotFound:
            return

    controller = Controller("certificatesigningrequest-approving-controller", reconcile)
    requests.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration(
    "certificatesigningrequest-approving-controller", setup, service_account="certificate-controller"
)
