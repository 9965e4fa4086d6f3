"""A container's environment: Service variables, envFrom, env with references and ``$(NAME)`` expansion.

Source: kubernetes.io, "Define Environment Variables", "Define Dependent Environment Variables", "Service".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sublet.machinery import objects, quantity
from sublet.machinery.kind import Object
from sublet.node import poddata
from sublet.node.poddata import Container

Fetch = Callable[[str, str], Mapping[str, Any] | None]
"""(``configmaps`` | ``secrets``, name) → the object in the pod's namespace, or None."""


class ConfigError(ValueError):
    """A container cannot be configured; shown as CreateContainerConfigError."""


_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replaces ``$(NAME)`` where NAME is known; ``$$`` stands for ``$``; other text stays."""

    def replaced(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return values.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replaced, text)


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """``NAME_SERVICE_HOST``, ``…_PORT`` and the docker-link variables of Services that have an address."""
    found: dict[str, str] = {}
    for service in services:
        spec = service.get("spec") or {}
        address, ports = spec.get("clusterIP"), spec.get("ports") or []
        if not address or address == "None" or not ports:
            continue
        prefix = objects.name(service).upper().replace("-", "_")
        host = f"[{address}]" if ":" in address else address
        found[f"{prefix}_SERVICE_HOST"] = address
        found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        for index, port in enumerate(ports):
            protocol = (port.get("protocol") or "TCP").lower()
            url = f"{protocol}://{host}:{port['port']}"
            if index == 0:
                found[f"{prefix}_PORT"] = url
            base = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
            found |= {
                base: url,
                f"{base}_PROTO": protocol,
                f"{base}_PORT": str(port["port"]),
                f"{base}_ADDR": address,
            }
    return found


def visible_services(services: Iterable[Object], pod: Object) -> list[Object]:
    """The Services whose variables a pod gets: its namespace's if it wants them, and default/kubernetes always."""
    links = poddata.spec(pod).get("enableServiceLinks", True)
    chosen: dict[str, Object] = {}
    for service in services:
        name, namespace = objects.name(service), objects.namespace(service)
        if namespace == objects.namespace(pod) and links:
            chosen[name] = service
        elif (namespace, name) == ("default", "kubernetes"):
            chosen.setdefault(name, service)
    return list(chosen.values())


def environment(
    pod: Object, container: Container, fetch: Fetch, services: Iterable[Object], facts: PodFacts
) -> dict[str, str]:
    """All variables. Raises :class:`ConfigError` naming what is missing."""
    values: dict[str, str] = {}
    available = service_variables(visible_services(services, pod))
    for source in container.get("envFrom") or []:
        values.update(_from_source(source, fetch, pod))
    for entry in container.get("env") or []:
        if entry.get("valueFrom"):
            value = _value_from(entry["valueFrom"], pod, container, fetch, facts)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", {**available, **values})
        values[entry["name"]] = value
    return {**available, **values}


def _from_source(source: Mapping[str, Any], fetch: Fetch, pod: Object) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, plural, kind in (
        ("configMapRef", "configmaps", "configmap"),
        ("secretRef", "secrets", "secret"),
    ):
        if reference := source.get(field):
            found = fetch(plural, reference["name"])
            if found is None:
                if reference.get("optional"):
                    return {}
                raise ConfigError(f'{kind} "{reference["name"]}" not found')
            return {prefix + key: value for key, value in _texts(found, plural).items()}
    return {}


def _texts(found: Mapping[str, Any], plural: str) -> dict[str, str]:
    data = found.get("data") or {}
    if plural == "secrets":
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
    return dict(data)


def _value_from(
    source: Mapping[str, Any], pod: Object, container: Container, fetch: Fetch, facts: PodFacts
) -> str | None:
    for field, plural, kind in (
        ("configMapKeyRef", "configmaps", "configmap"),
        ("secretKeyRef", "secrets", "secret"),
    ):
        if reference := source.get(field):
            found = fetch(plural, reference["name"])
            if found is None:
                if reference.get("optional"):
                    return None
                raise ConfigError(f'{kind} "{reference["name"]}" not found')
            value = _texts(found, plural).get(reference["key"])
            if value is None and not reference.get("optional"):
                title = "ConfigMap" if kind == "configmap" else "Secret"
                where = f"{objects.namespace(pod)}/{reference['name']}"
                raise ConfigError(f"couldn't find key {reference['key']} in {title} {where}")
            return value
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], facts)
    if reference := source.get("resourceFieldRef"):
        owner = poddata.find_container(pod, reference.get("containerName") or container["name"]) or container
        return resource_value(owner, reference["resource"], reference.get("divisor"), facts)
    raise ConfigError(f"unsupported source of an environment variable: {', '.join(source) or 'none'}")


class PodFacts:
    """What the downward API tells beyond the pod object: addresses, and the node's allocatable resources."""

    def __init__(
        self, pod_ips: tuple[str, ...] = (), host_ip: str = "", allocatable: Mapping[str, str] | None = None
    ) -> None:
        self.pod_ips = pod_ips
        self.host_ip = host_ip
        self.allocatable = allocatable or {}


_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field_value(pod: Object, path: str, facts: PodFacts) -> str:
    """The text of a downward API field path. Raises :class:`ConfigError` for an unknown one."""
    if match := _SUBSCRIPT.fullmatch(path):
        where = objects.labels(pod) if match.group(1) == "labels" else objects.annotations(pod)
        return where.get(match.group(2), "")
    simple: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: objects.name(pod),
        "metadata.namespace": lambda: objects.namespace(pod),
        "metadata.uid": lambda: objects.uid(pod),
        "metadata.labels": lambda: _as_lines(objects.labels(pod)),
        "metadata.annotations": lambda: _as_lines(objects.annotations(pod)),
        "spec.nodeName": lambda: poddata.spec(pod).get("nodeName") or "",
        "spec.serviceAccountName": lambda: poddata.spec(pod).get("serviceAccountName") or "",
        "status.hostIP": lambda: facts.host_ip,
        "status.hostIPs": lambda: facts.host_ip,
        "status.podIP": lambda: facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": lambda: ",".join(facts.pod_ips),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return simple[path]()


def _as_lines(values: Mapping[str, str]) -> str:
    """``key="value"`` lines in order, with Go's quoting of control characters and quotes."""
    import json

    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def resource_value(container: Container, resource: str, divisor: str | int | None, facts: PodFacts) -> str:
    """``limits.cpu`` and the like in units of the divisor, rounded up; without a limit: what the node has."""
    side, _, name = resource.partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(side) or {}).get(name)
    if amount is None and side == "limits":
        amount = facts.allocatable.get(name)
    by = quantity.parse(divisor or 1)
    if not by:
        by = quantity.parse(1)
    return str(-(-quantity.parse(amount or 0).nano // by.nano))
