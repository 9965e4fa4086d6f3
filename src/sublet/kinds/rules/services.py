"""Rules of Services: ports, addresses, traffic; what a change of one may be."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from sublet.kinds.rules import gotypes
from sublet.kinds.rules.common import (
    Errors,
    labels,
    legacy_cidr,
    legacy_ip,
    named,
    port_number_or_name,
    within,
)
from sublet.kinds.rules.containers import protocol
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import NIL, duplicate, field_forbidden, invalid, not_supported, required

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_WITH_IP = ("ClusterIP", "LoadBalancer", "NodePort")
WITH_NODE_PORTS = ("LoadBalancer", "NodePort")
_DAY = 86400
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_ONLY_BALANCERS = "may only be used when `type` is 'LoadBalancer'"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_MODE, _HINTS = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"


def cluster_ips(spec: Object) -> list[str]:
    """The addresses asked for, whichever of the two fields names them."""
    found: list[str] = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return found


def is_headless(spec: Object) -> bool:
    return cluster_ips(spec) == ["None"]


def is_external(spec: Object) -> bool:
    """Whether clients outside the cluster can reach it."""
    return spec.get("type") in WITH_NODE_PORTS or (
        spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def validate(service: Object, old: Object | None = None) -> Errors:
    """Every rule of a defaulted Service; ``old``: as it was, which may keep addresses that no new one may have."""
    spec, before = service.get("spec") or {}, (old or {}).get("spec") or {}
    notes = (service.get("metadata") or {}).get("annotations") or {}
    if _MODE in notes and _HINTS in notes and notes[_MODE] != notes[_HINTS]:
        detail = f"must match annotations[{_HINTS}] when both are specified"
        yield invalid(f"metadata.annotations[{_MODE}]", notes[_MODE], detail)
    kind, headless = spec.get("type") or "", is_headless(spec)
    if not spec.get("ports") and not headless and kind != "ExternalName":
        yield required("spec.ports")
    if headless and kind in WITH_NODE_PORTS:
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        yield from _external_name(spec)
    yield from _ports(spec.get("ports") or ())
    yield from labels("spec.selector", spec.get("selector"))
    yield from _affinity(spec)
    if kind != "ExternalName":
        yield from cluster_addresses(spec, before)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        where = f"spec.externalIPs[{index}]"
        wrong = list(legacy_ip(where, address, before.get("externalIPs") or ()))
        yield from wrong or not_special(where, address)
    if not kind:
        yield required("spec.type")
    elif kind not in TYPES:
        yield not_supported("spec.type", kind, TYPES)
    yield from _repeated_ports(spec.get("ports") or (), kind)
    yield from _balancer(spec, notes, old or {})
    yield from _traffic(spec, kind)


def _external_name(spec: Object) -> Errors:
    forbidden = "may not be set for ExternalName services"
    if cluster_ips(spec):
        yield field_forbidden("spec.clusterIPs", forbidden)
    if spec.get("ipFamilies"):
        yield field_forbidden("spec.ipFamilies", forbidden)
    if spec.get("ipFamilyPolicy") is not None:
        yield field_forbidden("spec.ipFamilyPolicy", forbidden)
    bare = str(spec.get("externalName") or "").removesuffix(".")
    if bare:
        yield from named("spec.externalName", bare, names.dns1123_subdomain)
    else:
        yield required("spec.externalName")


def _ports(found: Sequence[Object]) -> Errors:
    seen: set[str] = set()
    for index, port in enumerate(found):
        where, name = f"spec.ports[{index}]", port.get("name") or ""
        if len(found) > 1 and not name:
            yield required(f"{where}.name")
        elif name:
            yield from named(f"{where}.name", name, names.dns1123_label)
            if name in seen:
                yield duplicate(f"{where}.name", name)
            seen.add(name)
        yield from within(f"{where}.port", port.get("port") or 0, 1, 65535)
        yield from protocol(f"{where}.protocol", port.get("protocol"))
        yield from port_number_or_name(f"{where}.targetPort", port.get("targetPort"))
        if (application := port.get("appProtocol")) is not None:
            yield from named(f"{where}.appProtocol", application, names.qualified_name)


def _repeated_ports(found: Sequence[Object], kind: str) -> Errors:
    if kind == "ClusterIP":
        for index, port in enumerate(found):
            if port.get("nodePort"):
                detail = "may not be used when `type` is 'ClusterIP'"
                yield field_forbidden(f"spec.ports[{index}].nodePort", detail)
    for field in ("nodePort", "port"):
        seen: set[Any] = set()
        for index, port in enumerate(found):
            key = (port.get("protocol"), port.get(field))
            if field == "nodePort" and not port.get("nodePort"):
                continue
            if key in seen:
                where = f"spec.ports[{index}]"
                if field == "nodePort":
                    yield duplicate(f"{where}.nodePort", port["nodePort"])
                else:
                    shown = {"protocol": port.get("protocol"), "port": port.get("port")}
                    yield duplicate(where, gotypes.shown("ServicePort", shown))
            seen.add(key)


def _affinity(spec: Object) -> Errors:
    kind, config = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig")
    if not kind:
        yield required("spec.sessionAffinity")
    elif kind not in ("ClientIP", "None"):
        yield not_supported("spec.sessionAffinity", kind, ("ClientIP", "None"))
    where = "spec.sessionAffinityConfig"
    if kind == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            yield required(f"{where}.clientIP.timeoutSeconds", "when session affinity type is ClientIP")
        elif not 0 < seconds <= _DAY:
            detail = f"must be greater than 0 and less than {_DAY}"
            yield invalid(f"{where}.clientIP.timeoutSeconds", seconds, detail)
    elif kind == "None" and config is not None:
        yield field_forbidden(where, "must not be set when session affinity is None")


def cluster_addresses(spec: Object, before: Object) -> Errors:
    """What is wrong with addresses, families and policy, wherever the Service is."""
    first, found = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    where, families = "spec.clusterIPs", spec.get("ipFamilies") or []
    if first and found and found[0] != first:
        yield invalid(where, found, "first value must match `clusterIP`")
    elif not first and found:
        yield invalid(where, found, "must be empty when `clusterIP` is not specified")
    for index, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            yield not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        if family in families[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        yield not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    yield from _judged_addresses(where, cluster_ips(spec), families, cluster_ips(before))


def _judged_addresses(
    where: str, found: Sequence[str], families: Sequence[str], kept: Sequence[str]
) -> Errors:
    bad = False
    for index, address in enumerate(found):
        if index == 0 and address == "None":
            if len(found) > 1:
                bad = True
                yield invalid(where, found, "'None' must be the first and only value")
            continue
        wrong = list(legacy_ip(f"{where}[{index}]", address, kept))
        bad = bad or bool(wrong)
        yield from wrong
    if len(found) > 2:
        yield invalid(where, found, "may only hold up to 2 values")
    if bad or found[:1] == ["None"]:
        return
    if len(found) > 1 and len({":" in address for address in found}) == 1:
        yield invalid(where, found, "may specify no more than one IP for each IP family")
    for index, (address, family) in enumerate(zip(found, families, strict=False)):
        if (family == "IPv6") != (":" in address) and family in ("IPv4", "IPv6"):
            detail = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield invalid(f"{where}[{index}]", address, detail)


def not_special(path: str, address: str) -> Errors:
    """An address that means the same machine from everywhere."""
    parsed, _ = names.read_ip(address)
    if parsed is None:
        return
    if parsed.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({address})")
    if parsed.is_loopback:
        yield invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if parsed.is_link_local:
        yield invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    local = "224.0.0.0/24" if parsed.version == 4 else "ff02::/16"
    if parsed in ipaddress.ip_network(local):
        yield invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def _balancer(spec: Object, notes: Object, old: Object) -> Errors:
    is_balanced = spec.get("type") == "LoadBalancer"
    ranges, where = spec.get("loadBalancerSourceRanges") or (), "spec.LoadBalancerSourceRanges"
    if ranges:
        if not is_balanced:
            yield field_forbidden(where, _ONLY_BALANCERS)
        kept = [source.strip() for source in (old.get("spec") or {}).get("loadBalancerSourceRanges") or ()]
        for index, source in enumerate(ranges):
            yield from legacy_cidr(f"{where}[{index}]", source.strip(), kept)
    elif _RANGES in notes:
        where = f"metadata.annotations[{_RANGES}]"
        if not is_balanced:
            yield field_forbidden(where, _ONLY_BALANCERS)
        text = notes[_RANGES].strip()
        if text and text != ((old.get("metadata") or {}).get("annotations") or {}).get(_RANGES, "").strip():
            for source in text.split(","):
                yield from legacy_cidr(where, source.strip())
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balanced:
        yield field_forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCERS)
    yield from _class(spec)


def _class(spec: Object) -> Errors:
    chosen = spec.get("loadBalancerClass")
    if chosen is None:
        return
    if spec.get("type") == "LoadBalancer":
        yield from named("spec.loadBalancerClass", chosen, names.qualified_name)
    else:
        yield field_forbidden("spec.loadBalancerClass", _ONLY_BALANCERS)


def _traffic(spec: Object, kind: str) -> Errors:
    external, internal = spec.get("externalTrafficPolicy") or "", spec.get("internalTrafficPolicy")
    where = "spec.externalTrafficPolicy"
    if not is_external(spec):
        if external:
            yield invalid(where, external, "may only be set for externally-accessible services")
    elif not external:
        yield required(where)
    elif external not in ("Cluster", "Local"):
        yield not_supported(where, external, ("Cluster", "Local"))
    port = spec.get("healthCheckNodePort") or 0
    if port and not needs_health_port(spec):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", port, detail)
    elif port:
        yield from within("spec.healthCheckNodePort", port, 1, 65535)
    if internal is None and kind in _WITH_IP:
        yield required("spec.internalTrafficPolicy")
    elif internal not in (None, "Cluster", "Local"):
        yield not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local"))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        yield not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS)


# -- changes --


def update(new: Object, old: Object) -> Errors:
    """Everything that is wrong with a changed Service."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        yield from _changed_addresses(spec, before)
        yield from _changed_families(spec, before)
    balanced = spec.get("type") == before.get("type") == "LoadBalancer"
    if balanced and spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
        yield invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), "may not change once set")
    yield from _class(spec)
    checked = needs_health_port(before) and needs_health_port(spec)
    if checked and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        yield field_forbidden("spec.healthCheckNodePort", "field is immutable")
    yield from validate(new, old)


def _changed_addresses(spec: Object, before: Object) -> Errors:
    if is_headless(spec) and is_headless(before):
        return
    now, then, where = cluster_ips(spec), cluster_ips(before), "spec.clusterIPs"
    for index, (mine, theirs) in enumerate(zip(now, then, strict=False)):
        if mine != theirs and (index == 0 or len(now) == len(then)):
            yield invalid(f"{where}[{index}]", now, "may not change once set")
    if then and not now:
        yield invalid(f"{where}[0]", NIL, "primary clusterIP can not be unset")
    if len(then) > len(now) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        yield invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), detail)


def _changed_families(spec: Object, before: Object) -> Errors:
    if is_headless(spec) or is_headless(before):
        return
    now, then, where = spec.get("ipFamilies") or [], before.get("ipFamilies") or [], "spec.ipFamilies[0]"
    if len(now) == len(then):
        for mine, theirs in zip(now, then, strict=True):
            if mine != theirs:
                yield invalid(where, now, "may not change once set")
        return
    if len(then) > len(now) and not cluster_ips(spec):
        yield invalid(where, now or NIL, "primary ipFamily can not be unset")
    if now and then and now[0] != then[0]:
        yield invalid(where, cluster_ips(spec) or NIL, "may not change once set")
    if len(then) > len(now) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        yield invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), detail)


def balancer_status(new: Object, old: Object) -> Errors:
    kept = [
        ingress.get("ip")
        for ingress in ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    ]
    found = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if found and (new.get("spec") or {}).get("type") != "LoadBalancer":
        detail = "may only be used when `spec.type` is 'LoadBalancer'"
        yield field_forbidden("status.loadBalancer.ingress", detail)
        return
    for index, ingress in enumerate(found):
        where = f"status.loadBalancer.ingress[{index}]"
        address, mode, host = ingress.get("ip") or "", ingress.get("ipMode"), ingress.get("hostname") or ""
        if address:
            yield from legacy_ip(f"{where}.ip", address, kept)
        if mode is None:
            if address:
                yield required(f"{where}.ipMode", "must be specified when `ip` is set")
        elif not address:
            yield field_forbidden(f"{where}.ipMode", "may not be specified when `ip` is not set")
        elif mode not in ("Proxy", "VIP"):
            yield not_supported(f"{where}.ipMode", mode, ("Proxy", "VIP"))
        yield from host_name(f"{where}.hostname", host)


def host_name(path: str, host: str) -> Errors:
    """A name that is no address; empty is fine."""
    if host:
        yield from named(path, host, names.dns1123_subdomain)
        if names.read_ip(host)[0] is not None:
            yield invalid(path, host, "must be a DNS name, not an IP address")
