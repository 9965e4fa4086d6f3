"""Ingress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import show, warn
from sublet.kinds.rules.common import Errors, named, needs, one_of, rule, spec_of, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import invalid, required

_CLASS = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_MAX_HOSTS = 3


def _validate(obj: Object) -> Errors:
    spec = spec_of(obj)
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        yield invalid("spec", spec, "either `defaultBackend` or `rules` must be specified")
    if (backend := spec.get("defaultBackend")) is not None:
        yield from _backend("spec.defaultBackend", backend)
    for index, entry in enumerate(spec.get("rules") or ()):
        where = f"spec.rules[{index}]"
        if host := entry.get("host"):
            yield from _host(f"{where}.host", host)
        if (http := entry.get("http")) is not None:
            yield from _paths(f"{where}.http.paths", http.get("paths") or [])
    for index, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            check = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
            yield from named(f"spec.tls[{index}].hosts[{number}]", host, check)
        if secret := tls.get("secretName"):
            yield from named(f"spec.tls[{index}].secretName", secret, names.dns1123_subdomain)
    if (chosen := spec.get("ingressClassName")) is not None:
        yield from named("spec.ingressClassName", chosen, names.dns1123_subdomain)
        annotation = ((obj.get("metadata") or {}).get("annotations") or {}).get(_CLASS)
        if annotation is not None and annotation != chosen:
            detail = "must match `ingressClassName` when both are specified"
            yield invalid(f"metadata.annotations[{_CLASS}]", annotation, detail)


def _host(path: str, host: str) -> Errors:
    if not names.ip_address(host):
        yield invalid(path, host, "must be a DNS name, not an IP address")
    check = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
    yield from named(path, host, check)


def _paths(path: str, found: list[Object]) -> Errors:
    if not found:
        yield required(path)
    for index, entry in enumerate(found):
        where, kind, text = f"{path}[{index}]", entry.get("pathType"), entry.get("path") or ""
        if kind is None:
            yield required(f"{where}.pathType", "pathType must be specified")
        else:
            yield from one_of(f"{where}.pathType", kind, _PATH_TYPES)
        if kind in ("Exact", "Prefix"):
            if not text.startswith("/"):
                yield invalid(f"{where}.path", text, "must be an absolute path")
            for sequence in _BAD_SEQUENCES:
                if sequence in text:
                    yield invalid(f"{where}.path", text, f"must not contain '{sequence}'")
            for suffix in _BAD_SUFFIXES:
                if text.endswith(suffix):
                    yield invalid(f"{where}.path", text, f"cannot end with '{suffix}'")
        elif text and not text.startswith("/"):
            yield invalid(f"{where}.path", text, "must be an absolute path")
        yield from _backend(f"{where}.backend", entry.get("backend") or {})


def _backend(path: str, backend: Object) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        for field in ("kind", "name"):
            yield from needs(f"{path}.resource.{field}", resource.get(field))
    elif service is not None:
        yield from needs(f"{path}.service.name", service.get("name"), names.dns1123_label)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            yield invalid(f"{path}.service.port", port, "cannot set both port name & port number")
        elif port.get("name"):
            yield from named(f"{path}.service.port.name", port["name"], names.port_name)
        elif port.get("number"):
            yield from within(f"{path}.service.port.number", port["number"], 1, 65535)
        else:
            yield required(f"{path}.service.port", "port name or number is required")
    else:
        yield required(path, "resource or service backend is required")


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
    warnings=warn.ingress,
    cells=_cells,
)
