"""endpointslice-mirroring-controller: EndpointSlices for Endpoints that someone keeps by hand.

Endpoints of a service with a selector have slices of their own and are not mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.reconcile import endpointslices, servicepods
from sublet.reconcile.controller import Controller
from sublet.reconcile.endpointslices import Group, Slices
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SERVICES = resource("services")
_ENDPOINTS = resource("endpoints")
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_PER_SUBSET = 1000


def is_mirrored(endpoints: Object, service: Object | None) -> bool:
    """Whether these Endpoints should have slices."""
    return (
        service is not None
        and not servicepods.selector_of(service)
        and objects.labels(endpoints).get(_SKIP) != "true"
        and _LEADER not in objects.annotations(endpoints)
        and not objects.is_deleting(endpoints)
    )


def groups(endpoints: Object) -> list[Group]:
    """One group per subset and address family; the first 1000 addresses of a subset."""
    found: dict[tuple[str, str], Group] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        some = [(address, True) for address in subset.get("addresses") or ()]
        some += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        for address, ready in some[:_PER_SUBSET]:
            group = Group(endpointslices.address_type(address["ip"]), ports, [])
            known = found.setdefault(group.key, group)
            found[group.key] = Group(
                known.address_type, known.ports, [*known.endpoints, _endpoint(address, ready)]
            )
    return list(found.values())


def _endpoint(address: Mapping[str, object], ready: bool) -> Object:
    made: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for part in ("hostname", "nodeName", "targetRef"):
        if address.get(part):
            made[part] = address[part]
    return made


def metadata(endpoints: Object) -> dict[str, dict[str, str]]:
    labels = {
        **objects.labels(endpoints),
        endpointslices.SERVICE_NAME: objects.name(endpoints),
        endpointslices.MANAGED_BY: MANAGER,
    }
    left_out = (endpointslices.TRIGGER_TIME, _LAST_APPLIED)
    annotations = {k: v for k, v in objects.annotations(endpoints).items() if k not in left_out}
    return {"labels": labels, "annotations": annotations}


def setup(context: Context) -> Controller:
    services = context.informers.informer(_SERVICES)
    endpoints = context.informers.informer(_ENDPOINTS)
    slices = Slices(context, MANAGER, _ENDPOINTS)

    async def reconcile(key: str) -> Result | None:
        if not slices.ready(key):
            return Result(requeue_after=1.0)
        found = endpoints.get(*objects.split_key(key))
        existing = slices.of(key)
        if found is None or not is_mirrored(found, services.get(*objects.split_key(key))):
            await slices.remove(key, existing)
            return None
        described = metadata(found)
        await slices.apply(found, endpointslices.plan(existing, groups(found), described), described)
        return None

    controller = Controller("endpointslice-mirroring-controller", reconcile)
    services.add_handler(controller.enqueue_object)
    endpoints.add_handler(controller.enqueue_object)

    def on_slice(event: str, slice_: Object, _old: Object | None) -> None:
        slices.observed(event, slice_)
        if (key := slices.service_key(slice_)) is not None:
            controller.enqueue(key)

    slices.informer.add_handler(on_slice)
    return controller


CONTROLLER = Registration(
    "endpointslice-mirroring-controller", setup, service_account="endpointslicemirroring-controller"
)
