"""ephemeral-volume-controller: makes the claims of pods' generic ephemeral volumes, owned by the pod."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, Conflict, StatusError
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating

_PODS = resource("pods")
_CLAIMS = resource("persistentvolumeclaims")


def claims_of(pod: Object) -> dict[str, Object]:
    """Volume -> the claim ``POD-VOLUME`` it needs."""
    found = {}
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is None:
            continue
        metadata = {
            **{k: v for k, v in (template.get("metadata") or {}).items() if k in ("labels", "annotations")},
            "name": f"{objects.name(pod)}-{volume['name']}",
            "namespace": objects.namespace(pod),
            "ownerReferences": [objects.owner_reference(pod, _PODS)],
        }
        found[volume["name"]] = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": template.get("spec") or {},
        }
    return found


def setup(context: Context) -> Controller:
    pods = context.informers.informer(_PODS)
    claims = context.informers.informer(_CLAIMS)

    async def reconcile(key: str) -> None:
        pod = pods.get(*objects.split_key(key))
        if pod is None or objects.is_deleting(pod):
            return
        for volume, claim in claims_of(pod).items():
            try:
                await provide(pod, claim)
            except StatusError as error:
                if not is_namespace_terminating(error):
                    text = f"ephemeral volume {volume}: {error}"
                    context.events.event(pod, _PODS, "Warning", "FailedBinding", text)
                raise

    async def provide(pod: Object, claim: Object) -> None:
        """Makes the claim, unless it is there. Raises ``Conflict`` where it is somebody else's."""
        key = objects.key(claim)
        found = claims.get(*objects.split_key(key))
        if found is None:
            try:
                await context.client.create(_CLAIMS, claim)
            except AlreadyExists:
                found = await context.client.get(_CLAIMS, objects.name(claim), objects.namespace(claim))
        if found is not None and (objects.controller_of(found) or {}).get("uid") != objects.uid(pod):
            raise Conflict(f"PVC {key} was not created for pod {objects.key(pod)} (pod is not owner)")

    controller = Controller("ephemeral-volume-controller", reconcile)

    def on_pod(event: str, pod: Object, _old: Object | None) -> None:
        if event == "add" and claims_of(pod):
            controller.enqueue(objects.key(pod))

    def on_claim(event: str, claim: Object, _old: Object | None) -> None:
        owner = objects.controller_of(claim)
        if event == "delete" and owner is not None and owner.get("kind") == "Pod":
            controller.enqueue(f"{objects.namespace(claim)}/{owner['name']}")

    pods.add_handler(on_pod)
    claims.add_handler(on_claim)
    return controller


CONTROLLER = Registration("ephemeral-volume-controller", setup)
