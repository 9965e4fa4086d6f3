"""What a scheduler plug-in is: a value with functions for the steps of one pod's scheduling.

Source: kube-scheduler's scheduling framework, thinned: *prepare* (PreFilter and PreScore) runs once per pod and may
end the attempt or the plug-in's part in it; *filter* and *score* run per node; *bind* (PreBind) may wait.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sublet.client.client import Client
from sublet.client.informer import Informer, InformerFactory
from sublet.kinds.resources import resource
from sublet.machinery.clock import Clock
from sublet.scheduler.allocation import Selectors
from sublet.scheduler.extendedclaims import served
from sublet.scheduler.nodeinfo import NodeInfo
from sublet.scheduler.podinfo import PodInfo

MAX_SCORE = 100

# Events that may make a pod schedulable (Plugin.wakes), as metrics name them.
NODE_ADDED = "NodeAdd"
NODE_RESOURCES = "NodeUpdateNodeAllocatable"
NODE_LABELS = "NodeUpdateNodeLabel"
NODE_TAINTS = "NodeUpdateNodeTaint"
POD_ADDED = "AssignedPodAdd"
POD_DELETED = "AssignedPodDelete"
VOLUME_CHANGED = "VolumeChange"
DEVICE_CHANGED = "DeviceChange"


@dataclass(frozen=True, slots=True)
class Rejection:
    """No node can take the pod; ``reason`` is the text after ``0/N nodes are available:``."""

    reason: str


class Skip:
    """The plug-in has nothing to say about this pod."""


SKIP = Skip()


@dataclass(frozen=True)
class Devices:
    """Informers of what claims for devices are served from."""

    claims: Informer
    slices: Informer
    classes: Informer
    extended: bool = True
    """Whether device classes serve extended resources, too (DRAExtendedResource)."""

    @classmethod
    def of(cls, informers: InformerFactory, extended: bool = True) -> Devices:
        return cls(
            informers.informer(resource("resourceclaims.resource.k8s.io")),
            informers.informer(resource("resourceslices.resource.k8s.io")),
            informers.informer(resource("deviceclasses.resource.k8s.io")),
            extended,
        )

    def all(self) -> Sequence[Informer]:
        return (self.claims, self.slices, self.classes)


@dataclass(frozen=True)
class Lookup:
    """What plug-ins may read: informers of what is not a node or a pod."""

    claims: Informer
    volumes: Informer
    classes: Informer
    namespaces: Informer
    csi_nodes: Informer
    devices: Devices | None
    """None: this Kubernetes minor has no claims for devices."""

    @classmethod
    def of(cls, informers: InformerFactory, devices: bool = True, extended: bool = True) -> Lookup:
        return cls(
            informers.informer(resource("persistentvolumeclaims")),
            informers.informer(resource("persistentvolumes")),
            informers.informer(resource("storageclasses.storage.k8s.io")),
            informers.informer(resource("namespaces")),
            informers.informer(resource("csinodes.storage.k8s.io")),
            Devices.of(informers, extended) if devices else None,
        )

    def by_class(self, wanted: Collection[str]) -> dict[str, str]:
        """Of these extended resources those that device classes serve, each with its class."""
        if self.devices is None or not self.devices.extended or not any("/" in name for name in wanted):
            return {}
        return served(self.devices.classes.list(), wanted)

    def storage(self) -> Sequence[Informer]:
        """A change in these may let a pod that waits for a volume fit."""
        return (self.claims, self.volumes, self.classes, self.csi_nodes)


@dataclass(frozen=True)
class Cluster:
    """The nodes as one scheduling attempt sees them, and what else it may read."""

    nodes: Mapping[str, NodeInfo]
    lookup: Lookup
    client: Client
    clock: Clock
    allocations: dict[str, Any] = field(default_factory=dict)
    """uid of a ResourceClaim -> the allocation that is decided but not yet in the API."""
    selectors: Selectors = field(default_factory=Selectors)
    tell: Callable[[PodInfo, str, str], None] = lambda _pod, _reason, _message: None
    """Makes an event of a pod: (pod, reason, message)."""


Prepare = Callable[[PodInfo, Cluster], Any]
Filter = Callable[[Any, PodInfo, NodeInfo], str | None]
Score = Callable[[Any, PodInfo, NodeInfo], float]
Bind = Callable[[Any, PodInfo, str, Cluster], Awaitable[None]]
Reserve = Callable[[Any, PodInfo, str, Cluster], None]
Relieve = Callable[[Any, PodInfo], tuple[str, Callable[[Cluster], Awaitable[None]] | None]]
Configure = Callable[[Mapping[str, Any]], "Plugin"]


def _nothing(_pod: PodInfo, _cluster: Cluster) -> None:
    return None


@dataclass(frozen=True)
class Plugin:
    """A file of ``plugins/`` states one as ``PLUGIN``."""

    name: str
    prepare: Prepare = _nothing
    """Computes what the other functions get as their first argument; :data:`SKIP` or a :class:`Rejection`."""
    filter: Filter | None = None
    """Why the node cannot take the pod, or None."""
    prepare_score: Prepare | None = None
    """Like ``prepare``, for ``score`` only (the state that ``score`` gets); None: ``prepare``'s."""
    score: Score | None = None
    """Any number; the higher the better."""
    normalize: str = "none"
    """``none``: scores are 0 to 100; ``max``: scaled to the largest; ``reverse``: so that the largest becomes 0;
    ``range``: the smallest becomes 0, the largest 100."""
    weight: int = 1
    reserve: Reserve | None = None
    """Runs with the decision for a node, waits for nothing."""
    unreserve: Reserve | None = None
    """Takes back what ``reserve`` did: the pod is not bound."""
    bind: Bind | None = None
    """Runs before the pod is bound, may wait; raises ``StatusError`` or ``TimeoutError`` to give the node back."""
    relieve: Relieve | None = None
    """Runs where no node was found: (what is said of it, what may help without taking anything from other pods)."""
    busy: Callable[[Any], bool] | None = None
    """(state): whether ``bind`` has something to do for this pod; None: always."""
    wakes: frozenset[str] = frozenset()
    """What may change its rejection."""
    preemptible: bool = False
    """Whether removing pods from a node may change its rejection."""
    unresolvable: Callable[[Any, PodInfo, NodeInfo, str], bool] | None = None
    """(state, pod, node, reason): whether this very rejection stays whatever pods are removed; None: none does."""
    remove_pod: Callable[[Any, PodInfo, PodInfo, NodeInfo], None] | None = None
    """(state, pod, removed, node): adjusts state when preemption tries a node without a pod."""
    add_pod: Callable[[Any, PodInfo, PodInfo, NodeInfo], None] | None = None
    configure: Configure | None = None
    """The plug-in as the ``args`` of a profile's ``pluginConfig`` want it; raises ``ValueError`` saying what is wrong.
    None: it has no settings."""


@dataclass(frozen=True)
class Profile:
    """The plug-ins that schedule the pods of one ``spec.schedulerName``, in order."""

    scheduler_name: str
    plugins: tuple[Plugin, ...]
    preemption: bool = True


@dataclass(slots=True)
class Attempt:
    """One pod's pass over the nodes: what was prepared, and why nodes were refused."""

    pod: PodInfo
    profile: Profile
    states: dict[str, Any] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    refused: dict[str, tuple[Plugin, str]] = field(default_factory=dict)
    """Node name -> the plug-in that refused it, and its reason."""
    rejection: str = ""
    rejected_by: Plugin | None = None

    def prepare(self, cluster: Cluster) -> bool:
        """Runs all ``prepare`` functions; False when one rejected the pod outright."""
        for plugin in self.profile.plugins:
            state = plugin.prepare(self.pod, cluster)
            if state is SKIP:
                self.skipped.add(plugin.name)
            elif isinstance(state, Rejection):
                self.rejection, self.rejected_by = state.reason, plugin
                return False
            else:
                self.states[plugin.name] = state
        return True

    def binders(self) -> list[tuple[Bind, Any]]:
        """What has to be done before the pod is bound, with the states."""
        return [
            (plugin.bind, self.states[plugin.name])
            for plugin in self.profile.plugins
            if plugin.bind is not None
            and plugin.name not in self.skipped
            and (plugin.busy is None or plugin.busy(self.states[plugin.name]))
        ]

    def reserve(self, node: str, cluster: Cluster) -> None:
        for plugin in self.profile.plugins:
            if plugin.reserve is not None and plugin.name not in self.skipped:
                plugin.reserve(self.states[plugin.name], self.pod, node, cluster)

    def unreserve(self, node: str, cluster: Cluster) -> None:
        for plugin in reversed(self.profile.plugins):
            if plugin.unreserve is not None and plugin.name not in self.skipped:
                plugin.unreserve(self.states[plugin.name], self.pod, node, cluster)

    def relief(self) -> tuple[str, Callable[[Cluster], Awaitable[None]] | None]:
        """What plug-ins say and can do where no node was found; empty where none has anything to do with the pod."""
        for plugin in self.profile.plugins:
            if plugin.relieve is not None and plugin.name in self.states and not self.rejection:
                return plugin.relieve(self.states[plugin.name], self.pod)
        return "", None

    def filters(self) -> list[tuple[Plugin, Filter, Any]]:
        return [
            (plugin, plugin.filter, self.states[plugin.name])
            for plugin in self.profile.plugins
            if plugin.filter is not None and plugin.name not in self.skipped
        ]

    def feasible(self, nodes: Iterable[NodeInfo], wanted: int) -> list[NodeInfo]:
        """The first ``wanted`` nodes that pass all filters; notes why the others did not."""
        filters = self.filters()
        found: list[NodeInfo] = []
        for node in nodes:
            for plugin, fits, state in filters:
                reason = fits(state, self.pod, node)
                if reason is not None:
                    self.refused[node.name] = (plugin, reason)
                    break
            else:
                found.append(node)
                if len(found) >= wanted:
                    break
        return found

    def refusal(self, node: NodeInfo) -> str | None:
        """Why the first filter that refuses the node does; None: it fits."""
        for _, fits, state in self.filters():
            if (reason := fits(state, self.pod, node)) is not None:
                return reason
        return None

    def may_yield(self, node: NodeInfo) -> bool:
        """Whether removing pods from a node that was refused may make it fit."""
        found = self.refused.get(node.name)
        if found is None or not found[0].preemptible:
            return False
        plugin, reason = found
        judge = plugin.unresolvable
        return judge is None or not judge(self.states[plugin.name], self.pod, node, reason)

    def best(self, nodes: Sequence[NodeInfo], cluster: Cluster, rng: random.Random) -> NodeInfo:
        """The node with the highest weighted score; one of them by lot when several share it."""
        if len(nodes) == 1:
            return nodes[0]
        totals = [0.0] * len(nodes)
        for plugin in self.profile.plugins:
            if plugin.score is None:
                continue
            state = self._score_state(plugin, cluster)
            if state is SKIP:
                continue
            scores = [plugin.score(state, self.pod, node) for node in nodes]
            for position, score in enumerate(_normalized(scores, plugin.normalize)):
                totals[position] += score * plugin.weight
        highest = max(totals)
        return nodes[rng.choice([i for i, total in enumerate(totals) if total == highest])]

    def _score_state(self, plugin: Plugin, cluster: Cluster) -> Any:
        if plugin.prepare_score is not None:
            return plugin.prepare_score(self.pod, cluster)
        return SKIP if plugin.name in self.skipped else self.states[plugin.name]

    def wakes(self) -> frozenset[str]:
        """The events that may make the pod schedulable after this attempt failed."""
        plugins = {plugin.name: plugin for plugin, _ in self.refused.values()}
        if self.rejected_by is not None:
            plugins[self.rejected_by.name] = self.rejected_by
        if not plugins:
            return frozenset()
        return frozenset().union(*(plugin.wakes for plugin in plugins.values())) | {NODE_ADDED}

    def message(self, total: int) -> str:
        """Upstream's text: ``0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.``"""
        if self.rejection:
            return f"0/{total} nodes are available: {self.rejection}."
        return unavailable(total, (reason for _, reason in self.refused.values()))


_AND = "\n"


def unavailable(total: int, reasons: Iterable[str]) -> str:
    """``0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.``, of the reasons of each node."""
    counts: dict[str, int] = {}
    for reason in reasons:
        for part in reason.split(_AND):
            counts[part] = counts.get(part, 0) + 1
    listed = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{total} nodes are available: {', '.join(listed)}."


def reasons(parts: Sequence[str]) -> str | None:
    """Several reasons of one filter for one node as its answer; None where there are none."""
    return _AND.join(parts) if parts else None


def _normalized(scores: list[float], how: str) -> list[float]:
    if how == "none":
        return scores
    if how == "range":
        least, most = min(scores), max(scores)
        if most == least:
            return [0.0] * len(scores)
        return [(score - least) * MAX_SCORE / (most - least) for score in scores]
    largest = max(scores)
    if largest <= 0:
        return [float(MAX_SCORE) if how == "reverse" else 0.0] * len(scores)
    scaled = [score * MAX_SCORE / largest for score in scores]
    return [MAX_SCORE - score for score in scaled] if how == "reverse" else scaled
