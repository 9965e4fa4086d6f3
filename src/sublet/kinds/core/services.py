"""Service."""

from __future__ import annotations

import ipaddress
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill,
    fill_empty,
    labels,
    name_rule,
    named,
    one_of,
    port_number_or_name,
    rule,
    spec_of,
    update_rule,
    within,
)
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
)

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_WITH_IP = ("ClusterIP", "LoadBalancer", "NodePort")
_WITH_NODE_PORTS = ("LoadBalancer", "NodePort")
_DAY = 86400
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


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
    if kind in _WITH_NODE_PORTS or (kind == "ClusterIP" and spec.get("externalIPs")):
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
    if spec.get("type") in _WITH_NODE_PORTS and before.get("type") in _WITH_NODE_PORTS:
        _keep_node_ports(spec, before)
        if _needs_health_port(spec) and _needs_health_port(before):
            fill_empty(spec, healthCheckNodePort=before.get("healthCheckNodePort"))
    elif before.get("type") in _WITH_NODE_PORTS:
        _drop_node_ports(spec, before)
    if spec.get("type") != "LoadBalancer" and before.get("type") == "LoadBalancer":
        _drop_unchanged(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
        new["status"] = {"loadBalancer": {}}
    if not _needs_health_port(spec):
        _drop_unchanged(spec, before, "healthCheckNodePort")
    if not _external(spec):
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


def _external(spec: Object) -> bool:
    return spec.get("type") in _WITH_NODE_PORTS or (
        spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def _needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _validate(service: Object) -> Errors:
    spec = spec_of(service)
    kind = spec.get("type")
    yield from one_of("spec.type", kind, TYPES, needed=True)
    headless = spec.get("clusterIP") == "None"
    if not spec.get("ports") and not headless and kind != "ExternalName":
        yield required("spec.ports")
    if headless and kind in _WITH_NODE_PORTS:
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        yield from _external_name(spec)
    yield from _ports(spec)
    yield from labels("spec.selector", spec.get("selector"))
    yield from _affinity(spec)
    yield from _addresses(spec)
    yield from _traffic(spec)
    yield from _load_balancer(spec)


def _external_name(spec: Object) -> Errors:
    name = str(spec.get("externalName") or "")
    bare = name.removesuffix(".")
    if bare:
        yield from named("spec.externalName", bare, names.dns1123_subdomain)
    else:
        yield required("spec.externalName")
    if spec.get("clusterIP") or spec.get("clusterIPs"):
        yield field_forbidden("spec.clusterIPs", "may not be set for ExternalName services")


def _ports(spec: Object) -> Errors:
    found = spec.get("ports") or ()
    seen_names: set[str] = set()
    seen_ports: set[Any] = set()
    seen_node_ports: set[Any] = set()
    for index, port in enumerate(found):
        where, name = f"spec.ports[{index}]", port.get("name") or ""
        if len(found) > 1 and not name:
            yield required(f"{where}.name")
        elif name:
            yield from named(f"{where}.name", name, names.dns1123_label)
            if name in seen_names:
                yield duplicate(f"{where}.name", name)
            seen_names.add(name)
        yield from within(f"{where}.port", port.get("port") or 0, 1, 65535)
        protocol = port.get("protocol")
        if protocol not in _PROTOCOLS:
            yield not_supported(f"{where}.protocol", protocol or "", _PROTOCOLS)
        yield from port_number_or_name(f"{where}.targetPort", port.get("targetPort", 0))
        if protocol_name := port.get("appProtocol"):
            yield from named(f"{where}.appProtocol", protocol_name, names.qualified_name)
        key = (protocol, port.get("port"))
        if key in seen_ports:
            yield duplicate(where, {"protocol": protocol, "port": port.get("port")})
        seen_ports.add(key)
        yield from _node_port(where, port, spec, seen_node_ports)


def _node_port(path: str, port: Object, spec: Object, seen: set[Any]) -> Errors:
    number = port.get("nodePort")
    if not number:
        return
    if spec.get("type") not in _WITH_NODE_PORTS:
        yield field_forbidden(f"{path}.nodePort", f"may not be used when `type` is '{spec.get('type')}'")
    key = (port.get("protocol"), number)
    if key in seen:
        yield duplicate(f"{path}.nodePort", number)
    seen.add(key)


def _affinity(spec: Object) -> Errors:
    yield from one_of("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"), needed=True)
    if spec.get("sessionAffinity") == "ClientIP":
        seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is not None and not 0 < seconds <= _DAY:
            where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            yield invalid(where, seconds, f"must be greater than 0 and less than {_DAY}")


def _addresses(spec: Object) -> Errors:
    cluster_ip, cluster_ips = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if cluster_ip and cluster_ip != "None":
        yield from named("spec.clusterIPs[0]", cluster_ip, names.ip_address)
    if cluster_ips and cluster_ips[0] != cluster_ip:
        yield invalid("spec.clusterIPs", cluster_ips, "first value must match `clusterIP`")
    if len(cluster_ips) > 2:
        yield invalid("spec.clusterIPs", cluster_ips, "may only hold up to 2 values")
    if len(spec.get("ipFamilies") or ()) > 2:
        yield invalid("spec.ipFamilies", spec["ipFamilies"], "may only hold up to 2 values")
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        yield from one_of(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"), needed=True)
    yield from one_of(
        "spec.ipFamilyPolicy",
        spec.get("ipFamilyPolicy"),
        ("PreferDualStack", "RequireDualStack", "SingleStack"),
    )
    for index, address in enumerate(spec.get("externalIPs") or ()):
        where = f"spec.externalIPs[{index}]"
        wrong = list(named(where, address, names.ip_address))
        yield from wrong
        if not wrong:
            yield from _not_local(where, address)


def _not_local(path: str, address: str) -> Errors:
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({address})")
    if parsed.is_loopback:
        yield invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if parsed.is_link_local:
        yield invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")


def _traffic(spec: Object) -> Errors:
    external, internal = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    if external:
        if not _external(spec):
            detail = "may only be set for externally-accessible services"
            yield invalid("spec.externalTrafficPolicy", external, detail)
        else:
            yield from one_of("spec.externalTrafficPolicy", external, ("Cluster", "Local"))
    elif _external(spec):
        yield required("spec.externalTrafficPolicy")
    yield from one_of("spec.internalTrafficPolicy", internal, ("Cluster", "Local"))
    if spec.get("healthCheckNodePort") and not _needs_health_port(spec):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], detail)
    if (distribution := spec.get("trafficDistribution")) is not None:
        yield from one_of("spec.trafficDistribution", distribution, _DISTRIBUTIONS, needed=True)


def _load_balancer(spec: Object) -> Errors:
    is_balanced = spec.get("type") == "LoadBalancer"
    for index, source in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if not is_balanced:
            yield field_forbidden(
                "spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'"
            )
            break
        yield from named(f"spec.loadBalancerSourceRanges[{index}]", source.strip(), names.cidr)
    for field in ("loadBalancerClass", "allocateLoadBalancerNodePorts"):
        value = spec.get(field)
        if value is not None and not is_balanced:
            yield field_forbidden(f"spec.{field}", "may only be used when `type` is 'LoadBalancer'")
    if is_balanced and (chosen := spec.get("loadBalancerClass")) is not None:
        yield from named("spec.loadBalancerClass", chosen, names.qualified_name)


def _validate_update(new: Object, old: Object) -> Errors:
    spec, before = spec_of(new), spec_of(old)
    if before.get("type") != "ExternalName" and spec.get("type") != "ExternalName":
        was = before.get("clusterIP")
        if was and spec.get("clusterIP") != was:
            yield invalid(
                "spec.clusterIPs[0]",
                spec.get("clusterIPs") or spec.get("clusterIP"),
                "may not change once set",
            )
        families = before.get("ipFamilies") or ()
        if families and (spec.get("ipFamilies") or [None])[0] != families[0]:
            yield invalid("spec.ipFamilies[0]", spec.get("ipFamilies"), "may not change once set")
    if spec.get("type") == before.get("type") == "LoadBalancer":
        if spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
            yield invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), "may not change once set")
        port = before.get("healthCheckNodePort")
        if _needs_health_port(spec) and port and spec.get("healthCheckNodePort") != port:
            yield field_forbidden("spec.healthCheckNodePort", "field is immutable")


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
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_name=name_rule(names.dns1123_label),
    warnings=warn.service,
    cells=_cells,
    selectable={
        "spec.clusterIP": lambda service: str(spec_of(service).get("clusterIP") or ""),
        "spec.type": lambda service: str(spec_of(service).get("type") or ""),
    },
)
