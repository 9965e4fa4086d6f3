"""EndpointSlices, tenant to host: those a user wrote for a Service without a selector (reference 2.7.1)."""

from __future__ import annotations

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.syncer import servicespec
from sublet.syncer.declare import WRITE, Follow, Pair, Rule, Scope, ToHost, copied

_SLICES = resource("endpointslices.discovery.k8s.io")
_SERVICES = resource("services")
_SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_INDEX = "slices by service"


class Settings(Struct, frozen=True):
    enabled: bool = True


def _service_key(endpoint_slice: Object) -> str:
    name = objects.labels(endpoint_slice).get(_SERVICE_NAME) or ""
    return f"{objects.namespace(endpoint_slice)}/{name}" if name else ""


def wanted(tenant: Object, scope: Scope, _settings: Settings) -> bool:
    """Not what a controller made: the host's own makes it there."""
    if objects.labels(tenant).get(_MANAGED_BY) in _CONTROLLERS:
        return False
    key = _service_key(tenant)
    service = scope.tenant_objects(_SERVICES).get_key(key) if key else None
    if key == servicespec.API_SERVICE or service is None:
        return False
    return not (service.get("spec") or {}).get("selector")


def endpoints(tenant: Object, scope: Scope) -> list[Object]:
    """The endpoints; the pods that they name by the names of their copies."""
    found = copied({"endpoints": tenant.get("endpoints") or []})["endpoints"]
    for each in found:
        target = each.get("targetRef")
        if target and target.get("kind") == "Pod":
            namespace = target.get("namespace") or objects.namespace(tenant)
            target["name"] = scope.mapping.host_name(target.get("name") or "", namespace)
            target["namespace"] = scope.mapping.host_namespace
            target.pop("uid", None)
    return list(found)


async def to_host(tenant: Object, scope: Scope, _settings: Settings) -> Object:
    body: Object = {"addressType": tenant["addressType"], "endpoints": endpoints(tenant, scope)}
    return {**body, "ports": tenant["ports"]} if tenant.get("ports") else body


def update(pair: Pair, scope: Scope, _settings: Settings) -> None:
    new = endpoints(pair.tenant, scope)
    if new != (pair.host.get("endpoints") or []):
        pair.host["endpoints"] = new
    pair.to_host("ports")


def decorate(tenant: Object, scope: Scope) -> tuple[dict[str, str], dict[str, str]]:
    """The host finds the slices of a Service by this label."""
    name = objects.labels(tenant).get(_SERVICE_NAME) or ""
    return {_SERVICE_NAME: scope.mapping.host_name(name, objects.namespace(tenant))}, {}


def _slices_of(service: Object, scope: Scope) -> list[str]:
    slices = scope.tenant_objects(_SLICES)
    slices.add_index(_INDEX, lambda each: (_service_key(each),))
    return [objects.key(each) for each in slices.by_index(_INDEX, objects.key(service))]


SYNC = ToHost(
    resource=_SLICES,
    key="endpointSlices",
    settings=Settings,
    to_host=to_host,
    update=update,
    wanted=wanted,
    decorate=decorate,
    follows=(Follow(_SERVICES, _slices_of),),
    not_copied=frozenset({"endpoints.kubernetes.io/last-change-trigger-time"}),
    not_copied_labels=frozenset({_SERVICE_NAME}),
    host_rules=lambda _settings: (Rule(("discovery.k8s.io",), ("endpointslices",), WRITE),),
)
