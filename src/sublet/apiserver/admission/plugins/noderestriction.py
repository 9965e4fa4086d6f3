"""A node agent changes only its own Node, Lease and CSINode, and only pods that are bound to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sublet.apiserver.admission import certificates
from sublet.apiserver.admission.framework import CONNECT, CREATE, DELETE, UPDATE, Attributes, Context, Plugin
from sublet.kinds.rules.pod_annotations import MIRROR
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, forbidden, not_found

_GROUP = "system:nodes"
_PREFIX = "system:node:"
_RESERVED = "node-restriction.kubernetes.io"
_OWN_LABELS = frozenset((
    "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
))  # fmt: skip
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_NODE_LEASES = "kube-node-lease"
_NODE_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_NAMED = {"leases": "node lease", "csinodes": "CSINode"}
_CLAIM_STATUS = frozenset(("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"))


def _handles(attributes: Attributes) -> bool:
    is_node = _GROUP in attributes.user.groups and attributes.user.name.startswith(_PREFIX)
    return is_node and attributes.operation != CONNECT


async def _admit(attributes: Attributes, context: Context) -> None:
    node = attributes.user.name[len(_PREFIX) :]
    if not node:
        raise _refused(attributes, f'could not determine node from user "{attributes.user.name}"')
    match attributes.target:
        case ("", "pods"):
            await _pod(attributes, context, node)
        case ("", "nodes"):
            _node(attributes, node)
        case ("", "persistentvolumeclaims"):
            _claim(attributes, node)
        case ("", "serviceaccounts"):
            await _token(attributes, context, node)
        case ("coordination.k8s.io", "leases"):
            _lease(attributes, node)
        case ("storage.k8s.io", "csinodes"):
            _named(attributes, node)
        case ("resource.k8s.io", "resourceslices"):
            _slice(attributes, node)
        case ("certificates.k8s.io", "certificatesigningrequests"):
            _request(attributes, node)


async def _pod(attributes: Attributes, context: Context, node: str) -> None:
    if attributes.subresource == "eviction":
        pod = await context.reader.get_latest("", "pods", attributes.namespace, attributes.name)
        if pod is None:
            raise not_found("", "pods", attributes.name)
        _own_pod(attributes, pod, f"node {node} can only evict pods")
    elif attributes.subresource == "status":
        _own_pod(attributes, attributes.old(), f'node "{node}" can only update pod status for pods')
        if objects.labels(attributes.new()) != objects.labels(attributes.old()):
            raise _refused(attributes, f'node "{node}" cannot update labels through pod status')
        if _claim_statuses(attributes.new()) != _claim_statuses(attributes.old()):
            raise _refused(attributes, f'node "{node}" cannot update resource claim statues')
        if _extended_claim(attributes.new()) != _extended_claim(attributes.old()):
            raise _refused(attributes, f'node "{node}" cannot update extended resource claim status')
    elif attributes.subresource:
        raise _refused(
            attributes,
            f"unexpected pod subresource \"{attributes.subresource}\", only 'status' and 'eviction' are allowed",
        )
    elif attributes.operation == DELETE:
        _own_pod(attributes, attributes.old(), f'node "{node}" can only delete pods')
    elif attributes.operation == CREATE:
        await _mirror(attributes, context, node)
    else:
        raise _refused(
            attributes,
            f'unexpected operation "{attributes.operation}", node "{node}" can only create and delete mirror pods',
        )


def _own_pod(attributes: Attributes, pod: Object, what: str) -> None:
    if (pod.get("spec") or {}).get("nodeName") != attributes.user.name[len(_PREFIX) :]:
        raise _refused(attributes, f"{what} with spec.nodeName set to itself")


def _claim_statuses(pod: Object) -> list[tuple[Any, Any]]:
    stated = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    return [(each.get("name"), each.get("resourceClaimName")) for each in stated]


def _extended_claim(pod: Object) -> Object:
    return (pod.get("status") or {}).get("extendedResourceClaimStatus") or {}


async def _mirror(attributes: Attributes, context: Context, node: str) -> None:
    """A node shows what it runs by itself; its Node owns that."""
    pod = attributes.new()
    if MIRROR not in objects.annotations(pod):
        raise _refused(
            attributes, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        )
    if (pod.get("spec") or {}).get("nodeName") != node:
        raise _refused(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
    owners = objects.owners(pod)
    if len(owners) > 1:
        raise _refused(
            attributes, f'node "{node}" can only create pods with a single owner reference set to itself'
        )
    await _check_owner(attributes, context, node, owners[0] if owners else {})
    if used := next(_references(pod), ""):
        raise _refused(attributes, f'node "{node}" can not create pods that reference {used}')


async def _check_owner(attributes: Attributes, context: Context, node: str, owner: Object) -> None:
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise _refused(
            attributes, f'node "{node}" can only create pods with an owner reference set to itself'
        )
    if not owner.get("controller"):
        why = f'node "{node}" can only create pods with a controller owner reference set to itself'
        raise _refused(attributes, why)
    if owner.get("blockOwnerDeletion"):
        raise _refused(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    found = await context.reader.get_latest("", "nodes", "", node)
    if found is None:
        raise not_found("", "nodes", node)
    if owner.get("uid") != objects.uid(found):
        why = f"node {node} UID mismatch: expected {owner.get('uid')} got {objects.uid(found)}"
        raise _refused(attributes, why)


def _references(pod: Object) -> Iterator[str]:
    """What of the API a pod uses: a mirror pod may use nothing."""
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        yield "a service account"
    volumes: list[Any] = spec.get("volumes") or []
    sources = [*volumes, *(s for v in volumes for s in (v.get("projected") or {}).get("sources") or ())]
    containers = [
        c for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key) or ()
    ]
    environment = [each.get("valueFrom") or {} for c in containers for each in c.get("env") or ()]
    environment += [each for c in containers for each in c.get("envFrom") or ()]
    places = [*sources, *environment]
    if spec.get("imagePullSecrets") or any(
        p.keys() & {"secret", "secretKeyRef", "secretRef"} for p in places
    ):
        yield "secrets"
    if any(place.keys() & {"configMap", "configMapKeyRef", "configMapRef"} for place in places):
        yield "configmaps"
    if any("clusterTrustBundle" in source for source in sources):
        yield "clustertrustbundles"
    if any("persistentVolumeClaim" in volume for volume in volumes):
        yield "persistentvolumeclaims"
    if spec.get("resourceClaims"):
        yield "resourceclaims"


def _node(attributes: Attributes, node: str) -> None:
    if attributes.name != node:
        raise _refused(attributes, f'node "{node}" is not allowed to modify node "{attributes.name}"')
    if attributes.operation == DELETE:
        return
    new = attributes.new()
    if attributes.operation == CREATE:
        if (new.get("spec") or {}).get("configSource"):
            raise _refused(
                attributes, f'node "{node}" is not allowed to create pods with a non-nil configSource'
            )
        _labels(attributes, node, objects.labels(new), {})
        return
    old = attributes.old()
    if objects.owners(new) != objects.owners(old):
        raise _refused(attributes, f'node "{node}" is not allowed to modify ownerReferences')
    source = (new.get("spec") or {}).get("configSource")
    if source and source != (old.get("spec") or {}).get("configSource"):
        raise _refused(
            attributes, f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
        )
    if not attributes.subresource and _taints(new) != _taints(old):
        raise _refused(attributes, f'node "{node}" is not allowed to modify taints')
    _labels(attributes, node, objects.labels(new), objects.labels(old))


def _taints(node: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (node.get("spec") or {}).get("taints") or []
    return found


def _labels(attributes: Attributes, node: str, new: dict[str, str], old: dict[str, str]) -> None:
    changed = sorted(key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
    bad = [key for key in changed if not _may_set(key)]
    if bad:
        listed = ", ".join(bad)
        if attributes.operation == CREATE:
            raise _refused(attributes, f'node "{node}" is not allowed to set the following labels: {listed}')
        raise _refused(attributes, f"is not allowed to modify labels: {listed}")


def _may_set(key: str) -> bool:
    domain = key.partition("/")[0] if "/" in key else ""
    if domain == _RESERVED or domain.endswith("." + _RESERVED):
        return False
    system = domain in ("kubernetes.io", "k8s.io") or domain.endswith((".kubernetes.io", ".k8s.io"))
    if not system or key in _OWN_LABELS:
        return True
    return any(domain == own or domain.endswith("." + own) for own in _OWN_DOMAINS)


def _claim(attributes: Attributes, node: str) -> None:
    if attributes.subresource != "status":
        raise _refused(attributes, "may only update PVC status")
    if attributes.operation != UPDATE:
        raise _refused(attributes, f'unexpected operation "{attributes.operation}"')
    if _beyond_status(attributes.new()) != _beyond_status(attributes.old()):
        raise _refused(
            attributes,
            f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions',
        )


def _beyond_status(claim: Object) -> Object:
    """What of a claim is not a node's to say."""
    metadata = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in _CLAIM_STATUS}
    return {**claim, "metadata": metadata, "status": status}


async def _token(attributes: Attributes, context: Context, node: str) -> None:
    if attributes.subresource != "token" or attributes.operation != CREATE:
        return
    spec = attributes.new().get("spec") or {}
    reference = spec.get("boundObjectRef") or {}
    if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not reference.get("name"):
        raise _refused(attributes, "node requested token not bound to a pod")
    if not reference.get("uid"):
        raise _refused(attributes, "node requested token with a pod binding without a uid")
    pod = await context.reader.get_latest("", "pods", attributes.namespace, reference["name"])
    if pod is None:
        raise not_found("", "pods", reference["name"])
    if reference["uid"] != objects.uid(pod):
        raise _refused(
            attributes,
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        )
    if (pod.get("spec") or {}).get("nodeName") != node:
        raise _refused(attributes, "node requested token bound to a pod scheduled on a different node")
    await _audiences(attributes, context, pod, spec.get("audiences") or ())


async def _audiences(attributes: Attributes, context: Context, pod: Object, audiences: Sequence[str]) -> None:
    """A node asks for the audience that its pod names (or for the server's own, if the pod does), or was granted."""
    if len(audiences) > 1:
        raise _refused(attributes, "node may only request 0 or 1 audiences")
    wanted = audiences[0] if audiences else ""
    named = {
        str((source.get("serviceAccountToken") or {}).get("audience") or "")
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
        if source.get("serviceAccountToken") is not None
    }
    if wanted in named or wanted in await _driver_audiences(context, pod, attributes.namespace):
        return
    granted = await context.authorize(
        attributes.user, "request-serviceaccounts-token-audience", "", wanted, attributes.name,
        attributes.namespace,
    )  # fmt: skip
    if not granted:
        raise _refused(
            attributes,
            f'audience "{wanted}" not found in pod spec volume, {attributes.user.name} is not authorized to '
            "request tokens for this audience",
        )


async def _driver_audiences(context: Context, pod: Object, namespace: str) -> set[str]:
    """What the CSI drivers of a pod's volumes ask tokens for."""
    drivers = set()
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if driver := (volume.get("csi") or {}).get("driver"):
            drivers.add(driver)
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim:
            found = await context.reader.get("", "persistentvolumeclaims", namespace, claim)
            name = ((found or {}).get("spec") or {}).get("volumeName")
            held = await context.reader.get("", "persistentvolumes", "", name) if name else None
            if driver := (((held or {}).get("spec") or {}).get("csi") or {}).get("driver"):
                drivers.add(driver)
    audiences = set()
    for driver in drivers:
        found = await context.reader.get("storage.k8s.io", "csidrivers", "", driver)
        for request in ((found or {}).get("spec") or {}).get("tokenRequests") or ():
            audiences.add(str(request.get("audience") or ""))
    return audiences


def _lease(attributes: Attributes, node: str) -> None:
    if attributes.namespace != _NODE_LEASES:
        raise _refused(attributes, f'can only access leases in the "{_NODE_LEASES}" system namespace')
    _named(attributes, node)


def _named(attributes: Attributes, node: str) -> None:
    if attributes.name != node:
        what = _NAMED.get(attributes.plural, attributes.plural)
        raise _refused(attributes, f"can only access {what} with the same name as the requesting node")


def _slice(attributes: Attributes, node: str) -> None:
    """Updates are the Node authorizer's to refuse: it knows the object that there is."""
    if attributes.operation == UPDATE:
        return
    word = attributes.operation.lower()
    obj = attributes.new() if attributes.operation == CREATE else attributes.old()
    if (obj.get("spec") or {}).get("nodeName") != node:
        why = f"can only {word} ResourceSlice with the same NodeName as the requesting node"
        raise _refused(attributes, why)


def _request(attributes: Attributes, node: str) -> None:
    """A node asks for certificates of its own name."""
    spec = attributes.new().get("spec") or {} if attributes.operation == CREATE else {}
    if spec.get("signerName") not in _NODE_SIGNERS:
        return
    try:
        subject = certificates.request_subject(str(spec.get("request") or ""))
    except ValueError as error:
        raise _refused(attributes, f"unable to parse csr: {error}") from None
    if subject.common_name != f"{_PREFIX}{node}":
        raise _refused(attributes, f"can only create a node CSR with CN={_PREFIX}{node}")


def _refused(attributes: Attributes, why: str) -> Forbidden:
    return forbidden(attributes.group, attributes.plural, attributes.name, why)


PLUGIN = Plugin("NodeRestriction", _handles, admit=_admit)
