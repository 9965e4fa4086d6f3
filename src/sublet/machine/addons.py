"""The objects that make a bare control plane a cluster one can use: rights of nodes, DNS, storage, how to join.

All are written by an administrator's client and may be written again at any time.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.client.client import Client
from sublet.client.kubeconfig import ClusterAccess, to_config
from sublet.kinds.resources import resource
from sublet.machine.provisioner import storage_class
from sublet.machinery import codec, objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound

NETWORK_CONFIG = ("kube-public", "sublet-network")
"""ConfigMap that tells joining machines of the cluster's network."""
DNS_SERVICE = "kube-dns"
TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token"
_NODES = "system:nodes"
_MANAGER = "sublet-machine"
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class ClusterNetwork:
    """What every node must know."""

    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    cluster_domain: str = "cluster.local"

    @property
    def cluster_dns(self) -> str:
        """The tenth service address, as everywhere."""
        return str(ipaddress.ip_network(self.service_cidr.split(",")[0])[10])

    def to_data(self) -> dict[str, str]:
        return {
            "podCIDR": self.pod_cidr,
            "serviceCIDR": self.service_cidr,
            "clusterDomain": self.cluster_domain,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> ClusterNetwork:
        own = cls()
        return cls(
            data.get("podCIDR") or own.pod_cidr,
            data.get("serviceCIDR") or own.service_cidr,
            data.get("clusterDomain") or own.cluster_domain,
        )


async def ensure(client: Client, network: ClusterNetwork, join: ClusterAccess) -> None:
    """Writes all of them. ``join``: server and authority under which other machines reach the control plane."""
    for each in (*_node_rights(), *_joining(), *_dns_rights(), _network_config(network), _cluster_info(join)):
        await _apply(client, each)
    for each in (storage_class(), _dns_service(network)):
        # the user's to change: only made, never changed back
        await _create(client, each)


async def create_token(client: Client, clock: Clock, seconds: float = 86400.0) -> str:
    """A new bootstrap token, ``ID.SECRET``, good for joining until it expires."""
    identity = "".join(secrets.choice(_ALPHABET) for _ in range(6))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    data = {
        "token-id": identity,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": TOKEN_GROUP,
        "expiration": objects.rfc3339(clock.now() + seconds),
    }
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"}
    kind = {"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token"}
    await client.create(resource("secrets"), {**kind, "metadata": metadata, "data": encoded})
    return f"{identity}.{secret}"


async def read_network(client: Client) -> ClusterNetwork:
    """What the cluster says of its network; the usual ranges if it says nothing."""
    namespace, name = NETWORK_CONFIG
    try:
        found = await client.get(resource("configmaps"), name, namespace)
    except NotFound:
        return ClusterNetwork()
    return ClusterNetwork.from_data(found.get("data") or {})


async def publish_dns(client: Client, node: str, address: str, port: int) -> None:
    """Puts a DNS server that runs on a node, outside of pods, behind the Service kube-dns."""
    metadata = {
        "name": f"{DNS_SERVICE}-{node}",
        "namespace": "kube-system",
        "labels": {
            "kubernetes.io/service-name": DNS_SERVICE,
            "endpointslice.kubernetes.io/managed-by": "machine.sublet.dev",
        },
    }
    ports = [
        {"name": "dns", "port": port, "protocol": "UDP"},
        {"name": "dns-tcp", "port": port, "protocol": "TCP"},
    ]
    ready = {"ready": True, "serving": True, "terminating": False}
    endpoint = {"addresses": [address], "conditions": ready, "nodeName": node}
    head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    await _apply(client, {**head, "metadata": metadata, "ports": ports, "endpoints": [endpoint]})


# -- the objects --


def _role(name: str, rules: Sequence[Mapping[str, Any]], namespace: str = "") -> Object:
    return _rbac(
        "Role" if namespace else "ClusterRole", name, namespace, rules=[dict(rule) for rule in rules]
    )


def _binding(name: str, role: str, subject: tuple[str, str], namespace: str = "") -> Object:
    kind, subject_name = subject
    return _rbac(
        "RoleBinding" if namespace else "ClusterRoleBinding",
        name,
        namespace,
        roleRef={
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role" if namespace else "ClusterRole",
            "name": role,
        },
        subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject_name}],
    )


def _rbac(kind: str, name: str, namespace: str, **content: Any) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, **content}


def _rule(group: str, resources: str, verbs: str) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


def _node_rights() -> list[Object]:
    """Of the service proxy, the local-path provisioner and the DNS of a node, which all act as the node."""
    follow = "get list watch"
    rules = [
        _rule("", "services nodes namespaces endpoints", follow),
        _rule("discovery.k8s.io", "endpointslices", follow),
        _rule("", "persistentvolumeclaims", follow),
        _rule("", "persistentvolumes", f"{follow} create delete"),
        _rule("storage.k8s.io", "storageclasses", follow),
        _rule("", "events", "create patch update"),
    ]
    return [
        _role("sublet:node", rules),
        _binding("sublet:node", "sublet:node", ("Group", _NODES)),
        _binding("sublet:node-proxier", "system:node-proxier", ("Group", _NODES)),
    ]


def _joining() -> list[Object]:
    """kubeadm's bindings: a token may ask for a node's certificate, which is approved and renewed by itself."""
    csr = "system:certificates.k8s.io:certificatesigningrequests"
    namespace, name = NETWORK_CONFIG
    return [
        _binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", ("Group", TOKEN_GROUP)),
        _binding("kubeadm:node-autoapprove-bootstrap", f"{csr}:nodeclient", ("Group", TOKEN_GROUP)),
        _binding("kubeadm:node-autoapprove-certificate-rotation", f"{csr}:selfnodeclient", ("Group", _NODES)),
        _role(name, [{**_rule("", "configmaps", "get"), "resourceNames": [name]}], namespace),
        _binding(name, name, ("Group", _NODES), namespace),
        _role(
            "kubeadm:bootstrap-signer-clusterinfo",
            [{**_rule("", "configmaps", "get"), "resourceNames": ["cluster-info"]}],
            "kube-public",
        ),
        _binding(
            "kubeadm:bootstrap-signer-clusterinfo",
            "kubeadm:bootstrap-signer-clusterinfo",
            ("User", "system:anonymous"),
            "kube-public",
        ),
    ]


def _dns_rights() -> list[Object]:
    rules = [_rule("discovery.k8s.io", "endpointslices", "create get patch update delete")]
    return [
        _role("sublet:node-dns", rules, "kube-system"),
        _binding("sublet:node-dns", "sublet:node-dns", ("Group", _NODES), "kube-system"),
    ]


def _network_config(network: ClusterNetwork) -> Object:
    namespace, name = NETWORK_CONFIG
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": network.to_data()}


def _cluster_info(join: ClusterAccess) -> Object:
    public = to_config(ClusterAccess(join.server, ca_data=join.ca_data), "cluster-info")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": codec.encode_yaml(public).decode()},
    }


def _dns_service(network: ClusterNetwork) -> Object:
    labels = {
        "k8s-app": DNS_SERVICE,
        "kubernetes.io/name": "CoreDNS",
        "kubernetes.io/cluster-service": "true",
    }
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": DNS_SERVICE, "namespace": "kube-system", "labels": labels},
        "spec": {"clusterIP": network.cluster_dns, "ports": ports},
    }


_RESOURCES = {
    each.kind: each
    for each in map(
        resource,
        (
            "configmaps", "services", "endpointslices.discovery.k8s.io", "storageclasses.storage.k8s.io",
            "clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io",
            "roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
        ),
    )
}  # fmt: skip


async def _apply(client: Client, obj: Object) -> None:
    kind = _RESOURCES[obj["kind"]]
    await client.patch(
        kind, objects.name(obj), obj, objects.namespace(obj), kind="apply", field_manager=_MANAGER, force=True
    )


async def _create(client: Client, obj: Object) -> None:
    kind = _RESOURCES[obj["kind"]]
    try:
        # asked for first: a second Service is refused for its address before its name
        await client.get(kind, objects.name(obj), objects.namespace(obj))
    except NotFound:
        with contextlib.suppress(AlreadyExists):
            await client.create(kind, obj)
