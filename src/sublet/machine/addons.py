"""The objects that make a standalone cluster usable at once: its DNS Service and the default StorageClass.

All are written by an administrator's client and may be written again at any time.
"""

from __future__ import annotations

import contextlib

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machine.provisioner import storage_class
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.node.joining import ClusterNetwork, apply, binding, role, rule

DNS_SERVICE = "kube-dns"
_NODES = "system:nodes"


async def ensure(client: Client, network: ClusterNetwork) -> None:
    """Writes all of them."""
    for each in _dns_rights():
        await apply(client, each)
    for name, each in (
        ("storageclasses.storage.k8s.io", storage_class()),
        ("services", _dns_service(network)),
    ):
        # the user's to change: only made, never changed back
        kind = resource(name)
        try:
            # asked for first: a second Service is refused for its address before its name
            await client.get(kind, objects.name(each), objects.namespace(each))
        except NotFound:
            with contextlib.suppress(AlreadyExists):
                await client.create(kind, each)


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
    await apply(client, {**head, "metadata": metadata, "ports": ports, "endpoints": [endpoint]})


def _dns_rights() -> list[Object]:
    rules = [rule("discovery.k8s.io", "endpointslices", "create get patch update delete")]
    return [
        role("sublet:node-dns", rules, "kube-system"),
        binding("sublet:node-dns", "sublet:node-dns", ("Group", _NODES), "kube-system"),
    ]


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
