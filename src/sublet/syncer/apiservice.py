"""``default/kubernetes`` in the tenant: the address of the tenant's own Service on the host, kept right."""

from __future__ import annotations

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.result import Result
from sublet.syncer import servicespec
from sublet.syncer.declare import Scope, Waiting, copied

_SERVICES = resource("services")
_KUBELET = "kubelet"
"""The port of the host's Service that is not for the tenant's pods."""


def wanted(current: Object, host: Object) -> Object:
    """The tenant's Service with the address and ports of the host's; node ports are the host's own business."""
    made = copied(current)
    for key in servicespec.ADDRESSES:
        if key in host["spec"]:
            made["spec"][key] = host["spec"][key]
    made["spec"]["ports"] = [
        {key: value for key, value in port.items() if key != "nodePort"}
        for port in host["spec"].get("ports") or ()
        if port.get("name") != _KUBELET
    ]
    return made


def _first() -> Object:
    """As the API server makes it at its first start."""
    labels = {"component": "apiserver", "provider": "kubernetes"}
    metadata = {"name": "kubernetes", "namespace": "default", "labels": labels}
    spec = {"type": "ClusterIP", "sessionAffinity": "None"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


class APIService:
    """Makes the Service again when its address has changed: the old one leads nowhere."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._controller = Controller("kubernetes service", self._reconcile)
        self._tenant = scope.tenant_objects(_SERVICES)
        self._tenant.add_handler(self._changed)
        scope.service.informer.add_handler(lambda *_: self._controller.enqueue(servicespec.API_SERVICE))

    def _changed(self, _event: str, obj: Object, _old: Object | None) -> None:
        if objects.key(obj) == servicespec.API_SERVICE:
            self._controller.enqueue(servicespec.API_SERVICE)

    async def run(self) -> None:
        await self._tenant.synced()
        await self._scope.service.informer.synced()
        await self._controller.run()

    async def _reconcile(self, _key: str) -> Result | None:
        namespace, name = objects.split_key(servicespec.API_SERVICE)
        try:
            host = self._scope.service.object
        except Waiting:
            return Result(1.0)
        try:
            current = await self._scope.tenant.get(_SERVICES, name, namespace)
        except NotFound:
            await self._scope.tenant.create(_SERVICES, wanted(_first(), host), namespace)
            return None
        new = wanted(current, host)
        if new == current:
            return None
        if new["spec"].get("clusterIP") == current["spec"].get("clusterIP"):
            patch = {"metadata": {"uid": objects.uid(current)}, "spec": {"ports": new["spec"]["ports"]}}
            await self._scope.tenant.patch(_SERVICES, name, patch, namespace)
            return None
        await self._scope.tenant.delete(_SERVICES, name, namespace, uid=objects.uid(current))
        await self._scope.tenant.create(_SERVICES, servicespec.fresh(new), namespace)
        return None
