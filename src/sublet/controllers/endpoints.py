"""endpoints-controller: the Endpoints object of every service that selects pods (deprecated, and still read)."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery import subsets as canonical
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.reconcile import endpointslices, servicepods, workloads
from sublet.reconcile.controller import Controller
from sublet.reconcile.latest import Latest
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating

_SERVICES = resource("services")
_PODS = resource("pods")
_ENDPOINTS = resource("endpoints")
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_LIMIT = 1000


def subsets(service: Object, pods: Sequence[Object]) -> list[Object]:
    """Addresses grouped by equal sets of ports; ready ones apart from those that are not."""
    family = ((service.get("spec") or {}).get("ipFamilies") or ["IPv4"])[0]
    has_ports = bool((service.get("spec") or {}).get("ports"))
    by_ports: dict[str, tuple[list[Object], list[Object], list[Object]]] = {}
    for pod in pods:
        if workloads.is_finished(pod) or (
            objects.is_deleting(pod) and not servicepods.publishes_unready(service)
        ):
            continue
        ips = servicepods.addresses(pod)
        address = next((ip for ip in ips if endpointslices.address_type(ip) == family), None)
        if address is None:
            continue
        ports = servicepods.ports(service, pod)
        if not ports and (has_ports or not servicepods.is_headless(service)):
            continue
        entry = by_ports.setdefault(endpointslices.ports_key(ports), (ports, [], []))
        ready = servicepods.publishes_unready(service) or workloads.is_ready(pod)
        entry[1 if ready else 2].append(_address(service, pod, address))
    found = []
    for key in sorted(by_ports):
        ports, ready_ones, others = by_ports[key]
        subset: Object = {}
        for name, some in (("addresses", ready_ones), ("notReadyAddresses", others)):
            if some:
                subset[name] = sorted(some, key=lambda each: str(each["ip"]))
        if ports:
            subset["ports"] = sorted((_port(port) for port in ports), key=lambda port: str(port.get("name")))
        found.append(subset)
    return found


def _address(service: Object, pod: Object, ip: str) -> Object:
    made: Object = {"ip": ip, "targetRef": servicepods.target_reference(pod)}
    if node := (pod.get("spec") or {}).get("nodeName"):
        made["nodeName"] = node
    if name := servicepods.hostname(service, pod):
        made["hostname"] = name
    return made


def _port(port: Object) -> Object:
    return {key: value for key, value in port.items() if key != "name" or value}


def capped(found: Sequence[Object]) -> tuple[list[Object], bool]:
    """At most 1000 addresses, ready ones first; whether any were left out."""
    left = _LIMIT
    kept = [dict(subset) for subset in found]
    over = False
    for part in ("addresses", "notReadyAddresses"):
        for subset in kept:
            some = subset.get(part) or []
            if len(some) > left:
                over = True
                subset[part] = some[:left]
            left -= min(left, len(some))
            if part in subset and not subset[part]:
                del subset[part]
    return [subset for subset in kept if "addresses" in subset or "notReadyAddresses" in subset], over


def wanted(service: Object, pods: Sequence[Object], existing: Object | None, now: float) -> Object | None:
    """The Endpoints as they should be; None where they are."""
    found, over = capped(subsets(service, pods))
    labels = {k: v for k, v in objects.labels(service).items() if k != endpointslices.HEADLESS}
    labels[_MANAGED_BY] = "endpoint-controller"
    if servicepods.is_headless(service):
        labels[endpointslices.HEADLESS] = ""
    annotations = dict(objects.annotations(existing)) if existing is not None else {}
    annotations.pop(_OVER_CAPACITY, None)
    if over:
        annotations[_OVER_CAPACITY] = "truncated"
    if (
        existing is not None
        and canonical.repacked(existing.get("subsets") or ()) == canonical.repacked(found)
        and objects.labels(existing) == labels
        and objects.annotations(existing) == annotations
    ):
        return None
    annotations[endpointslices.TRIGGER_TIME] = objects.rfc3339(now)
    base = existing or {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": objects.name(service), "namespace": objects.namespace(service)},
    }
    metadata = {**base["metadata"], "labels": labels, "annotations": annotations}
    made = {**base, "metadata": metadata, "subsets": found}
    if not found:
        del made["subsets"]
    return made


def setup(context: Context) -> Controller:
    services = context.informers.informer(_SERVICES)
    pods = context.informers.informer(_PODS)
    endpoints = context.informers.informer(_ENDPOINTS)
    latest = Latest()

    async def reconcile(key: str) -> None:
        service = services.get(*objects.split_key(key))
        cached = endpoints.get(*objects.split_key(key))
        existing = latest.of(cached) if cached is not None else None
        if service is None:
            if existing is not None and _MANAGED_BY in objects.labels(existing):
                await remove(existing)
            return
        if not servicepods.selector_of(service) or objects.is_deleting(service):
            return
        made = wanted(service, chosen.of(service), existing, context.clock.now())
        if made is None:
            return
        try:
            if existing is None:
                await context.client.create(_ENDPOINTS, made)
            else:
                latest.remember(await context.client.update(_ENDPOINTS, made))
        except AlreadyExists:
            controller.enqueue_after(key, 0.1)  # the informer lacks it yet
        except StatusError as error:
            if is_namespace_terminating(error):
                return
            did = "create" if existing is None else "update"
            text = f"Failed to {did} endpoint {key}: {error}"
            context.events.event(made, _ENDPOINTS, "Warning", f"FailedTo{did.title()}Endpoint", text)
            raise

    async def remove(existing: Object) -> None:
        try:
            await context.client.delete(_ENDPOINTS, objects.name(existing), objects.namespace(existing))
        except NotFound:
            return

    controller = Controller("endpoints-controller", reconcile, workers=5)
    chosen = servicepods.ServicePods(services, pods, controller.enqueue_after)
    services.add_handler(controller.enqueue_object)

    def on_endpoints(event: str, obj: Object, _old: Object | None) -> None:
        if event == "delete":
            latest.forget(objects.uid(obj))
        controller.enqueue(objects.key(obj))

    endpoints.add_handler(on_endpoints)
    return controller


CONTROLLER = Registration("endpoints-controller", setup, service_account="endpoint-controller")
