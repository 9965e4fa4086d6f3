"""The spec of a tenant pod's host copy, as a pure function (reference 2.4)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.syncer import references
from sublet.syncer.declare import copied
from sublet.syncer.mapping import LONGEST, Mapping
from sublet.syncer.to_host.pods import environment, identity, scheduling, volumes

_HOST_DECIDES = (
    "serviceAccount", "subdomain", "setHostnameAsFQDN", "priority", "priorityClassName", "preemptionPolicy",
    "overhead", "ephemeralContainers",
)  # fmt: skip


class Surroundings(Struct, frozen=True):
    """What a pod's copy depends on besides the pod."""

    mapping: Mapping
    service_account: str
    """The workload's, on the host."""
    cluster_domain: str
    api_address: str
    """ClusterIP of the tenant's API."""
    dns_address: str
    """ClusterIP of the tenant's DNS; empty: the host's DNS is used."""
    services: tuple[Object, ...] = ()
    """The tenant's Services in the pod's namespace."""
    tokens: volumes.Tokens = field(default_factory=volumes.Tokens)
    images: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Any, ...] = ()
    runtime_class: str = ""
    priority_class: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels of the nodes that the tenant may use."""


def host_spec(pod: Object, around: Surroundings) -> Object:
    """The spec to create. The tenant's pod stays as it is."""
    spec = copied(pod["spec"])
    name, namespace = objects.name(pod), objects.namespace(pod)
    links = spec.get("enableServiceLinks") is not False
    for key in _HOST_DECIDES:
        spec.pop(key, None)
    spec["serviceAccountName"] = around.service_account
    spec["automountServiceAccountToken"] = False
    spec["enableServiceLinks"] = False
    if not spec.get("hostname"):
        spec["hostname"] = name.replace(".", "-")[:LONGEST].strip("-")
    if around.runtime_class:
        spec["runtimeClassName"] = around.runtime_class
    if around.priority_class:
        spec["priorityClassName"] = around.priority_class
    for each in spec.get("imagePullSecrets") or ():
        each["name"] = around.mapping.host_name(each.get("name") or "", namespace)
    variables = environment.injected(around.api_address, around.services, links=links)
    for container in references.all_containers(spec):
        translate_container(container, namespace, around)
        environment.prepend(container, variables)
    volumes.translate(spec, name, namespace, around.tokens, around.mapping)
    scheduling.translate(spec, namespace, around.mapping)
    if around.node_selector:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **around.node_selector}
    if around.tolerations:
        spec["tolerations"] = scheduling.merged_tolerations(
            list(around.tolerations), spec.get("tolerations") or []
        )
    _add_aliases(spec, around)
    _set_dns(spec, namespace, around)
    return spec


def translate_container(container: Object, namespace: str, around: Surroundings) -> None:
    """Names of what a container refers to, and its image."""
    mapping = around.mapping
    for each in container.get("envFrom") or ():
        for kind in ("configMapRef", "secretRef"):
            if each.get(kind) and each[kind].get("name"):
                each[kind]["name"] = mapping.host_name(each[kind]["name"], namespace)
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        for kind in ("configMapKeyRef", "secretKeyRef"):
            if source.get(kind) and source[kind].get("name"):
                source[kind]["name"] = mapping.host_name(source[kind]["name"], namespace)
        identity.translate_field(source.get("fieldRef"), mapping)
    if container.get("image") in around.images:
        container["image"] = around.images[container["image"]]


def _add_aliases(spec: Object, around: Surroundings) -> None:
    """The tenant's API under the names that certificates and clients know."""
    names = ["kubernetes.default.svc", "kubernetes.default", "kubernetes"]
    alias = {
        "ip": around.api_address,
        "hostnames": [f"kubernetes.default.svc.{around.cluster_domain}", *names],
    }
    spec["hostAliases"] = [*(spec.get("hostAliases") or []), alias]


def uses_cluster_dns(spec: Object) -> bool:
    """Whether a pod asks the cluster's DNS (``ClusterFirst`` on the node's network means the node's)."""
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst":
        return not spec.get("hostNetwork")
    return bool(policy == "ClusterFirstWithHostNet")


def _set_dns(spec: Object, namespace: str, around: Surroundings) -> None:
    if not around.dns_address or not uses_cluster_dns(spec):
        return
    own = spec.get("dnsConfig") or {}
    domain = around.cluster_domain
    searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *(own.get("searches") or ())]
    options = [each for each in own.get("options") or () if each.get("name") != "ndots"]
    ndots = [each for each in own.get("options") or () if each.get("name") == "ndots"]
    spec["dnsPolicy"] = "None"
    spec["dnsConfig"] = {
        "nameservers": list(dict.fromkeys([around.dns_address, *(own.get("nameservers") or ())])),
        "searches": list(dict.fromkeys(searches)),
        "options": [*(ndots or [{"name": "ndots", "value": "5"}]), *options],
    }
