"""What a control plane holds so that machines can join it: their rights, the public ``cluster-info``, the network.

Names are kubeadm's where kubeadm has them (kubeadm design details: "TLS bootstrap", "cluster-info ConfigMap"). All
are written by an administrator's client and may be written again at any time.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublet.client import kubeconfig
from sublet.client.client import Client
from sublet.client.kubeconfig import ClusterAccess
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound

NETWORK_CONFIG = ("kube-public", "sublet-network")
"""ConfigMap that tells joining machines of the cluster's network."""
TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token"
_NODES = "system:nodes"
_MANAGER = "sublet-joining"
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class ClusterNetwork:
    """What every node must know. Of two address families there are two ranges with a comma between them."""

    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    cluster_domain: str = "cluster.local"

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        return tuple(each.strip() for each in self.pod_cidr.split(","))

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


def manifests(network: ClusterNetwork, join: ClusterAccess) -> list[Object]:
    """What to apply. ``join``: server and authority under which other machines reach the control plane."""
    return [*_node_rights(), *_joining(), _network_config(network), _cluster_info(join)]


async def ensure(client: Client, network: ClusterNetwork, join: ClusterAccess) -> None:
    """Applies all of them."""
    for each in manifests(network, join):
        await apply(client, each)


async def create_token(client: Client, clock: Clock, seconds: float = 86400.0, description: str = "") -> str:
    """A new bootstrap token, ``ID.SECRET``, good for joining until it expires (0 seconds: never)."""
    identity = "".join(secrets.choice(_ALPHABET) for _ in range(6))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    data = {
        "token-id": identity,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": TOKEN_GROUP,
    }
    if seconds:
        data["expiration"] = objects.rfc3339(clock.now() + seconds)
    if description:
        data["description"] = description
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


# -- the objects --


def role(name: str, rules: Sequence[Mapping[str, Any]], namespace: str = "") -> Object:
    return _rbac(
        "Role" if namespace else "ClusterRole", name, namespace, rules=[dict(rule) for rule in rules]
    )


def binding(name: str, role: str, subject: tuple[str, str], namespace: str = "") -> Object:
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


def rule(group: str, resources: str, verbs: str) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


def _node_rights() -> list[Object]:
    """Of the service proxy, the local-path provisioner and the DNS of a node, which all act as the node."""
    follow = "get list watch"
    rules = [
        rule("", "services nodes namespaces endpoints", follow),
        rule("discovery.k8s.io", "endpointslices", follow),
        rule("", "persistentvolumeclaims", follow),
        rule("", "persistentvolumes", f"{follow} create delete"),
        rule("storage.k8s.io", "storageclasses", follow),
        rule("", "events", "create patch update"),
    ]
    return [
        role("sublet:node", rules),
        binding("sublet:node", "sublet:node", ("Group", _NODES)),
        binding("sublet:node-proxier", "system:node-proxier", ("Group", _NODES)),
    ]


def _joining() -> list[Object]:
    """kubeadm's bindings: a token may ask for a node's certificate, which is approved and renewed by itself."""
    csr = "system:certificates.k8s.io:certificatesigningrequests"
    namespace, name = NETWORK_CONFIG
    return [
        binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", ("Group", TOKEN_GROUP)),
        binding("kubeadm:node-autoapprove-bootstrap", f"{csr}:nodeclient", ("Group", TOKEN_GROUP)),
        binding("kubeadm:node-autoapprove-certificate-rotation", f"{csr}:selfnodeclient", ("Group", _NODES)),
        role(name, [{**rule("", "configmaps", "get"), "resourceNames": [name]}], namespace),
        binding(name, name, ("Group", _NODES), namespace),
        role(
            "kubeadm:bootstrap-signer-clusterinfo",
            [{**rule("", "configmaps", "get"), "resourceNames": ["cluster-info"]}],
            "kube-public",
        ),
        binding(
            "kubeadm:bootstrap-signer-clusterinfo",
            "kubeadm:bootstrap-signer-clusterinfo",
            ("User", "system:anonymous"),
            "kube-public",
        ),
    ]


def _network_config(network: ClusterNetwork) -> Object:
    namespace, name = NETWORK_CONFIG
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": network.to_data()}


def _cluster_info(join: ClusterAccess) -> Object:
    public = kubeconfig.text(
        ClusterAccess(join.server, ca_data=join.ca_data, tls_server_name=join.tls_server_name), "cluster-info"
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": public},
    }


async def apply(client: Client, obj: Object) -> None:
    """Server-side applies one object of a built-in kind."""
    plural = obj["kind"].lower() + "s"
    group = obj["apiVersion"].rpartition("/")[0]
    where = resource(f"{plural}.{group}" if group else plural)
    await client.patch(
        where,
        objects.name(obj),
        obj,
        objects.namespace(obj),
        kind="apply",
        field_manager=_MANAGER,
        force=True,
    )
