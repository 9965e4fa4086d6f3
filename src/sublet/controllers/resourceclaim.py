"""resourceclaim-controller: makes the claims of pods' templates, and frees claims whose pods are through.

Source: kube-controller-manager's resourceclaim controller; kubernetes.io, "Dynamic Resource Allocation".
"""

from __future__ import annotations

from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile import workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

POD_CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
_MANAGER = "ResourceClaimController"
_PODS = resource("pods")
_CLAIMS = resource("resourceclaims.resource.k8s.io")
_TEMPLATES = resource("resourceclaimtemplates.resource.k8s.io")
_BY_POD = "pod"


def _made(pod: Object) -> dict[str, str | None]:
    """Name within the pod -> the claim made for it; None where none is needed."""
    return {
        entry["name"]: entry.get("resourceClaimName")
        for entry in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }


def missing(pod: Object) -> list[tuple[str, str]]:
    """(name within the pod, template) of the claims that are still to be made."""
    made = _made(pod)
    return [
        (stated["name"], stated["resourceClaimTemplateName"])
        for stated in (pod.get("spec") or {}).get("resourceClaims") or ()
        if stated.get("resourceClaimTemplateName") and stated["name"] not in made
    ]


def from_template(pod: Object, name: str, template: Object) -> Object:
    spec = template.get("spec") or {}
    metadata = spec.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), POD_CLAIM_NAME: name}
    made: Object = {
        "apiVersion": _CLAIMS.api_version,
        "kind": _CLAIMS.kind,
        "metadata": {
            "generateName": f"{objects.name(pod)}-{name}-",
            "namespace": objects.namespace(pod),
            "annotations": annotations,
            "ownerReferences": [objects.owner_reference(pod, _PODS)],
        },
        "spec": spec.get("spec") or {},
    }
    if metadata.get("labels"):
        made["metadata"]["labels"] = metadata["labels"]
    return made


def _is_through(pod: Object) -> bool:
    """Whether the pod will use no device any more."""
    return workloads.is_finished(pod) or (
        objects.is_deleting(pod) and not (pod.get("spec") or {}).get("nodeName")
    )


class _Claims:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self.pods = context.informers.informer(_PODS)
        self.claims = context.informers.informer(_CLAIMS)
        self.templates = context.informers.informer(_TEMPLATES)
        self.claims.add_index(_BY_POD, _owner_keys)

    async def reconcile_pod(self, key: str) -> None:
        """Makes what the pod lacks."""
        pod = self.pods.get(*objects.split_key(key))
        if pod is None or objects.is_deleting(pod) or workloads.is_finished(pod):
            return
        entries = [{"name": n, **({"resourceClaimName": c} if c else {})} for n, c in _made(pod).items()]
        new = []
        for name, template in missing(pod):
            claim = self._own(pod, name) or await self._create(pod, name, template)
            new.append({"name": name, "resourceClaimName": objects.name(claim)})
        if new:
            applied = {
                "apiVersion": _PODS.api_version,
                "kind": _PODS.kind,
                "metadata": {"uid": objects.uid(pod)},
                "status": {"resourceClaimStatuses": [*entries, *new]},
            }
            await self._client.patch(
                _PODS, objects.name(pod), applied, objects.namespace(pod), kind="apply", subresource="status",
                field_manager=_MANAGER, force=True,
            )  # fmt: skip

    def _own(self, pod: Object, name: str) -> Object | None:
        """A claim that was made before its name could be written down."""
        for claim in self.claims.by_index(_BY_POD, objects.uid(pod)):
            if objects.annotations(claim).get(POD_CLAIM_NAME) == name and not objects.is_deleting(claim):
                return claim
        return None

    async def _create(self, pod: Object, name: str, template_name: str) -> Object:
        namespace = objects.namespace(pod)
        template = self.templates.get(namespace, template_name)
        if template is None:
            why = f'resourceclaimtemplate.resource.k8s.io "{template_name}" not found'
            text = f'PodResourceClaim {name}: resource claim template "{template_name}": {why}'
            self._context.events.event(pod, _PODS, "Warning", "FailedResourceClaimCreation", text)
            raise NotFound(text)
        return await self._client.create(_CLAIMS, from_template(pod, name, template))

    async def reconcile_claim(self, key: str) -> None:
        """Forgets users that are through; when the last one is, or the claim is deleted, gives the devices back.

        A claim that somebody allocated ahead of any user keeps its devices.
        """
        claim = self.claims.get(*objects.split_key(key))
        if claim is None:
            return
        status = claim.get("status") or {}
        users = status.get("reservedFor") or []
        left = [user for user in users if self._uses(claim, user)]
        unused = not left and objects.is_deleting(claim) and status.get("allocation")
        if len(left) != len(users) or unused:
            claim = await self._free(claim, status, left)
        if not (claim.get("status") or {}).get("allocation"):
            claim = await self._unprotect(claim)
        owner = self._owning_pod(claim)
        if owner is not None and _is_through(owner) and not left and not objects.is_deleting(claim):
            await self._client.delete(
                _CLAIMS, objects.name(claim), objects.namespace(claim), uid=objects.uid(claim)
            )

    def _uses(self, claim: Object, user: Object) -> bool:
        if user.get("resource") != "pods" or user.get("apiGroup"):
            return True  # someone else's to free
        pod = self.pods.get(objects.namespace(claim), str(user.get("name")))
        return pod is not None and objects.uid(pod) == user.get("uid") and not _is_through(pod)

    async def _free(self, claim: Object, status: Object, left: list[Any]) -> Object:
        changed = {
            key: value for key, value in status.items() if key not in ("reservedFor", "allocation", "devices")
        }
        if left:
            changed |= {k: status[k] for k in ("allocation", "devices") if k in status}
            changed["reservedFor"] = left
        return await self._client.update_status(_CLAIMS, {**claim, "status": changed})

    async def _unprotect(self, claim: Object) -> Object:
        finalizers = claim["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return claim
        kept = [each for each in finalizers if each != FINALIZER]
        return await self._client.update(
            _CLAIMS, {**claim, "metadata": {**claim["metadata"], "finalizers": kept}}
        )

    def _owning_pod(self, claim: Object) -> Object | None:
        owner = objects.controller_of(claim)
        if owner is None or owner.get("kind") != "Pod":
            return None
        pod = self.pods.get(objects.namespace(claim), owner["name"])
        return pod if pod is not None and objects.uid(pod) == owner.get("uid") else None


def _owner_keys(claim: Object) -> tuple[str, ...]:
    owner = objects.controller_of(claim)
    return (str(owner["uid"]),) if owner is not None and owner.get("kind") == "Pod" else ()


def setup(context: Context) -> tuple[Controller, Controller]:
    work = _Claims(context)
    pods = Controller("resourceclaim-pods", work.reconcile_pod)
    claims = Controller("resourceclaim-controller", work.reconcile_claim, workers=2)

    def on_pod(event: str, pod: Object, _old: Object | None) -> None:
        extended = (pod.get("status") or {}).get("extendedResourceClaimStatus") or {}
        stated = (pod.get("spec") or {}).get("resourceClaims") or ()
        if not stated and not extended:
            return
        if event != "delete" and missing(pod):
            pods.enqueue(objects.key(pod))
        if event == "delete" or _is_through(pod):
            namespace = objects.namespace(pod)
            named = {extended.get("resourceClaimName"), *(each.get("resourceClaimName") for each in stated)}
            for name in filter(None, {*named, *_made(pod).values()}):
                claims.enqueue(f"{namespace}/{name}")

    def on_template(event: str, template: Object, _old: Object | None) -> None:
        if event == "add":
            for pod in work.pods.list(objects.namespace(template)):
                if any(name == objects.name(template) for _, name in missing(pod)):
                    pods.enqueue(objects.key(pod))

    work.pods.add_handler(on_pod)
    work.claims.add_handler(claims.enqueue_object)
    work.templates.add_handler(on_template)
    return pods, claims


CONTROLLER = Registration(
    "resourceclaim-controller",
    setup,
    service_account="resource-claim-controller",
    needs=(_CLAIMS, _TEMPLATES),
)
