"""A tenant Service as the host sees it: for the sync of Services and for their creation, which asks the host first."""

from __future__ import annotations

from typing import Any

from sublet.machinery.kind import Object
from sublet.syncer.declare import copied
from sublet.syncer.mapping import Mapping

API_SERVICE = "default/kubernetes"
ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
BOTH_WAYS = (
    "spec.type", "spec.externalIPs", "spec.externalName", "spec.loadBalancerIP", "spec.ports",
    "spec.publishNotReadyAddresses", "spec.externalTrafficPolicy", "spec.internalTrafficPolicy",
    "spec.sessionAffinity", "spec.sessionAffinityConfig", "spec.loadBalancerSourceRanges",
    "spec.loadBalancerClass", "spec.allocateLoadBalancerNodePorts", "spec.healthCheckNodePort",
    "spec.trafficDistribution",
)  # fmt: skip
_GIVEN = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort", "ports")


def host_selector(tenant: Object, mapping: Mapping) -> dict[str, str] | None:
    """Only the copies of this tenant's pods in this namespace; None stays None."""
    selector = (tenant.get("spec") or {}).get("selector")
    if not selector:
        return None
    where = (tenant.get("metadata") or {}).get("namespace", "")
    names = mapping.names
    return {**mapping.labels(selector), names.managed_by: mapping.tenant, names.namespace: where}


def host_spec(tenant: Object, mapping: Mapping, *, keep_ports: bool = False) -> dict[str, Any]:
    """The spec to create on the host, without what only the host can give.

    ``keep_ports``: node ports that the tenant asks for are asked of the host.
    """
    spec: dict[str, Any] = copied(tenant.get("spec") or {})
    headless = spec.get("clusterIP") == "None" or "None" in (spec.get("clusterIPs") or ())
    for key in ADDRESSES:
        spec.pop(key, None)
    if headless:
        spec["clusterIP"] = "None"
    if not keep_ports:
        spec.pop("healthCheckNodePort", None)
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    spec.pop("selector", None)
    selector = host_selector(tenant, mapping)
    if selector is not None:
        spec["selector"] = selector
    return spec


def with_addresses_of(tenant: Object, host: Object) -> Object:
    """A copy of the tenant's Service with everything that the host gave."""
    made = copied(tenant)
    given = host.get("spec") or {}
    for key in _GIVEN:
        if key in given:
            made["spec"][key] = given[key]
        elif key in ADDRESSES:
            made["spec"].pop(key, None)
    return made


def fresh(obj: Object) -> Object:
    """The object as if it had never been stored, so that it can be created again."""
    made = copied(obj)
    for key in (
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "deletionTimestamp",
    ):
        made["metadata"].pop(key, None)
    made.pop("status", None)
    return made
