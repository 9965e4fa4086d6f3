"""The Node authorizer: a node reads and writes what is its own or what its pods refer to.

Source: the Kubernetes documentation, "Using Node Authorization"; reference/kubernetes-api.md B.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sublet.apiserver.authorization.authorizer import REFUSED, Decision, Rule
from sublet.apiserver.authorization.rules import compile_rules
from sublet.apiserver.follower import CatchUp
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.watchcache import WatchCaches, decode_stored
from sublet.client.exchange import User
from sublet.machinery import selectors
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest

_PREFIX = "system:node:"
_GROUP = "system:nodes"
_ALLOWED = Decision(True)
_READ = frozenset(("get", "list", "watch"))
_LEASES = "kube-node-lease"

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

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.stop()

    def decide(self, user: User, info: RequestInfo) -> Decision:
        node = node_name(user)
        if not node:
            return REFUSED
        if self._follower is None:
            pods = self._caches.cache("/registry/core/pods/")
            self._follower = CatchUp(pods, self._pod_changed, self._reset)
        self._follower.catch_up()
        why = self._refusal(node, info)
        return Decision(False, why) if why else _ALLOWED

    def _refusal(self, node: str, info: RequestInfo) -> str:
        """Why the node may not, or ``""``."""
        if info.is_resource:
            decided = self._special(node, info)
            if decided is not None:
                return decided
        if any(rule.allows(info) for rule in self._rules):
            return ""
        return "no RBAC policy matched"

    def _special(self, node: str, info: RequestInfo) -> str | None:
        """The answer for resources with rules of their own; None where the common rules decide."""
        where = (info.api_group, info.resource)
        if where in (("", "secrets"), ("", "configmaps"), ("", "persistentvolumeclaims"),
                     ("", "persistentvolumes"), ("resource.k8s.io", "resourceclaims")):  # fmt: skip
            if where[1] == "persistentvolumeclaims" and info.subresource == "status":
                return self._referenced(node, info, frozenset(("get", "update", "patch")))
            return self._referenced(node, info, _READ)
        if where == ("", "serviceaccounts"):
            if info.subresource != "token" or info.verb != "create":
                return "can only create tokens for individual service accounts"
            return self._referenced(node, info, frozenset(("create",)))
        if where == ("", "pods"):
            return self._pod(node, info)
        if where == ("", "nodes"):
            return self._own(node, info, creatable=True) if info.verb in ("get", "update", "patch") else None
        if where == ("coordination.k8s.io", "leases"):
            if info.namespace != _LEASES:
                return f'can only access leases in the "{_LEASES}" system namespace'
            return self._own(node, info, creatable=True)
        if where == ("storage.k8s.io", "csinodes"):
            return self._own(node, info, creatable=True)
        return None

    def _own(self, node: str, info: RequestInfo, *, creatable: bool) -> str | None:
        """Only the object that has the node's name; a create names it in the body, which admission checks."""
        if info.verb == "create" and creatable:
            return None
        if info.name != node:
            return f'node "{node}" cannot access {info.resource} "{info.name}", only its own'
        return None

    def _pod(self, node: str, info: RequestInfo) -> str | None:
        if info.verb in ("list", "watch"):
            if _selected_node(info.field_selector) == node or (info.name and self._has(node, info)):
                return None
            return f'can only list/watch pods with spec.nodeName field selector "{node}"'
        if info.verb == "get" and not self._has(node, info):
            return f'no relationship found between node "{node}" and this object'
        return None

    def _has(self, node: str, info: RequestInfo) -> bool:
        return f"/registry/core/pods/{info.namespace}/{info.name}" in self._by_node.get(node, ())

    def _referenced(self, node: str, info: RequestInfo, verbs: frozenset[str]) -> str:
        if info.verb not in verbs:
            return "can only read this resource, by its name"
        if not info.name:
            return "can only read resources of this type, by their name"
        wanted = (info.resource, info.namespace, info.name)
        if any(wanted in self._references(key) for key in self._by_node.get(node, ())):
            return ""
        return f'no relationship found between node "{node}" and this object'

    def _references(self, key: str) -> Iterator[Reference]:
        """What a pod refers to, with the volumes its claims are bound to."""
        for reference in self._pods[key][1]:
            yield reference
            if reference[0] == "persistentvolumeclaims":
                yield from self._volume(reference[1], reference[2])

    def _volume(self, namespace: str, claim: str) -> Iterator[Reference]:
        found = self._read("/registry/core/persistentvolumeclaims/", f"{namespace}/{claim}")
        volume = (found.get("spec") or {}).get("volumeName", "")
        if volume:
            yield "persistentvolumes", "", volume
            spec = self._read("/registry/core/persistentvolumes/", volume).get("spec") or {}
            for key in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
                secret = (spec.get("csi") or {}).get(key)
                if secret:
                    yield "secrets", secret.get("namespace", ""), secret.get("name", "")

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
        self._pods[key] = (node, frozenset(references(pod)))
        self._by_node.setdefault(node, set()).add(key)


def node_name(user: User) -> str:
    """The node that a user is, or ``""``."""
    if user.name.startswith(_PREFIX) and _GROUP in user.groups:
        return user.name[len(_PREFIX) :]
    return ""


def _selected_node(field_selector: str) -> str | None:
    if not field_selector:
        return None
    try:
        return selectors.parse_fields(field_selector).exact("spec.nodeName")
    except BadRequest:
        return None


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
    for claim in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if name := claim.get("resourceClaimName"):
            yield "resourceclaims", namespace, name
    for claim in spec.get("resourceClaims") or ():
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
    for driver in (
        "azureFile",
        "cephfs",
        "cinder",
        "flexVolume",
        "iscsi",
        "rbd",
        "scaleIO",
        "storageos",
        "csi",
    ):
        settings = volume.get(driver) or {}
        reference = settings.get("secretRef") or settings.get("nodePublishSecretRef") or {}
        named = reference.get("name") or settings.get("secretName")
        if named:
            yield "secrets", namespace, named
