"""service-cidr-controller: a ServiceCIDR stays while addresses are taken from it and from no other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.workloads import set_condition

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_MANAGER = "service-cidr-controller"
_CIDRS = resource("servicecidrs.networking.k8s.io")
_ADDRESSES = resource("ipaddresses.networking.k8s.io")


def _networks(cidr: Object) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(each) for each in (cidr.get("spec") or {}).get("cidrs") or ()]


def in_use(cidr: Object, others: Iterable[Object], addresses: Iterable[str]) -> bool:
    """Whether some address lies in this range and in no other that stays."""
    own = _networks(cidr)
    rest = [network for other in others if not objects.is_deleting(other) for network in _networks(other)]
    for text in addresses:
        address = ipaddress.ip_address(text)
        if any(address in network for network in own) and not any(address in network for network in rest):
            return True
    return False


def condition(ready: bool, now: float) -> Object:
    return {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "" if ready else "Terminating",
        "message": "Kubernetes Service CIDR is ready"
        if ready
        else "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        "lastTransitionTime": objects.rfc3339(now),
    }


def setup(context: Context) -> Controller:
    cidrs = context.informers.informer(_CIDRS)
    addresses = context.informers.informer(_ADDRESSES)

    async def reconcile(name: str) -> None:
        cidr = cidrs.get("", name)
        if cidr is None:
            return
        try:
            if objects.is_deleting(cidr):
                await leave(cidr)
                return
            if FINALIZER not in objects.finalizers(cidr):
                await finalizers(cidr, [*objects.finalizers(cidr), FINALIZER])
            await tell(cidr, ready=True)
        except NotFound:
            return

    async def leave(cidr: Object) -> None:
        others = [other for other in cidrs.list() if objects.name(other) != objects.name(cidr)]
        if in_use(cidr, others, (objects.name(address) for address in addresses.list())):
            await tell(cidr, ready=False)
        elif FINALIZER in objects.finalizers(cidr):
            await finalizers(cidr, [each for each in objects.finalizers(cidr) if each != FINALIZER])

    async def finalizers(cidr: Object, wanted: list[str]) -> None:
        metadata = {"resourceVersion": cidr["metadata"]["resourceVersion"], "finalizers": wanted or None}
        await context.client.patch(_CIDRS, objects.name(cidr), {"metadata": metadata})

    async def tell(cidr: Object, *, ready: bool) -> None:
        old = (cidr.get("status") or {}).get("conditions") or []
        if objects.is_true(cidr, "Ready") == ready and objects.condition(cidr, "Ready") is not None:
            return
        new = set_condition(old, condition(ready, context.clock.now()))
        stated = {"status": {"conditions": [each for each in new if each["type"] == "Ready"]}}
        await context.client.patch(
            _CIDRS, objects.name(cidr), {"apiVersion": _CIDRS.api_version, "kind": _CIDRS.kind, **stated},
            kind="apply", subresource="status", field_manager=_MANAGER, force=True,
        )  # fmt: skip

    controller = Controller(_MANAGER, reconcile)

    def on_cidr(_event: str, cidr: Object, _old: Object | None) -> None:
        controller.enqueue(objects.name(cidr))
        for other in cidrs.list():
            if objects.is_deleting(other):
                controller.enqueue(objects.name(other))

    def on_address(event: str, _address: Object, _old: Object | None) -> None:
        if event == "delete":
            for cidr in cidrs.list():
                if objects.is_deleting(cidr):
                    controller.enqueue(objects.name(cidr))

    cidrs.add_handler(on_cidr)
    addresses.add_handler(on_address)
    return controller


CONTROLLER = Registration(
    _MANAGER, setup, service_account="service-cidrs-controller", needs=(_CIDRS, _ADDRESSES)
)
