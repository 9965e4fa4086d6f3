"""endpointslice-controller: the EndpointSlices of every service that selects pods.

Settings: ``max_endpoints_per_slice`` (100).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sublet.client.informer import Informer
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, StatusError
from sublet.reconcile import endpointslices, servicepods, topologyhints, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.endpointslices import Group, Slices, ports_key
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

MANAGER = "endpointslice-controller.k8s.io"
_SERVICES = resource("services")
_PODS = resource("pods")
_NODES = resource("nodes")
_ENABLED, _DISABLED = "TopologyAwareHintsEnabled", "TopologyAwareHintsDisabled"
_RESERVED = frozenset({endpointslices.SERVICE_NAME, endpointslices.MANAGED_BY, endpointslices.HEADLESS})


def families(service: Object) -> list[str]:
    """``IPv4``, ``IPv6``: for which slices are kept."""
    spec = service.get("spec") or {}
    return list(spec.get("ipFamilies") or ["IPv4"])


def endpoint(service: Object, pod: Object, address: str, zone: str) -> Object:
    terminating = objects.is_deleting(pod)
    serving = workloads.is_ready(pod)
    ready = servicepods.publishes_unready(service) or (serving and not terminating)
    made: Object = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": servicepods.target_reference(pod),
    }
    node = (pod.get("spec") or {}).get("nodeName")
    if node:
        made["nodeName"] = node
    if zone:
        made["zone"] = zone
    if name := servicepods.hostname(service, pod):
        made["hostname"] = name
    if ready and (hints := _hints(service, node, zone)):
        made["hints"] = hints
    return made


def _hints(service: Object, node: str | None, zone: str) -> Object:
    if topologyhints.asked(service):
        return {}
    distribution = (service.get("spec") or {}).get("trafficDistribution")
    hints: Object = {}
    if distribution in ("PreferClose", "PreferSameZone", "PreferSameNode") and zone:
        hints["forZones"] = [{"name": zone}]
    if distribution == "PreferSameNode" and node:
        hints["forNodes"] = [{"name": node}]
    return hints


def groups(service: Object, pods: Sequence[Object], zone_of: Callable[[str], str]) -> list[Group]:
    """The wanted endpoints by family and ports; a family without any still has one empty group."""
    found: list[Group] = []
    for family in families(service):
        by_ports: dict[str, tuple[list[Object], list[Object]]] = {}
        for pod in pods:
            if workloads.is_finished(pod):
                continue
            address = next(
                (ip for ip in servicepods.addresses(pod) if endpointslices.address_type(ip) == family), None
            )
            if address is None:
                continue
            ports = servicepods.ports(service, pod)
            node = (pod.get("spec") or {}).get("nodeName") or ""
            made = endpoint(service, pod, address, zone_of(node))
            by_ports.setdefault(ports_key(ports), (ports, []))[1].append(made)
        if by_ports:
            found.extend(Group(family, ports, endpoints) for ports, endpoints in by_ports.values())
        else:
            found.append(Group(family, [], []))
    return found


def metadata(service: Object, now: float) -> dict[str, dict[str, str]]:
    labels = {key: value for key, value in objects.labels(service).items() if key not in _RESERVED}
    labels[endpointslices.SERVICE_NAME] = objects.name(service)
    labels[endpointslices.MANAGED_BY] = MANAGER
    if servicepods.is_headless(service):
        labels[endpointslices.HEADLESS] = ""
    return {"labels": labels, "annotations": {endpointslices.TRIGGER_TIME: objects.rfc3339(now)}}


class Hinting:
    """Gives zones to the endpoints of Services that ask for it, and tells of it when that begins or ends."""

    def __init__(self, context: Context, nodes: Informer) -> None:
        self._events = context.events
        self._nodes = nodes
        self._ratios: dict[str, float] | topologyhints.Unfair | None = None
        self._told: dict[tuple[str, str], str] = {}
        """(Service, family) -> why there are no hints; empty where there are."""

    def nodes_changed(self) -> None:
        self._ratios = None

    def forget(self, key: str) -> None:
        for told in [each for each in self._told if each[0] == key]:
            del self._told[told]

    def apply(self, service: Object, wanted: Sequence[Group]) -> None:
        """Writes hints into the endpoints, which are the caller's own."""
        for family in families(service):
            endpoints = [each for group in wanted if group.address_type == family for each in group.endpoints]
            if not topologyhints.asked(service):
                if self._told.pop((objects.key(service), family), None) == "":
                    self._tell(
                        service, family, "Warning", _DISABLED, "Topology Aware Hints has been disabled"
                    )
                continue
            why = ""
            try:
                for index, zone in topologyhints.assign(endpoints, self._shares()).items():
                    endpoints[index]["hints"] = {"forZones": [{"name": zone}]}
            except topologyhints.Unfair as unfair:
                why = str(unfair)
            if self._told.get((objects.key(service), family)) == why:
                continue
            self._told[objects.key(service), family] = why
            if why:
                self._tell(service, family, "Warning", _DISABLED, why)
            else:
                self._tell(service, family, "Normal", _ENABLED, "Topology Aware Hints has been enabled")

    def _shares(self) -> dict[str, float]:
        if self._ratios is None:
            try:
                self._ratios = topologyhints.shares(self._nodes.list())
            except topologyhints.Unfair as unfair:
                self._ratios = unfair
        if isinstance(self._ratios, topologyhints.Unfair):
            raise self._ratios
        return self._ratios

    def _tell(self, service: Object, family: str, type_: str, reason: str, message: str) -> None:
        self._events.event(service, _SERVICES, type_, reason, f"{message}, addressType: {family}")


def setup(context: Context) -> Controller:
    services = context.informers.informer(_SERVICES)
    pods = context.informers.informer(_PODS)
    nodes = context.informers.informer(_NODES)
    slices = Slices(context, MANAGER, _SERVICES)
    hinting = Hinting(context, nodes)
    limit = int(context.settings.get("max_endpoints_per_slice", endpointslices.LIMIT))

    def zone_of(node: str) -> str:
        found = nodes.get("", node) if node else None
        return objects.labels(found).get(topologyhints.ZONE, "") if found is not None else ""

    async def reconcile(key: str) -> Result | None:
        if not slices.ready(key):
            return Result(requeue_after=1.0)
        service = services.get(*objects.split_key(key))
        if service is None or objects.is_deleting(service):
            hinting.forget(key)
            return None  # the garbage collector takes the slices
        existing = slices.of(key)
        if not servicepods.selector_of(service):
            await slices.remove(key, existing)
            return None
        wanted = groups(service, chosen.of(service), zone_of)
        hinting.apply(service, wanted)
        described = metadata(service, context.clock.now())
        changes = endpointslices.plan(existing, wanted, described, limit)
        try:
            await slices.apply(service, changes, described)
        except StatusError as error:
            if is_namespace_terminating(error):
                return None
            if not isinstance(error, Conflict):
                text = f"Error updating Endpoint Slices for Service {key}: {error}"
                context.events.event(service, _SERVICES, "Warning", "FailedToUpdateEndpointSlices", text)
            raise
        return None

    controller = Controller("endpointslice-controller", reconcile, workers=5)
    chosen = servicepods.ServicePods(services, pods, controller.enqueue_after)
    services.add_handler(controller.enqueue_object)

    def on_slice(event: str, slice_: Object, _old: Object | None) -> None:
        slices.observed(event, slice_)
        if (key := slices.service_key(slice_)) is not None:
            controller.enqueue(key)

    def on_node(event: str, node: Object, old: Object | None) -> None:
        zone = objects.labels(node).get(topologyhints.ZONE)
        moved = (event == "add" and bool(zone)) or (
            old is not None and objects.labels(old).get(topologyhints.ZONE) != zone
        )
        weighs = topologyhints.weight(node) if event != "delete" else None
        reweighed = weighs != (topologyhints.weight(old) if old is not None and event != "add" else None)
        if reweighed or event == "delete":
            hinting.nodes_changed()
        for service in services.list() if moved or reweighed or event == "delete" else ():
            if moved or topologyhints.asked(service):
                controller.enqueue(objects.key(service))

    slices.informer.add_handler(on_slice)
    nodes.add_handler(on_node)
    return controller


CONTROLLER = Registration("endpointslice-controller", setup)
