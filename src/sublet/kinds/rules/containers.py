"""Rules of containers, init containers and ephemeral containers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sublet.kinds.rules import amounts, environment, probes, security, volumes
from sublet.kinds.rules.common import Errors, named, needs, within
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
    too_many,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
_OF_CONTAINERS = ("Always", "Never", "OnFailure")

_POLICY_NEEDED = "must specify restartPolicy when restart rules are used"
_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
_ACTIONS = ("Restart", "RestartAllContainers")
_MAX_RESTART_RULES, _MAX_EXIT_CODES = 20, 255
_NOT_EPHEMERAL = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
    "startupProbe", "lifecycle",
)  # fmt: skip


class Context(NamedTuple):
    """What a container's rules must know of its pod."""

    spec: Object
    volumes: Mapping[str, Object]
    claims: Collection[str]
    whole_pod: bool
    """False in templates."""
    allowed: Allowances = NEW

    @property
    def grace(self) -> int | None:
        seconds: int | None = self.spec.get("terminationGracePeriodSeconds")
        return seconds

    @property
    def system(self) -> str | None:
        """``linux``, ``windows``, or whatever is said; None: nothing is."""
        found = self.spec.get("os")
        return None if found is None else str(found.get("name") or "")


def containers(path: str, pod: Context) -> Errors:
    """``spec.containers`` of a pod; ``path`` is that list's."""
    found = pod.spec.get("containers") or ()
    if not found:
        yield required(path)
        return
    seen: set[str] = set()
    for index, container in enumerate(found):
        where, name = f"{path}[{index}]", container.get("name") or ""
        yield from _common(where, container, pod)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        yield from probes.all_of(where, container, pod.grace, pod.system)
        yield from _restart_policy(where, container)
    yield from _host_ports(path, found)


def init_containers(path: str, pod: Context) -> Errors:
    seen = {str(c.get("name") or "") for c in pod.spec.get("containers") or ()}
    for index, container in enumerate(pod.spec.get("initContainers") or ()):
        where, name = f"{path}[{index}]", container.get("name") or ""
        yield from _common(where, container, pod)
        if container.get("restartPolicy") is None and container.get("restartPolicyRules"):
            yield required(f"{where}.restartPolicy", _POLICY_NEEDED)
        elif container.get("restartPolicy") is not None:
            yield from _restart_policy(where, container)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        elif name:
            seen.add(name)
        # Init containers run one by one: each has the host's ports to itself.
        yield from _host_ports(path, [container])
        if container.get("restartPolicy") == "Always":
            yield from probes.all_of(where, container, pod.grace, pod.system)
        else:
            for key in ("lifecycle", *probes.PROBES):
                if container.get(key) is not None:
                    yield field_forbidden(f"{where}.{key}", _ONLY_SIDECARS)
        for number in () if pod.allowed.restarted_init else restarting(container):
            detail = "must not be set to 'RestartContainer' for non-sidecar initContainers"
            yield invalid(f"{where}.resizePolicy[{number}].restartPolicy", "RestartContainer", detail)


def restarting(container: Object) -> list[int]:
    """Where an ordinary init container's ``resizePolicy`` says that a resize restarts it."""
    if container.get("restartPolicy") == "Always":
        return []
    policies = container.get("resizePolicy") or ()
    return [index for index, p in enumerate(policies) if p.get("restartPolicy") == "RestartContainer"]


def ephemeral_containers(path: str, pod: Context) -> Errors:
    others = {
        str(c.get("name") or "") for key in ("containers", "initContainers") for c in pod.spec.get(key) or ()
    }
    seen = set(others)
    for index, container in enumerate(pod.spec.get("ephemeralContainers") or ()):
        where, name = f"{path}[{index}]", container.get("name") or ""
        yield from _common(where, container, pod)
        yield from image_blanks(where, container)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            yield field_not_found(f"{where}.targetContainerName", target)
        for key in _NOT_EPHEMERAL:
            if container.get(key) not in (None, {}, []):
                yield field_forbidden(f"{where}.{key}", "cannot be set for an Ephemeral Container")
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    place = f"{where}.volumeMounts[{number}].{key}"
                    yield field_forbidden(place, "cannot be set for an Ephemeral Container")


def image_blanks(path: str, container: Object) -> Errors:
    """In pods only: templates have always been allowed to hold anything."""
    image = container.get("image") or ""
    if image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")


def _common(path: str, container: Object, pod: Context) -> Errors:
    """What holds for containers of all three lists."""
    yield from needs(f"{path}.name", container.get("name"), names.dns1123_label)
    yield from needs(f"{path}.image", container.get("image"))
    policy = container.get("terminationMessagePolicy") or ""
    if not policy:
        yield required(f"{path}.terminationMessagePolicy")
    elif policy not in ("File", "FallbackToLogsOnError"):
        yield not_supported(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError"))
    yield from _ports(f"{path}.ports", container.get("ports") or ())
    yield from environment.variables(f"{path}.env", container.get("env") or ())
    yield from environment.sources(f"{path}.envFrom", container.get("envFrom") or ())
    yield from volumes.mounts(path, container, pod.volumes)
    yield from volumes.pull_policy(f"{path}.imagePullPolicy", container.get("imagePullPolicy"))
    yield from amounts.requirements(
        f"{path}.resources",
        container.get("resources"),
        pod.claims,
        even_pages=not pod.allowed.uneven_pages,
    )
    yield from _resize_policy(f"{path}.resizePolicy", container, pod.spec)
    yield from security.container(
        f"{path}.securityContext",
        container.get("securityContext"),
        host_users=pod.spec.get("hostUsers") is not False,
    )


def _resize_policy(path: str, container: Object, spec: Object) -> Errors:
    seen: set[str] = set()
    for index, policy in enumerate(container.get("resizePolicy") or ()):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if resource in seen:
            yield duplicate(f"{path}[{index}]", resource)
        seen.add(resource)
        for value, supported in (
            (resource, ("cpu", "memory")),
            (restart, ("NotRequired", "RestartContainer")),
        ):
            if not value:
                yield required(path)
            elif value not in supported:
                yield not_supported(path, value, supported)
        if spec.get("restartPolicy") == "Never" and restart != "NotRequired":
            yield invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")


def _restart_policy(path: str, container: Object) -> Errors:
    """A container's own restart policy, and which exit codes make an exception of it."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    where = f"{path}.restartPolicy"
    if policy is not None and policy not in _OF_CONTAINERS:
        yield not_supported(where, policy, _OF_CONTAINERS)
    if policy is None and rules:
        yield required(where, _POLICY_NEEDED)
    where = f"{path}.restartPolicyRules"
    if len(rules) > _MAX_RESTART_RULES:
        yield too_many(where, len(rules), _MAX_RESTART_RULES)
    for index, rule in enumerate(rules):
        place = f"{where}[{index}]"
        if rule.get("action") not in _ACTIONS:
            yield not_supported(f"{place}.action", rule.get("action") or "", _ACTIONS)
        codes = rule.get("exitCodes")
        if codes is None:
            yield required(f"{place}.exitCodes", "must be specified")
            continue
        if codes.get("operator") not in ("In", "NotIn"):
            yield not_supported(f"{place}.exitCodes.operator", codes.get("operator") or "", ("In", "NotIn"))
        if (count := len(codes.get("values") or ())) > _MAX_EXIT_CODES:
            yield too_many(f"{place}.exitCodes.values", count, _MAX_EXIT_CODES)


def _ports(path: str, found: Sequence[Object]) -> Errors:
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
        yield from protocol(f"{where}.protocol", port.get("protocol"))


def protocol(path: str, value: str | None) -> Errors:
    """The protocol of a port, which must be there."""
    if not value:
        yield required(path)
    elif value not in PROTOCOLS:
        yield not_supported(path, value, PROTOCOLS)


def _host_ports(path: str, found: Sequence[Object]) -> Errors:
    taken: set[str] = set()
    for index, container in enumerate(found):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if text in taken:
                yield duplicate(f"{path}[{index}].ports[{number}].hostPort", text)
            taken.add(text)


def host_network(path: str, pod: Context) -> Errors:
    """On the node's network a port is the same port there; templates may leave it to their pods."""
    if not pod.spec.get("hostNetwork"):
        return
    for index, container in enumerate(pod.spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (pod.whole_pod or host) and host != (port.get("containerPort") or 0):
                detail = "must match `containerPort` when `hostNetwork` is true"
                yield invalid(f"{path}[{index}].ports[{number}].hostPort", host, detail)
