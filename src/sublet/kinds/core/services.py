"""Service."""

from __future__ import annotations

from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import services, show, warn
from sublet.kinds.rules.common import fill, fill_empty, name_rule, rule, spec_of, update_rule
from sublet.machinery import names
from sublet.machinery.kind import Object

_WITH_IP = ("ClusterIP", "LoadBalancer", "NodePort")


def _default(service: Object) -> None:
    spec = service.setdefault("spec", {})
    fill_empty(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        fill(client, timeoutSeconds=10800)
    for port in spec.get("ports") or ():
        fill_empty(port, protocol="TCP")
        if not port.get("targetPort") and "port" in port:
            port["targetPort"] = port["port"]
    kind = spec["type"]
    if kind in services.WITH_NODE_PORTS or (kind == "ClusterIP" and spec.get("externalIPs")):
        fill_empty(spec, externalTrafficPolicy="Cluster")
    if kind in _WITH_IP:
        fill(spec, internalTrafficPolicy="Cluster")
    if kind == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)
        for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                fill(ingress, ipMode="VIP")


def _prepare_create(service: Object) -> None:
    spec = service["spec"]
    if spec.get("clusterIP"):
        fill_empty(spec, clusterIPs=[spec["clusterIP"]])


def _prepare_update(new: Object, old: Object) -> None:
    """Carries over what was allocated and drops what the new type no longer has."""
    spec, before = new.setdefault("spec", {}), spec_of(old)
    _keep_addresses(spec, before)
    _keep_ports(spec, before)
    _drop_what_the_type_lacks(spec, before)
    if spec.get("type") != "LoadBalancer":
        new["status"] = {"loadBalancer": {}}


def _keep_addresses(spec: Object, before: Object) -> None:
    """Who leaves out the addresses keeps them; who changes the one in ``clusterIP`` means the list too."""
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if before.get(field) and not spec.get(field):
                spec[field] = before[field]
    first = spec.get("clusterIP")
    if first != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
        if first:
            spec["clusterIPs"] = [first]
        else:
            spec.pop("clusterIPs", None)
    if spec.get("ipFamilyPolicy") == "SingleStack":
        for field in ("clusterIPs", "ipFamilies"):
            if spec.get(field) and spec[field] == before.get(field):
                spec[field] = spec[field][:1]


def _keep_ports(spec: Object, before: Object) -> None:
    """A port without a node port keeps the one that the port of its name had, if no other has it now."""
    if spec.get("type") in services.WITH_NODE_PORTS and before.get("type") in services.WITH_NODE_PORTS:
        taken = _node_ports(spec)
        known = {port.get("name"): port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            kept = known.get(port.get("name"))
            if not port.get("nodePort") and kept and kept not in taken:
                port["nodePort"] = kept
    if services.needs_health_port(spec) and services.needs_health_port(before):
        fill_empty(spec, healthCheckNodePort=before.get("healthCheckNodePort"))


def _drop_what_the_type_lacks(spec: Object, before: Object) -> None:
    """Only what is as it was: what a client changed as well is judged, and refused."""
    if spec.get("type") == "ExternalName" != before.get("type"):
        if all(spec.get(field) == before.get(field) for field in ("clusterIP", "clusterIPs")):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        _drop_unchanged(spec, before, "ipFamilies", "ipFamilyPolicy")
    exposed, was_exposed = (each.get("type") in services.WITH_NODE_PORTS for each in (spec, before))
    if was_exposed and not exposed and _node_ports(spec) <= _node_ports(before):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if services.needs_health_port(before) and not services.needs_health_port(spec):
        _drop_unchanged(spec, before, "healthCheckNodePort")
    if spec.get("type") != "LoadBalancer" and before.get("type") == "LoadBalancer":
        _drop_unchanged(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if services.is_external(before) and not services.is_external(spec):
        _drop_unchanged(spec, before, "externalTrafficPolicy")


def _drop_unchanged(spec: Object, before: Object, *fields: str) -> None:
    for field in fields:
        if spec.get(field) == before.get(field):
            spec.pop(field, None)


def _node_ports(spec: Object) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _external_ips(service: Object) -> str:
    spec = spec_of(service)
    listed = list(spec.get("externalIPs") or ())
    kind = spec.get("type")
    if kind == "LoadBalancer":
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        balanced = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
        return ",".join([*balanced, *listed]) or "<pending>"
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    return ",".join(listed) or show.NONE


def _port_text(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol')}"


def _cells(service: Object, now: float) -> list[Any]:
    spec = spec_of(service)
    ips = spec.get("clusterIPs") or ()
    return [
        show.name(service),
        spec.get("type", ""),
        ips[0] if ips else spec.get("clusterIP") or show.NONE,
        _external_ips(service),
        ",".join(map(_port_text, spec.get("ports") or ())) or show.NONE,
        show.age(service, now),
        show.label_text(spec.get("selector")),
    ]


KIND = builtin(
    "services",
    status={"loadBalancer": {}},
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=rule(services.validate),
    validate_update=update_rule(services.update),
    update_alone=True,
    validate_status=update_rule(services.balancer_status),
    validate_name=name_rule(names.dns1123_label),
    warnings=warn.service,
    warnings_status=warn.service_status,
    cells=_cells,
    selectable={
        "spec.clusterIP": lambda service: str(spec_of(service).get("clusterIP") or ""),
        "spec.type": lambda service: str(spec_of(service).get("type") or ""),
    },
)
