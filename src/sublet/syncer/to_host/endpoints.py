"""Endpoints, tenant to host: of Services without a selector, whose addresses a user wrote (reference 2.7.1)."""

from __future__ import annotations

from msgspec import Struct

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery import subsets as canonical
from sublet.machinery.kind import Object
from sublet.syncer import servicespec
from sublet.syncer.declare import WRITE, Follow, Pair, Rule, Scope, ToHost, copied

_SERVICES = resource("services")


class Settings(Struct, frozen=True):
    enabled: bool = True


def wanted(tenant: Object, scope: Scope, _settings: Settings) -> bool:
    """Where a Service selects pods, the host finds their copies itself."""
    key = objects.key(tenant)
    service = scope.tenant_objects(_SERVICES).get_key(key)
    if key == servicespec.API_SERVICE or service is None:
        return False
    return not (service.get("spec") or {}).get("selector")


def subsets(tenant: Object, scope: Scope) -> list[Object]:
    """The addresses; the pods that they name by the names of their copies."""
    found = copied({"subsets": tenant.get("subsets") or []})["subsets"]
    for subset in found:
        for address in (*(subset.get("addresses") or ()), *(subset.get("notReadyAddresses") or ())):
            target = address.get("targetRef")
            if target and target.get("kind") == "Pod":
                namespace = target.get("namespace") or objects.namespace(tenant)
                target["name"] = scope.mapping.host_name(target.get("name") or "", namespace)
                target["namespace"] = scope.mapping.host_namespace
                target.pop("uid", None)
                target.pop("resourceVersion", None)
    return list(found)


async def to_host(tenant: Object, scope: Scope, _settings: Settings) -> Object:
    return {"subsets": subsets(tenant, scope)}


def update(pair: Pair, scope: Scope, _settings: Settings) -> None:
    new = subsets(pair.tenant, scope)
    if canonical.repacked(new) != canonical.repacked(pair.host.get("subsets") or ()):
        pair.host["subsets"] = new


SYNC = ToHost(
    resource=resource("endpoints"),
    key="endpoints",
    settings=Settings,
    to_host=to_host,
    update=update,
    wanted=wanted,
    follows=(Follow(_SERVICES, lambda service, _scope: (objects.key(service),)),),
    not_copied=frozenset(
        {"control-plane.alpha.kubernetes.io/leader", "endpoints.kubernetes.io/last-change-trigger-time"}
    ),
    host_rules=lambda _settings: (Rule(("",), ("endpoints",), WRITE),),
)
