"""The Node authorizer: a node reads and writes what is its own or what its pods refer to.

Source: the Kubernetes documentation, "Using Node Authorization"; reference/kubernetes-api.md B.15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sublet.apiserver.authorization.authorizer import REFUSED, Decision, Resolved, Rule
from sublet.apiserver.authorization.rules import compile_rules
from sublet.apiserver.follower import CatchUp
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.watchcache import WatchCaches, decode_stored
from sublet.client.exchange import User
from sublet.kinds.rules.pod_annotations import MIRROR
from sublet.machinery import objects, selectors
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest

_PREFIX = "system:node:"
_GROUP = "system:nodes"
_ALLOWED = Decision(True)
_READ = frozenset(("get", "list", "watch"))
_OWN_VERBS = frozenset(("get", "create", "update", "patch", "delete"))
_BY_NODE_NAME = {
    "volumeattachments": "/registry/storage.k8s.io/volumeattachments/",
    "resourceslices": "/registry/resource.k8s.io/resourceslices/",
}
"""What names its node itself."""
_LEASES = "kube-node-lease"
_DRIVERS = ("azureFile", "cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "csi")
"""Kinds of volumes that may name a Secret."""

Answer = tuple[bool, str]

Reference = tuple[str, str, str]
"""(resource, namespace or "", name)."""


class NodeAuthorizer:
    """Call :meth:`stop` at the end. The index of pods by node is made at a node's first request."""

    def __init__(self, caches: WatchCaches, node_rules: Sequence[Rule]) -> None:
        self._caches = caches
        self._rules = compile_rules(node_rules)
        self._pods: dict[str, tuple[str, frozenset[Reference]]] = {}
        self._by_node: dict[str, set[str]] = {}
        self._follower: CatchUp | None = None
        self._special: dict[tuple[str, str], Callable[[str, RequestInfo], Answer]] = {
            ("", "secrets"): self._read_named,
            ("", "configmaps"): self._read_named,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._get,
            ("", "serviceaccounts"): self._account,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
        }
        """What is subdivided; everything else is the same for all nodes."""

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.stop()

    def decide(self, user: User, info: RequestInfo) -> Decision:
        node = node_name(user)
        if not node:
            if user.name == _PREFIX and _GROUP in user.groups:
                return Decision(False, f'unknown node for user "{_PREFIX}"')
            return REFUSED
        if self._follower is None:
            pods = self._caches.cache("/registry/core/pods/")
            self._follower = CatchUp(pods, self._pod_changed, self._reset)
        self._follower.catch_up()
        allowed, why = self._answer(node, info)
        return _ALLOWED if allowed else Decision(False, why) if why else REFUSED

    def resolve(self, user: User, namespace: str) -> Resolved:
        """A node's rights depend on its pods, so they are no list of rules."""
        if user.name.startswith(_PREFIX) and _GROUP in user.groups:
            return Resolved([], ["node authorizer does not support user rule resolution"], True)
        return Resolved()

    def _answer(self, node: str, info: RequestInfo) -> Answer:
        """Whether the node may, and why not (``""``: there is no more to say)."""
        if info.is_resource:
            special = self._special.get((info.api_group, info.resource))
            if special is not None:
                return special(node, info)
        return any(rule.allows(info) for rule in self._rules), ""

    def _read_named(self, node: str, info: RequestInfo) -> Answer:
        if info.verb not in _READ:
            return False, "can only read resources of this type"
        if info.subresource:
            return False, "cannot read subresource"
        if not info.namespace:
            return False, "can only read namespaced object of this type"
        return self._related(node, info)

    def _get(self, node: str, info: RequestInfo) -> Answer:
        if info.verb != "get":
            return False, "can only get individual resources of this type"
        if info.subresource:
            return False, "cannot get subresource"
        return self._related(node, info)

    def _claim(self, node: str, info: RequestInfo) -> Answer:
        if info.subresource != "status":
            return self._get(node, info)
        if info.verb not in ("update", "patch"):
            return False, "can only get/update/patch this type"
        return self._related(node, info)

    def _account(self, node: str, info: RequestInfo) -> Answer:
        """Of a pod of its own: read it (for whoever gives credentials to pull images), and get tokens for it."""
        if info.verb == "get" and not info.subresource:
            return self._related(node, info)
        if info.verb != "create" or not info.name:
            return False, "can only create tokens for individual service accounts"
        if info.subresource != "token":
            return False, "can only create token subresource of serviceaccount"
        return self._related(node, info)

    def _lease(self, node: str, info: RequestInfo) -> Answer:
        if info.verb not in _OWN_VERBS:
            return False, "can only get, create, update, patch, or delete a node lease"
        if info.namespace != _LEASES:
            return False, f'can only access leases in the "{_LEASES}" system namespace'
        # What a create is named is in its body: admission looks at that.
        if info.verb != "create" and info.name != node:
            return False, "can only access node lease with the same name as the requesting node"
        return True, ""

    def _csi_node(self, node: str, info: RequestInfo) -> Answer:
        if info.verb not in _OWN_VERBS:
            return False, "can only get, create, update, patch, or delete a CSINode"
        if info.subresource:
            return False, "cannot authorize CSINode subresources"
        if info.verb != "create" and info.name != node:
            return False, "can only access CSINode with the same name as the requesting node"
        return True, ""

    def _slice(self, node: str, info: RequestInfo) -> Answer:
        if info.subresource:
            return False, "cannot authorize ResourceSlice subresources"
        match info.verb:
            case "create":
                return True, ""
            case "get" | "update" | "patch" | "delete":
                return self._related(node, info)
            case "watch" | "list" | "deletecollection":
                if _selected(info.field_selector, "spec.nodeName") == node:
                    return True, ""
                return (
                    False,
                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
                )
        return False, (
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, "
            "delete, deletecollection"
        )

    def _node(self, node: str, info: RequestInfo) -> Answer:
        if info.subresource == "" and info.verb in ("create", "update", "patch"):
            return True, ""
        if info.subresource == "status" and info.verb in ("update", "patch"):
            return True, ""
        if info.subresource == "" and info.verb in _READ:
            if info.name == node:
                return True, ""
            if not info.name:
                return False, f"node '{node}' cannot read all nodes, only its own Node object"
            return False, f"node '{node}' cannot read '{info.name}', only its own Node object"
        return False, ""

    def _pod(self, node: str, info: RequestInfo) -> Answer:
        match info.subresource, info.verb:
            case "", "get":
                return self._get(node, info)
            case "", "list" | "watch":
                if _selected(info.field_selector, "spec.nodeName") == node:
                    return True, ""
                if info.name:
                    return self._related(node, info)
                return False, "can only list/watch pods with spec.nodeName field selector"
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return True, ""
        return False, ""

    def _related(self, node: str, info: RequestInfo) -> Answer:
        """Whether a way leads from the object to the node: by a pod that runs there, or directly."""
        if not info.name:
            return False, "No Object name found"
        if self._leads(node, info.resource, info.namespace, info.name):
            return True, ""
        return False, f"no relationship found between node '{node}' and this object"

    def _leads(self, node: str, resource: str, namespace: str, name: str) -> bool:
        if resource == "pods":
            return f"/registry/core/pods/{namespace}/{name}" in self._by_node.get(node, ())
        if resource in _BY_NODE_NAME:
            spec = self._read(_BY_NODE_NAME[resource], name).get("spec") or {}
            return bool(spec.get("nodeName") == node)
        wanted = (resource, namespace, name)
        return any(wanted in self._references(key) for key in self._by_node.get(node, ()))

    def _references(self, key: str) -> Iterator[Reference]:
        """What a pod refers to, with the volumes its claims are bound to."""
        for reference in self._pods[key][1]:
            yield reference
            if reference[0] == "persistentvolumeclaims":
                yield from self._volume(reference[1], reference[2])

    def _volume(self, namespace: str, claim: str) -> Iterator[Reference]:
        found = self._read("/registry/core/persistentvolumeclaims/", f"{namespace}/{claim}")
        volume = (found.get("spec") or {}).get("volumeName", "")
        if not volume:
            return
        spec = self._read("/registry/core/persistentvolumes/", volume).get("spec") or {}
        holder = spec.get("claimRef") or {}
        # Whoever writes a claim may name any volume in it: the volume says whose it is.
        if (holder.get("namespace"), holder.get("name")) == (namespace, claim):
            yield "persistentvolumes", "", volume
            yield from _secrets_of_volume(spec, namespace)

    def _read(self, prefix: str, place: str) -> Object:
        entry = self._caches.cache(prefix).get(prefix + place)
        found: Object = {} if entry is None else decode_stored(entry)
        return found

    # -- changes --

    def _reset(self) -> None:
        self._pods.clear()
        self._by_node.clear()

    def _pod_changed(self, key: str, pod: Object | None) -> None:
        old = self._pods.pop(key, None)
        if old is not None:
            self._by_node[old[0]].discard(key)
            if not self._by_node[old[0]]:
                del self._by_node[old[0]]
        node = ((pod or {}).get("spec") or {}).get("nodeName", "")
        if pod is None or not node:
            return
        self._pods[key] = (node, frozenset(readable(pod)))
        self._by_node.setdefault(node, set()).add(key)


def node_name(user: User) -> str:
    """The node that a user is, or ``""``."""
    if user.name.startswith(_PREFIX) and _GROUP in user.groups:
        return user.name[len(_PREFIX) :]
    return ""


def _selected(field_selector: str, field: str) -> str | None:
    if not field_selector:
        return None
    try:
        return selectors.parse_fields(field_selector).exact(field)
    except BadRequest:
        return None


def readable(pod: Object) -> Iterator[Reference]:
    """What its node may read because of a pod: nothing for the mirror of a pod of its own, which it wrote."""
    return iter(()) if MIRROR in objects.annotations(pod) else references(pod)


def references(pod: Object) -> Iterator[Reference]:
    """What a pod refers to by name: Secrets, ConfigMaps, claims, its ServiceAccount."""
    namespace = (pod.get("metadata") or {}).get("namespace", "")
    spec = pod.get("spec") or {}
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, account
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name", "")
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _from_environment(container, namespace)
    for volume in spec.get("volumes") or ():
        yield from _from_volume(volume, pod, namespace)
    status = pod.get("status") or {}
    made = [*(status.get("resourceClaimStatuses") or ()), status.get("extendedResourceClaimStatus") or {}]
    for claim in (*made, *(spec.get("resourceClaims") or ())):
        if name := claim.get("resourceClaimName"):
            yield "resourceclaims", namespace, name


def _from_environment(container: dict[str, Any], namespace: str) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        if reference := source.get("secretRef"):
            yield "secrets", namespace, reference.get("name", "")
        if reference := source.get("configMapRef"):
            yield "configmaps", namespace, reference.get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if reference := source.get("secretKeyRef"):
            yield "secrets", namespace, reference.get("name", "")
        if reference := source.get("configMapKeyRef"):
            yield "configmaps", namespace, reference.get("name", "")


def _from_volume(volume: dict[str, Any], pod: Object, namespace: str) -> Iterator[Reference]:
    if claim := volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", namespace, claim.get("claimName", "")
    if volume.get("ephemeral"):
        name = f"{(pod.get('metadata') or {}).get('name', '')}-{volume.get('name', '')}"
        yield "persistentvolumeclaims", namespace, name
    if secret := volume.get("secret"):
        yield "secrets", namespace, secret.get("secretName", "")
    if configmap := volume.get("configMap"):
        yield "configmaps", namespace, configmap.get("name", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if secret := source.get("secret"):
            yield "secrets", namespace, secret.get("name", "")
        if configmap := source.get("configMap"):
            yield "configmaps", namespace, configmap.get("name", "")
    for driver in _DRIVERS:
        settings = volume.get(driver) or {}
        reference = settings.get("secretRef") or settings.get("nodePublishSecretRef") or {}
        named = reference.get("name") or settings.get("secretName")
        if named:
            yield "secrets", namespace, named


def _secrets_of_volume(spec: dict[str, Any], namespace: str) -> Iterator[Reference]:
    """The Secrets that a node needs for a PersistentVolume which is bound to a claim in ``namespace``."""
    for driver in _DRIVERS:
        settings = spec.get(driver) or {}
        if name := settings.get("secretName"):
            yield "secrets", settings.get("secretNamespace") or namespace, name
        for key in ("secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
            if secret := settings.get(key):
                yield "secrets", secret.get("namespace") or namespace, secret.get("name", "")
