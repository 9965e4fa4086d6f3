"""Rules of containers, init containers and ephemeral containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublet.kinds.rules import amounts, security, volumes
from sublet.kinds.rules.common import Errors, named, needs, not_negative, one_of, port_number_or_name, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
)

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
ENV_FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")

_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
_EPHEMERAL_ALLOWED = frozenset(
    (
        "name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices",
        "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin",
        "stdinOnce", "tty", "targetContainerName",
    )
)  # fmt: skip


def containers(path: str, spec: Object, known: Mapping[str, Object]) -> Errors:
    """``spec.containers`` of a pod; ``path`` is that list's, ``known`` are the pod's volumes by name."""
    found = spec.get("containers") or ()
    if not found:
        yield required(path)
    seen: set[str] = set()
    for index, container in enumerate(found):
        where = f"{path}[{index}]"
        yield from _unique_name(where, container, seen)
        yield from container_rules(where, container, spec, known)
        yield from one_of(f"{where}.restartPolicy", container.get("restartPolicy"), RESTART_POLICIES)
        yield from _lifecycle(f"{where}.lifecycle", container.get("lifecycle"))
        yield from _probes(where, container)
    yield from _host_ports(path, found)


def init_containers(path: str, spec: Object, known: Mapping[str, Object]) -> Errors:
    seen = {str(c.get("name") or "") for c in spec.get("containers") or ()}
    found = spec.get("initContainers") or ()
    for index, container in enumerate(found):
        where = f"{path}[{index}]"
        yield from _unique_name(where, container, seen)
        yield from container_rules(where, container, spec, known)
        yield from one_of(f"{where}.restartPolicy", container.get("restartPolicy"), RESTART_POLICIES)
        if container.get("restartPolicy") == "Always":
            yield from _lifecycle(f"{where}.lifecycle", container.get("lifecycle"))
            yield from _probes(where, container)
        else:
            for key in ("lifecycle", *PROBES):
                if container.get(key) is not None:
                    yield field_forbidden(f"{where}.{key}", _ONLY_SIDECARS)


def ephemeral_containers(path: str, spec: Object, known: Mapping[str, Object]) -> Errors:
    others = {
        str(c.get("name") or "") for key in ("containers", "initContainers") for c in spec.get(key) or ()
    }
    seen = set(others)
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        where = f"{path}[{index}]"
        yield from _unique_name(where, container, seen)
        yield from container_rules(where, container, spec, known)
        for key, value in container.items():
            if key not in _EPHEMERAL_ALLOWED and value not in (None, {}, []):
                yield field_forbidden(f"{where}.{key}", "cannot be set for an Ephemeral Container")
        target = container.get("targetContainerName")
        if target and target not in others:
            yield field_not_found(f"{where}.targetContainerName", target)


def _unique_name(path: str, container: Object, seen: set[str]) -> Errors:
    name = container.get("name") or ""
    yield from needs(f"{path}.name", name, names.dns1123_label)
    if name and name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)


def container_rules(path: str, container: Object, spec: Object, known: Mapping[str, Object]) -> Errors:
    """What holds for containers of all three lists."""
    image = container.get("image") or ""
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    yield from one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES, needed=True)
    yield from one_of(
        f"{path}.terminationMessagePolicy",
        container.get("terminationMessagePolicy"),
        ("FallbackToLogsOnError", "File"),
        needed=True,
    )
    yield from _ports(f"{path}.ports", container.get("ports") or (), bool(spec.get("hostNetwork")))
    yield from _env(f"{path}.env", container.get("env") or ())
    yield from _env_from(f"{path}.envFrom", container.get("envFrom") or ())
    yield from volumes.mounts(path, container, known)
    claims = {c.get("name") for c in spec.get("resourceClaims") or ()}
    yield from amounts.requirements(f"{path}.resources", container.get("resources"), claims)
    yield from security.container(f"{path}.securityContext", container.get("securityContext"))


def _ports(path: str, found: Sequence[Object], host_network: bool) -> Errors:
    seen: set[str] = set()
    for index, port in enumerate(found):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            wrong = list(named(f"{where}.name", name, names.port_name))
            yield from wrong
            if not wrong and name in seen:
                yield duplicate(f"{where}.name", name)
            seen.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            yield required(f"{where}.containerPort")
        else:
            yield from within(f"{where}.containerPort", number, 1, 65535)
        if host:
            yield from within(f"{where}.hostPort", host, 1, 65535)
            if host_network and host != number:
                detail = "must match `hostPort` when `hostNetwork` is true"
                yield invalid(f"{where}.containerPort", number, detail)
        protocol = port.get("protocol") or ""
        if not protocol:
            yield required(f"{where}.protocol")
        elif protocol not in PROTOCOLS:
            yield not_supported(f"{where}.protocol", protocol, PROTOCOLS)


def _host_ports(path: str, found: Sequence[Object]) -> Errors:
    taken: set[str] = set()
    for index, container in enumerate(found):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol')}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if text in taken:
                yield duplicate(f"{path}[{index}].ports[{number}].hostPort", text)
            taken.add(text)


def _env(path: str, found: Sequence[Object]) -> Errors:
    for index, variable in enumerate(found):
        where, name = f"{path}[{index}]", variable.get("name") or ""
        if not name:
            yield required(f"{where}.name")
        else:
            yield from named(f"{where}.name", name, names.environment_name)
        source = variable.get("valueFrom")
        if source is not None:
            if variable.get("value"):
                yield invalid(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
            yield from _env_source(f"{where}.valueFrom", source)


def _env_source(path: str, source: Object) -> Errors:
    if not source:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` "
            "or `fileKeyRef`"
        )
        yield invalid(path, "", detail)
    elif len(source) > 1:
        yield invalid(path, "", "may not have more than one field specified at a time")
    if field := source.get("fieldRef"):
        yield from volumes.field_reference(f"{path}.fieldRef", field, ENV_FIELD_PATHS)
    if resource := source.get("resourceFieldRef"):
        yield from volumes.resource_reference(f"{path}.resourceFieldRef", resource, in_volume=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if (reference := source.get(kind)) is not None:
            yield from named(f"{path}.{kind}.name", reference.get("name") or "", names.dns1123_subdomain)
            yield from needs(f"{path}.{kind}.key", reference.get("key"), names.config_key)


def _env_from(path: str, found: Sequence[Object]) -> Errors:
    for index, source in enumerate(found):
        where = f"{path}[{index}]"
        if prefix := source.get("prefix"):
            yield from named(f"{where}.prefix", prefix, names.environment_name)
        kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        if not kinds:
            yield invalid(where, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(kinds) > 1:
            yield invalid(where, "", "may not have more than one field specified at a time")
        for kind in kinds:
            yield from named(f"{where}.{kind}.name", source[kind].get("name") or "", names.dns1123_subdomain)


def _lifecycle(path: str, lifecycle: Object | None) -> Errors:
    for moment in ("postStart", "preStop"):
        handler = (lifecycle or {}).get(moment)
        if handler is not None:
            yield from _handler(f"{path}.{moment}", handler)


def _probes(path: str, container: Object) -> Errors:
    for kind in PROBES:
        probe = container.get(kind)
        if probe is None:
            continue
        where = f"{path}.{kind}"
        yield from _handler(where, probe)
        for key in (
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ):
            yield from not_negative(f"{where}.{key}", probe.get(key))
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None and grace <= 0:
            yield invalid(f"{where}.terminationGracePeriodSeconds", grace, "must be greater than 0")
        if kind == "readinessProbe":
            if grace is not None:
                detail = "must not be set for readinessProbes"
                yield invalid(f"{where}.terminationGracePeriodSeconds", grace, detail)
        elif probe.get("successThreshold") != 1:
            yield invalid(f"{where}.successThreshold", probe.get("successThreshold") or 0, "must be 1")


def _handler(path: str, handler: Object) -> Errors:
    chosen = [kind for kind in HANDLERS if handler.get(kind) is not None]
    if not chosen:
        yield required(path, "must specify a handler type")
    for kind in chosen[1:]:
        yield field_forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
    if chosen:
        yield from _HANDLER_RULES[chosen[0]](f"{path}.{chosen[0]}", handler[chosen[0]])


def _exec(path: str, action: Object) -> Errors:
    if not action.get("command"):
        yield required(f"{path}.command")


def _http_get(path: str, action: Object) -> Errors:
    if not action.get("path"):
        yield required(f"{path}.path")
    yield from port_number_or_name(f"{path}.port", action.get("port", 0))
    yield from one_of(f"{path}.scheme", action.get("scheme"), ("HTTP", "HTTPS"), needed=True)
    for header in action.get("httpHeaders") or ():
        yield from named(f"{path}.httpHeaders", header.get("name") or "", names.http_header_name)


def _tcp(path: str, action: Object) -> Errors:
    yield from port_number_or_name(f"{path}.port", action.get("port", 0))


def _grpc(path: str, action: Object) -> Errors:
    yield from within(f"{path}.port", action.get("port") or 0, 1, 65535)


def _sleep(path: str, action: Any) -> Errors:
    seconds = action.get("seconds") or 0
    if seconds < 0:
        yield invalid(path, seconds, "must be greater than or equal to 0")


_HANDLER_RULES: Mapping[str, Callable[[str, Object], Errors]] = {
    "exec": _exec,
    "httpGet": _http_get,
    "tcpSocket": _tcp,
    "grpc": _grpc,
    "sleep": _sleep,
}
