"""endpointslice-mirroring-controller: EndpointSlices for Endpoints that someone keeps by hand.

Endpoints of a service with a selector have slices of their own and are not mirrored. Settings:
``mirroring_max_endpoints_per_subset`` (1000).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, StatusError
from sublet.reconcile import endpointslices, servicepods
from sublet.reconcile.controller import Controller
from sublet.reconcile.endpointslices import Group, Slices
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.replicas import is_namespace_terminating
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


@dataclass
class Skipped:
    """Addresses that cannot be mirrored."""

    invalid: int = 0
    too_many: int = 0


def groups(endpoints: Object, most: int = _PER_SUBSET) -> tuple[list[Group], Skipped]:
    """One group per subset and address family, of the first addresses of each subset; and what was left out."""
    skipped = Skipped()
    found: dict[tuple[str, str], Group] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        some = [(address, True) for address in subset.get("addresses") or ()]
        some += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        skipped.too_many += max(0, len(some) - most)
        for address, ready in some[:most]:
            try:
                family = endpointslices.address_type(address["ip"])
            except ValueError:
                skipped.invalid += 1
                continue
            group = Group(family, ports, [])
            known = found.setdefault(group.key, group)
            found[group.key] = Group(
                known.address_type, known.ports, [*known.endpoints, _endpoint(address, ready)]
            )
    return list(found.values()), skipped


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
    most = int(context.settings.get("mirroring_max_endpoints_per_subset", _PER_SUBSET))

    async def reconcile(key: str) -> Result | None:
        if not slices.ready(key):
            return Result(requeue_after=1.0)
        found = endpoints.get(*objects.split_key(key))
        existing = slices.of(key)
        if found is None or not is_mirrored(found, services.get(*objects.split_key(key))):
            await slices.remove(key, existing)
            return None
        described = metadata(found)
        wanted, skipped = groups(found, most)
        tell(found, skipped)
        try:
            await slices.apply(found, endpointslices.plan(existing, wanted, described), described)
        except StatusError as error:
            if is_namespace_terminating(error):
                return None
            if not isinstance(error, Conflict):
                text = f"Error updating Endpoint Slices for Endpoints {key}: {error}"
                context.events.event(found, _ENDPOINTS, "Warning", "FailedToUpdateEndpointSlices", text)
            raise
        return None

    def tell(found: Object, skipped: Skipped) -> None:
        event = context.events.event
        if skipped.invalid:
            text = f"Skipped {skipped.invalid} invalid IP addresses when mirroring to EndpointSlices"
            event(found, _ENDPOINTS, "Warning", "InvalidIPAddress", text)
        if skipped.too_many:
            text = (
                f"A max of {most} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{skipped.too_many} addresses were skipped"
            )
            event(found, _ENDPOINTS, "Warning", "TooManyAddressesToMirror", text)

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
