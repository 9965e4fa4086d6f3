"""The Node objects and Leases of hollow nodes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sublet.client.client import Client
from sublet.client.nodestreams import HOLLOW
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound

LEASE_NAMESPACE = "kube-node-lease"

DENIED_IMAGES = (
    "invalid.registry.k8s.io/*",
    "*.invalid/*",
    "webserver:404",
    "*:non-existent",
    "*:nonexistent",
)
"""Images that no node could pull: those which Kubernetes' own tests use for that."""


@dataclass(frozen=True)
class HollowSettings:
    """What hollow nodes say of themselves."""

    names: Sequence[str] = ("hollow-0",)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    capacity: Mapping[str, str] = field(
        default_factory=lambda: {
            "cpu": "32",
            "memory": "64Gi",
            "pods": "250",
            "ephemeral-storage": "200Gi",
            "hugepages-2Mi": "0",
        }
    )
    version: str = "v1.36.0"
    node_network: str = "10.240.0.0/16"
    """From which nodes get their addresses, in the order of their names."""
    pod_network: str = "10.244.0.0/14"
    """From which pods do. Of a node's ``spec.podCIDRs`` only the families matter to pods that have no network."""
    pod_network6: str = "fd00:244::/64"
    """From which they get addresses of the other family."""
    denied_images: Sequence[str] = DENIED_IMAGES
    finish_seconds: float | None = None
    """After which pods that may end (restartPolicy Never, OnFailure) succeed; None: never by themselves."""
    stop_seconds: float = 0.5
    """What containers take to stop when their pod is deleted with a grace period, at most that period."""
    lease_seconds: int = 40
    status_seconds: float = 300.0
    """How often the status is written although nothing changed."""
    metrics_seconds: float = 15.0
    """How often it is reported what pods use."""

    @property
    def renew_seconds(self) -> float:
        return self.lease_seconds / 4

    def address(self, name: str) -> str:
        network = ipaddress.ip_network(self.node_network)
        return str(network[1 + list(self.names).index(name)])


def node_object(settings: HollowSettings, name: str) -> Object:
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        HOLLOW: "true",
        **settings.labels,
    }
    spec: dict[str, Any] = {}
    if settings.taints:
        spec["taints"] = [dict(taint) for taint in settings.taints]
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def node_status(settings: HollowSettings, name: str, since: str, now: str) -> Object:
    """``since``: when it became ready; ``now``: the heartbeat."""
    pressures = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "hollow node: reports pods as running and runs none"),
    )
    return {
        "capacity": dict(settings.capacity),
        "allocatable": dict(settings.capacity),
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
            }
            for kind, status, reason, message in pressures
        ],
        "addresses": [
            {"type": "InternalIP", "address": settings.address(name)},
            {"type": "Hostname", "address": name},
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": "hollow",
            "osImage": "hollow",
            "containerRuntimeVersion": "hollow://0",
            "kubeletVersion": settings.version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "declaredFeatures": ["GuaranteedQoSPodCPUResize"],
    }


class Registration:
    """Keeps one Node and its Lease alive."""

    def __init__(self, client: Client, settings: HollowSettings, name: str, clock: Clock) -> None:
        self.name = name
        self._client = client
        self._settings = settings
        self._clock = clock
        self._since = ""
        self._uid = ""
        self._written = 0.0

    async def register(self) -> None:
        """Creates the Node, or takes over the one of this name, and reports it as ready."""
        nodes = resource("nodes")
        wanted = node_object(self._settings, self.name)
        try:
            node = await self._client.create(nodes, wanted)
        except AlreadyExists:
            patch = {"metadata": {"labels": wanted["metadata"]["labels"]}}
            node = await self._client.patch(nodes, self.name, patch)
        self._uid = objects.uid(node)
        ready = objects.condition(node, "Ready") or {}
        now = objects.rfc3339(self._clock.now())
        self._since = ready.get("lastTransitionTime") or now if ready.get("status") == "True" else now
        await self._write_status()

    async def beat(self) -> None:
        """Renews the Lease, and the Node's status when that is due; registers again where the Node is gone."""
        try:
            if self._clock.monotonic() - self._written >= self._settings.status_seconds:
                await self._write_status()
            await self._renew()
        except NotFound:
            await self.register()
            await self._renew()

    async def _write_status(self) -> None:
        now = objects.rfc3339(self._clock.now())
        status = node_status(self._settings, self.name, self._since, now)
        await self._client.patch(
            resource("nodes"), self.name, {"status": status}, kind="strategic", subresource="status"
        )
        self._written = self._clock.monotonic()

    async def _renew(self) -> None:
        leases = resource("leases.coordination.k8s.io")
        now = objects.rfc3339_micro(self._clock.now())
        patch = {"spec": {"renewTime": now}}
        try:
            await self._client.patch(leases, self.name, patch, LEASE_NAMESPACE)
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": self._uid}
            spec = {
                "holderIdentity": self.name,
                "leaseDurationSeconds": self._settings.lease_seconds,
                "renewTime": now,
            }
            metadata = {"name": self.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
            lease = {
                "apiVersion": leases.api_version, "kind": leases.kind, "metadata": metadata, "spec": spec,
            }  # fmt: skip
            await self._client.create(leases, lease)
