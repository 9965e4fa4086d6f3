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


def _prepare_update(new: Object, old: Object) -> None:
    """Carries over what was allocated and drops what the new type no longer has."""
    spec, before = new.setdefault("spec", {}), spec_of(old)
    if spec.get("type") == "ExternalName":
        if spec.get("clusterIP") == before.get("clusterIP"):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    elif before.get("type") != "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if before.get(field) and not spec.get(field):
                spec[field] = before[field]
    if spec.get("type") in services.WITH_NODE_PORTS and before.get("type") in services.WITH_NODE_PORTS:
        _keep_node_ports(spec, before)
        if services.needs_health_port(spec) and services.needs_health_port(before):
            fill_empty(spec, healthCheckNodePort=before.get("healthCheckNodePort"))
    elif before.get("type") in services.WITH_NODE_PORTS:
        _drop_node_ports(spec, before)
    if spec.get("type") != "LoadBalancer" and before.get("type") == "LoadBalancer":
        _drop_unchanged(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
        new["status"] = {"loadBalancer": {}}
    if not services.needs_health_port(spec):
        _drop_unchanged(spec, before, "healthCheckNodePort")
    if not services.is_external(spec):
        _drop_unchanged(spec, before, "externalTrafficPolicy")


def _drop_unchanged(spec: Object, before: Object, *fields: str) -> None:
    for field in fields:
        if spec.get(field) in (None, 0) or spec.get(field) == before.get(field):
            spec.pop(field, None)


def _keep_node_ports(spec: Object, before: Object) -> None:
    taken = {port.get("nodePort") for port in spec.get("ports") or ()}
    known = {
        (port.get("protocol"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()
    }
    if spec.get("allocateLoadBalancerNodePorts") is False and spec.get("type") == "LoadBalancer":
        return
    for port in spec.get("ports") or ():
        kept = known.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and kept and kept not in taken:
            port["nodePort"] = kept
            taken.add(kept)


def _drop_node_ports(spec: Object, before: Object) -> None:
    known = {port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in known:
            port.pop("nodePort", None)


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
    prepare_update=_prepare_update,
    validate=rule(services.validate),
    validate_update=update_rule(services.update),
    update_alone=True,
    validate_status=update_rule(services.balancer_status),
    validate_name=name_rule(names.dns1123_label),
    warnings=warn.service,
    cells=_cells,
    selectable={
        "spec.clusterIP": lambda service: str(spec_of(service).get("clusterIP") or ""),
        "spec.type": lambda service: str(spec_of(service).get("type") or ""),
    },
)
