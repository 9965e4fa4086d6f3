"""endpointslice-controller: the EndpointSlices of every service that selects pods.

Settings: ``max_endpoints_per_slice`` (100).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, StatusError
from sublet.reconcile import endpointslices, servicepods, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.endpointslices import Group, Slices, ports_key
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating
from sublet.reconcile.result import Result

MANAGER = "endpointslice-controller.k8s.io"
_SERVICES = resource("services")
_PODS = resource("pods")
_NODES = resource("nodes")
_ZONE = "topology.kubernetes.io/zone"
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


def setup(context: Context) -> Controller:
    services = context.informers.informer(_SERVICES)
    pods = context.informers.informer(_PODS)
    nodes = context.informers.informer(_NODES)
    slices = Slices(context, MANAGER, _SERVICES)
    limit = int(context.settings.get("max_endpoints_per_slice", endpointslices.LIMIT))

    def zone_of(node: str) -> str:
        found = nodes.get("", node) if node else None
        return objects.labels(found).get(_ZONE, "") if found is not None else ""

    async def reconcile(key: str) -> Result | None:
        if not slices.ready(key):
            return Result(requeue_after=1.0)
        service = services.get(*objects.split_key(key))
        if service is None or objects.is_deleting(service):
            return None  # the garbage collector takes the slices
        existing = slices.of(key)
        if not servicepods.selector_of(service):
            await slices.remove(key, existing)
            return None
        wanted = groups(service, chosen.of(service), zone_of)
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
        zone = objects.labels(node).get(_ZONE)
        if (event == "add" and zone) or (old is not None and objects.labels(old).get(_ZONE) != zone):
            for service in services.list():
                controller.enqueue(objects.key(service))

    slices.informer.add_handler(on_slice)
    nodes.add_handler(on_node)
    return controller


CONTROLLER = Registration("endpointslice-controller", setup)
