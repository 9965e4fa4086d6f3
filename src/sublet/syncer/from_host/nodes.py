"""Nodes, host to tenant: by default a stand-in for each node that runs a pod of the tenant; the real ones if allowed.

The stand-ins need no right to read the host's nodes: the copies of pods say where they are (reference 2.13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result
from sublet.syncer import translate
from sublet.syncer.declare import READ, FromHost, Rule, Scope, copied

_NODES = resource("nodes")
_PODS = resource("pods")
_HOST_INDEX = "host pods by node"
_TENANT_INDEX = "tenant pods by node"
_CAPACITY = {"cpu": "16", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
_LINGER = 2.0
"""Seconds for which a node stays without pods, since the next one often comes at once."""


class NodeSelector(Struct, frozen=True):
    all: bool = False
    labels: dict[str, str] = field(default_factory=dict)


class Settings(Struct, frozen=True):
    enabled: bool = False
    """Show the host's real nodes, which needs a cluster-wide right to read them."""
    selector: NodeSelector = NodeSelector()
    """Which ones; by default those that run pods of the tenant."""
    clear_image_status: bool = False


def stand_in(name: str, version: str, fake_label: str, now: float) -> Object:
    """A node that says nothing about the host's but its name."""
    at = objects.rfc3339(now)

    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
        return {
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": at, "lastTransitionTime": at,
        }  # fmt: skip

    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                fake_label: "true",
                "kubernetes.io/hostname": f"fake-{name}"[:63].rstrip("-."),
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
            },
        },
        "status": {
            "capacity": dict(_CAPACITY),
            "allocatable": dict(_CAPACITY),
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "addresses": [{"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": version,
                "kubeProxyVersion": version, "containerRuntimeVersion": "containerd://0.0.0",
                "osImage": "A node of the host cluster", "kernelVersion": "0.0.0", "machineID": "", "systemUUID": "",
                "bootID": "",
            },
            # Whether the host's node can is the host's to say when a pod is resized there.
            "declaredFeatures": ["GuaranteedQoSPodCPUResize"],
        },
    }  # fmt: skip


def mirrored(host: Object, settings: Settings, managed_label: str, tenant: str) -> Object:
    """A real node as the tenant sees it."""
    metadata = host["metadata"]
    made: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": metadata["name"],
            "labels": {**(metadata.get("labels") or {}), managed_label: tenant},
            "annotations": dict(metadata.get("annotations") or {}),
        },
        "spec": copied({key: value for key, value in host["spec"].items() if key in ("taints", "unschedulable", "providerID")}),
        "status": copied(host.get("status") or {}),
    }  # fmt: skip
    if settings.clear_image_status:
        made["status"].pop("images", None)
    return made


class Nodes:
    """Keeps the tenant's nodes as they should be, one node a key."""

    def __init__(self, scope: Scope, settings: Settings) -> None:
        self._scope = scope
        self._settings = settings
        self._controller = Controller("nodes from host", self._reconcile, workers=4)
        self._fake = scope.mapping.names.key("fake-node")
        self._version = ""
        self._wanted = from_label_selector({"matchLabels": settings.selector.labels})
        self._pods = scope.host_objects(_PODS)
        self._pods.add_index(_HOST_INDEX, _node_names)
        self._tenant_pods = scope.tenant_objects(_PODS)
        self._tenant_pods.add_index(_TENANT_INDEX, _node_names)
        self._nodes = scope.tenant_objects(_NODES)
        self._real = scope.host_informers.informer(_NODES) if settings.enabled else None
        for informer in (self._pods, self._tenant_pods):
            informer.add_handler(self._pod_changed)
        self._nodes.add_handler(self._controller.enqueue_object)
        if self._real is not None:
            self._real.add_handler(self._controller.enqueue_object)

    def _pod_changed(self, event: str, obj: Object, old: Object | None) -> None:
        node = obj["spec"].get("nodeName")
        if node and (event != "update" or old is None or old["spec"].get("nodeName") != node):
            self._controller.enqueue(node)

    async def run(self) -> None:
        for each in (self._pods, self._tenant_pods, self._nodes, self._real):
            if each is not None:
                await each.synced()
        await self._controller.run()

    async def _reconcile(self, name: str) -> Result | None:
        current = self._nodes.get("", name)
        real = self._real.get("", name) if self._real is not None else None
        if self._real is not None:
            if real is not None and self._selected(real):
                await self._mirror(real, current)
                return None
        elif self._in_use(name):
            if current is None:
                await self._make(
                    stand_in(name, await self._server_version(), self._fake, self._scope.clock.now())
                )
            return None
        if current is None or not self._ours(current):
            return None
        if self._tenant_pods.by_index(_TENANT_INDEX, name):
            return Result(_LINGER)
        age = self._scope.clock.now() - objects.parse_time(current["metadata"]["creationTimestamp"])
        if age < _LINGER:
            return Result(_LINGER)
        await self._remove(current)
        return None

    def _ours(self, node: Object) -> bool:
        labels = objects.labels(node)
        managed = labels.get(self._scope.mapping.names.managed_by) == self._scope.mapping.tenant
        return labels.get(self._fake) == "true" or managed

    def _in_use(self, name: str) -> bool:
        kind = self._scope.mapping.names.key("owner-set-kind")
        return any(
            objects.annotations(pod).get(kind) != "DaemonSet"
            for pod in self._pods.by_index(_HOST_INDEX, name)
        )

    def _selected(self, node: Object) -> bool:
        selector = self._settings.selector
        if selector.all:
            return True
        if selector.labels:
            return self._wanted.matches(objects.labels(node))
        return bool(self._pods.by_index(_HOST_INDEX, objects.name(node)))

    async def _make(self, node: Object) -> None:
        try:
            made = await self._scope.tenant.create(_NODES, node)
        except AlreadyExists:
            return
        await self._complete(made, node)

    async def _complete(self, made: Object, node: Object) -> None:
        """What creation leaves out or adds: the status, the taint of a node that has yet to report."""
        name = objects.name(node)
        if made["spec"].get("taints") != node.get("spec", {}).get("taints"):
            taints = node.get("spec", {}).get("taints")
            await self._scope.tenant.patch(_NODES, name, {"spec": {"taints": taints}})
        patch = translate.difference(made.get("status") or {}, node["status"])
        if patch:
            await self._scope.tenant.patch(_NODES, name, {"status": patch}, subresource="status")

    async def _mirror(self, real: Object, current: Object | None) -> None:
        names = self._scope.mapping.names
        wanted = mirrored(real, self._settings, names.managed_by, self._scope.mapping.tenant)
        if current is None:
            await self._make(wanted)
            return
        parts = {key: current.get(key) or {} for key in ("metadata", "spec")}
        meta = {key: parts["metadata"].get(key) or {} for key in ("labels", "annotations")}
        patch: dict[str, Any] = {}
        if inner := {k: d for k in meta if (d := translate.difference(meta[k], wanted["metadata"][k]))}:
            patch["metadata"] = inner
        spec = {key: value for key, value in parts["spec"].items() if key not in ("podCIDR", "podCIDRs")}
        if inner := translate.difference(spec, wanted["spec"]):
            patch["spec"] = inner
        if patch:
            await self._scope.tenant.patch(_NODES, objects.name(real), patch)
        if inner := translate.difference(current.get("status") or {}, wanted["status"]):
            await self._scope.tenant.patch(
                _NODES, objects.name(real), {"status": inner}, subresource="status"
            )

    async def _remove(self, node: Object) -> None:
        try:
            await self._scope.tenant.delete(_NODES, objects.name(node), uid=objects.uid(node))
        except NotFound:
            return

    async def _server_version(self) -> str:
        if not self._version:
            response = await self._scope.tenant.raw("GET", "/version")
            assert isinstance(response.body, bytes)
            self._version = codec.decode_json(response.body).get("gitVersion", "")
        return self._version


def _node_names(pod: Object) -> Sequence[str]:
    node = (pod.get("spec") or {}).get("nodeName")
    return (node,) if node else ()


def _setup(scope: Scope, settings: Settings) -> Sequence[Nodes]:
    return [Nodes(scope, settings)] if _PODS in scope.synced else []


SYNC = FromHost(
    resource=_NODES,
    key="nodes",
    settings=Settings,
    setup=_setup,
    cluster_rules=lambda settings: (Rule(("",), ("nodes",), READ),) if settings.enabled else (),
)
