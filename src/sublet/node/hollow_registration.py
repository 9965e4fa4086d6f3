"""The Node objects and Leases of hollow nodes."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sublet.client.client import Client
from sublet.client.nodestreams import HOLLOW
from sublet.kinds.resources import resource
from sublet.machinery import networks, objects
from sublet.machinery.clock import Clock
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.node.statuswriter import replaced

LEASE_NAMESPACE = "kube-node-lease"

_ASK_AGAIN = 5.0
"""Seconds until a node that had no ranges of addresses is looked at again."""
_LOOK_SECONDS = 60.0
"""For which a node without ranges is looked at with each heartbeat; later only for the sake of its pods."""

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
    node_network6: str = "fd00:240::/64"
    """From which they get a second one, where their pods have addresses of both families."""
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

    def addresses(self, name: str, families: Sequence[str] = ()) -> list[str]:
        """A node's own. ``families``: those of its pods; of both it has one, in their order."""
        number = 1 + list(self.names).index(name)
        found = [str(ipaddress.ip_network(each)[number]) for each in (self.node_network, self.node_network6)]
        if len(families) < 2:
            return found[:1]
        return sorted(found, key=lambda address: list(families).index(networks.family(address)))


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


def node_status(
    settings: HollowSettings, name: str, since: str, now: str, addresses: Sequence[str]
) -> Object:
    """``since``: when it became ready; ``now``: the heartbeat; ``addresses``: its own."""
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
            *({"type": "InternalIP", "address": address} for address in addresses),
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
        self.families: tuple[str, ...] = ()
        """Of the node's own ranges, once it has any."""
        self.addresses = settings.addresses(name)
        """The node's own."""
        self._asked = -math.inf
        self._registered = 0.0

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
        self._registered = self._clock.monotonic()
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
            if not self.families and self._clock.monotonic() - self._registered < _LOOK_SECONDS:
                self._asked = -math.inf
                await self.learn()
        except NotFound:
            await self.register()
            await self._renew()

    async def learn(self) -> tuple[str, ...]:
        """The families of the node's ranges; none while it has none. Tells of a second address of the node."""
        now = self._clock.monotonic()
        if self.families or now - self._asked < _ASK_AGAIN:
            return self.families
        self._asked = now
        try:
            node = await self._client.get(resource("nodes"), self.name)
        except NotFound:
            return ()
        ranges = (node.get("spec") or {}).get("podCIDRs") or ()
        self.families = tuple(networks.family(each) for each in ranges)
        if len(self.families) > 1:
            self.addresses = self._settings.addresses(self.name, self.families)
            await self._write_status()
        return self.families

    async def _write_status(self) -> None:
        now = objects.rfc3339(self._clock.now())
        status = node_status(self._settings, self.name, self._since, now, self.addresses)
        # Two addresses of one type cannot be merged.
        status["addresses"] = replaced("addresses", status["addresses"])
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
