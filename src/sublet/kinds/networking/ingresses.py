"""Ingress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, named, needs, rule, spec_of, update_rule, within
from sublet.kinds.rules.references import typed_reference
from sublet.kinds.rules.services import host_name
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import NIL, invalid, not_supported, required

_CLASS = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_MAX_HOSTS = 3


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    yield from _spec(spec, check_secrets=True)
    annotation = ((obj.get("metadata") or {}).get("annotations") or {}).get(_CLASS)
    chosen = spec.get("ingressClassName")
    if annotation is not None and chosen is not None and annotation != chosen:
        detail = "must match `ingressClassName` when both are specified"
        yield invalid(f"annotations.{_CLASS}", annotation, detail)


def _validate_update(new: Object, old: Object) -> Errors:
    """What an old object was allowed to hold, it may keep."""
    known = [tls.get("secretName") or "" for tls in spec_of(old).get("tls") or ()]
    yield from _spec(spec_of(new), check_secrets=not any(map(_bad_secret, known)))


def _bad_secret(name: str) -> list[str]:
    return names.dns1123_subdomain(name) if name else []


def _spec(spec: Object, *, check_secrets: bool) -> Errors:
    backend, rules = spec.get("defaultBackend"), spec.get("rules") or ()
    if not rules and backend is None:
        yield invalid("spec", NIL, "either `defaultBackend` or `rules` must be specified")
    if backend is not None:
        yield from _backend("spec.defaultBackend", backend)
    for index, entry in enumerate(rules):
        where, host = f"spec.rules[{index}]", entry.get("host") or ""
        if host:
            if not names.ip_address(host):
                yield invalid(f"{where}.host", host, "must be a DNS name, not an IP address")
            yield from named(f"{where}.host", host, _host)
        if (http := entry.get("http")) is not None:
            yield from _paths(f"{where}.http.paths", http.get("paths") or [])
    for index, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            yield from named(f"spec.tls[{index}].hosts[{number}]", host, _host)
        if check_secrets:
            yield from named(f"spec.tls[{index}].secretName", tls.get("secretName") or "", _bad_secret)
    if (chosen := spec.get("ingressClassName")) is not None:
        yield from named("spec.ingressClassName", chosen, names.dns1123_subdomain)


def _host(host: str) -> list[str]:
    return names.wildcard_subdomain(host) if "*" in host else names.dns1123_subdomain(host)


def _paths(path: str, found: list[Object]) -> Errors:
    if not found:
        yield required(path)
    for index, entry in enumerate(found):
        where, kind, text = f"{path}[{index}]", entry.get("pathType"), entry.get("path") or ""
        if kind is None:
            yield required(f"{where}.pathType", "pathType must be specified")
            continue
        if kind not in _PATH_TYPES:
            yield not_supported(f"{where}.pathType", kind, _PATH_TYPES)
        elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
            yield invalid(f"{where}.path", text, "must be an absolute path")
        if kind in ("Exact", "Prefix"):
            for sequence in _BAD_SEQUENCES:
                if sequence in text:
                    yield invalid(f"{where}.path", text, f"must not contain '{sequence}'")
            for suffix in _BAD_SUFFIXES:
                if text.endswith(suffix):
                    yield invalid(f"{where}.path", text, f"cannot end with '{suffix}'")
        yield from _backend(f"{where}.backend", entry.get("backend") or {})


def _backend(path: str, backend: Object) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from typed_reference(f"{path}.resource", resource)
    elif service is not None:
        yield from needs(f"{path}.service.name", service.get("name"), names.dns1123_label)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            yield invalid(path, "", "cannot set both port name & port number")
        elif port.get("name"):
            yield from named(f"{path}.service.port.name", port["name"], names.port_name)
        elif port.get("number"):
            yield from within(f"{path}.service.port.number", port["number"], 1, 65535)
        else:
            yield required(path, "port name or number is required")
    else:
        yield invalid(path, "", "resource or service backend is required")


def _validate_status(new: Object, _old: Object) -> Errors:
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    for index, ingress in enumerate(balancer.get("ingress") or ()):
        where = f"status.loadBalancer.ingress[{index}]"
        if address := ingress.get("ip"):
            yield from named(f"{where}.ip", address, names.ip_address)
        yield from host_name(f"{where}.hostname", ingress.get("hostname") or "")


def _hosts(rules: Sequence[Object]) -> str:
    """The first three hosts; rules after the third are counted, with a host or without."""
    found: list[str] = []
    for rule_ in rules:
        if len(found) == _MAX_HOSTS:
            return f"{','.join(found)} + {len(rules) - _MAX_HOSTS} more..."
        if rule_.get("host"):
            found.append(str(rule_["host"]))
    return ",".join(found) or "*"


def _cells(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    addresses = {str(i.get("ip") or i.get("hostname") or "") for i in balancer.get("ingress") or ()}
    return [
        show.name(obj),
        spec.get("ingressClassName", show.NONE),
        _hosts(spec.get("rules") or ()),
        ",".join(sorted(addresses - {""})),
        "80, 443" if spec.get("tls") else "80",
        show.age(obj, now),
    ]


KIND = builtin(
    "ingresses.networking.k8s.io",
    status={"loadBalancer": {}},
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    update_alone=True,
    validate_status=update_rule(_validate_status),
    warnings=warn.ingress,
    cells=_cells,
)
