"""persistentvolumeclaim-protection-controller: a claim in use by a pod stays until no pod uses it."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.volumes import claim_keys

FINALIZER = "kubernetes.io/pvc-protection"
_CLAIMS = resource("persistentvolumeclaims")
_PODS = resource("pods")
_INDEX = "claims"


def uses(pod: Object) -> bool:
    """A pod that was never scheduled or has ended holds no volume."""
    return bool((pod.get("spec") or {}).get("nodeName")) and not workloads.is_finished(pod)


def setup(context: Context) -> Controller:
    claims = context.informers.informer(_CLAIMS)
    pods = context.informers.informer(_PODS)
    pods.add_index(_INDEX, claim_keys)

    async def reconcile(key: str) -> None:
        claim = claims.get(*objects.split_key(key))
        if claim is None:
            return
        held = objects.finalizers(claim)
        if objects.is_deleting(claim):
            if FINALIZER in held and not await in_use(key):
                await write(claim, [each for each in held if each != FINALIZER])
        elif FINALIZER not in held:
            await write(claim, [*held, FINALIZER])

    async def in_use(key: str) -> bool:
        if any(uses(pod) for pod in pods.by_index(_INDEX, key)):
            return True
        # The informer may lack a pod that was scheduled just now: ask before the claim is let go.
        namespace, _name = objects.split_key(key)
        live = await context.client.list(_PODS, namespace)
        return any(uses(pod) and key in claim_keys(pod) for pod in live["items"])

    async def write(claim: Object, finalizers: list[str]) -> None:
        metadata = {**claim["metadata"], "finalizers": finalizers}
        try:
            await context.client.update(_CLAIMS, {**claim, "metadata": metadata})
        except NotFound:
            return

    controller = Controller("persistentvolumeclaim-protection-controller", reconcile)

    def on_pod(event: str, pod: Object, _old: Object | None) -> None:
        if event == "delete" or not uses(pod):
            for key in claim_keys(pod):
                controller.enqueue(key)

    claims.add_handler(controller.enqueue_object)
    pods.add_handler(on_pod)
    return controller


CONTROLLER = Registration(
    "persistentvolumeclaim-protection-controller", setup, service_account="pvc-protection-controller"
)
