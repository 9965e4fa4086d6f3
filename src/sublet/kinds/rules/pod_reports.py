"""Rules of what is reported of a pod: its status, and which of its containers may start again."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules import pod_annotations, pod_before
from sublet.kinds.rules.common import MAX_INT32, Errors, immutable, legacy_ip, named, spec_of, within
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required, too_long

_OWN_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_LISTS = {
    "containerStatuses": "containers",
    "initContainerStatuses": "initContainers",
    "ephemeralContainerStatuses": "ephemeralContainers",
}
"""List of a status -> the containers that it tells of."""
_HEALTH = ("Healthy", "Unhealthy", "Unknown")
_HEALTH_MESSAGE_LIMIT = 1024
_CLAIM = "claim:"
_NOT_NEGATIVE = "must be a non-negative integer"


def changed(new: Object, old: Object) -> Errors:
    """Everything that is wrong with a new status."""
    status, before = new.get("status") or {}, old.get("status") or {}
    spec, notes = spec_of(old), (new.get("metadata") or {}).get("annotations") or {}
    yield from pod_annotations.changed(notes, (old.get("metadata") or {}).get("annotations") or {})
    yield from pod_annotations.meaningful("metadata.annotations", notes, spec, pod_before.allowances(old))
    yield from _conditions("status.conditions", status.get("conditions") or ())
    yield from _nominated(status.get("nominatedNodeName") or "", before, spec)
    if (generation := status.get("observedGeneration") or 0) < 0:
        yield invalid("status.observedGeneration", generation, _NOT_NEGATIVE)
    if before.get("qosClass"):
        yield from immutable("status.qosClass", status.get("qosClass") or "", before["qosClass"])
    for key in _LISTS:
        yield from _restarts(f"status.{key}", key, status, before, spec)
    yield from _claims("status.resourceClaimStatuses", status.get("resourceClaimStatuses") or (), spec)
    if (extended := status.get("extendedResourceClaimStatus")) is not None:
        yield from _extended_claim("status.extendedResourceClaimStatus", extended, spec)
    yield from _addresses("status.podIPs", status, before)
    yield from _host_addresses(status, before)
    system = (spec.get("os") or {}).get("name") or "linux"
    for key in _LISTS:
        yield from _users(f"status.{key}", status.get(key) or (), system)
    for key in _LISTS:
        yield from _given(f"status.{key}", status.get(key) or (), _LISTS[key], spec)


def keep_generations(status: Object, before: Object) -> None:
    """Generations that were seen once and are not told again stay, in place: of the status and of its conditions."""
    if not status.get("observedGeneration") and before.get("observedGeneration"):
        status["observedGeneration"] = before["observedGeneration"]
    told: dict[str, list[int]] = {}
    for condition in before.get("conditions") or ():
        told.setdefault(condition.get("type") or "", []).append(condition.get("observedGeneration") or 0)
    for condition in status.get("conditions") or ():
        of_type = told.get(condition.get("type") or "")
        generation = of_type.pop(0) if of_type else 0
        if generation and not condition.get("observedGeneration"):
            condition["observedGeneration"] = generation


def _conditions(path: str, found: Sequence[Object]) -> Errors:
    for index, condition in enumerate(found):
        if (generation := condition.get("observedGeneration") or 0) < 0:
            yield invalid(f"{path}[{index}].observedGeneration", generation, _NOT_NEGATIVE)
        if (kind := condition.get("type") or "") not in _OWN_CONDITIONS:
            yield from named(f"{path}[{index}].Type", kind, names.qualified_name)


def _nominated(node: str, before: Object, spec: Object) -> Errors:
    if not node or node == before.get("nominatedNodeName"):
        return
    yield from named("status.nominatedNodeName", node, names.dns1123_subdomain)
    if spec.get("nodeName"):
        detail = "may not be set on pods that are already bound to a node"
        yield field_forbidden("status.nominatedNodeName", detail)


def _restarts(path: str, key: str, status: Object, before: Object, spec: Object) -> Errors:
    """What has ended for good stays so; the places are those of the old status."""
    containers = {found.get("name"): found for found in spec.get(_LISTS[key]) or ()}
    if key != "ephemeralContainerStatuses" and _all_may_restart(spec):
        return
    now = {found.get("name"): found for found in reversed(status.get(key) or ())}
    for index, was in enumerate(before.get(key) or ()):
        name, ended = was.get("name"), (was.get("state") or {}).get("terminated")
        if ended is None or name not in now or (now[name].get("state") or {}).get("terminated") is not None:
            continue
        container = containers.get(name)
        if (
            key == "ephemeralContainerStatuses"
            or container is None
            or not _may_restart(container, spec, ended)
        ):
            yield field_forbidden(f"{path}[{index}].state", "may not be transitioned to non-terminated state")


def _all_may_restart(spec: Object) -> bool:
    """Whether the end of one container may start all of them again."""
    return any(
        rule.get("action") == "RestartAllContainers"
        for key in ("containers", "initContainers")
        for container in spec.get(key) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _may_restart(container: Object, spec: Object, ended: Object) -> bool:
    code = ended.get("exitCode") or 0
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _claims(path: str, found: Sequence[Object], spec: Object) -> Errors:
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for index, claim in enumerate(found):
        where, name = f"{path}[{index}]", claim.get("name") or ""
        if name not in known:
            detail = "must match the name of an entry in `spec.resourceClaims`"
            yield invalid(f"{where}.name", name, detail)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        if (made := claim.get("resourceClaimName")) is not None:
            yield from named(f"{where}.resourceClaimName", made, names.dns1123_subdomain)


def _extended_claim(path: str, found: Object, spec: Object) -> Errors:
    """The claim that stands for extended resources, and which container's request got what of it."""
    containers = {c.get("name"): c for key in ("initContainers", "containers") for c in spec.get(key) or ()}
    mappings, where = found.get("requestMappings") or (), f"{path}.requestMappings"
    if not mappings:
        yield required(where, "at least one request mapping is required")
    seen: set[tuple[str, ...]] = set()
    for index, mapping in enumerate(mappings):
        fields = ("containerName", "resourceName", "requestName")
        values = container, resource, request = [mapping.get(field) or "" for field in fields]
        if container not in containers:
            detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name"
            yield invalid(f"{where}[{index}].containerName", container, detail)
        elif resource not in ((containers[container].get("resources") or {}).get("requests") or {}):
            detail = (
                "must match the extended resource name of an entry in spec.initContainers.resources.requests or "
                "spec.containers.resources.requests"
            )
            yield invalid(f"{where}[{index}].resourceName", resource, detail)
        yield from named(f"{path}.requestName", request, names.dns1123_label)
        if tuple(values) in seen:
            for field, value in zip(fields, values, strict=True):
                yield duplicate(f"{where}[{index}].{field}", value)
        seen.add(tuple(values))
    if name := found.get("resourceClaimName"):
        yield from named(f"{path}.resourceClaimName", name, names.dns1123_subdomain)
    else:
        yield required(f"{path}.resourceClaimName")


def _addresses(path: str, status: Object, before: Object) -> Errors:
    """One address of each family; those that were there already are let be."""
    field = path.rpartition(".")[2]
    texts = [item.get("ip") or "" for item in status.get(field) or ()]
    kept = [item.get("ip") or "" for item in before.get(field) or ()]
    for index, text in enumerate(texts):
        yield from legacy_ip(f"{path}[{index}]", text, kept)
    families = {":" in text for text in texts if names.read_ip(text)[0] is not None}
    if len(texts) > 1 and (len(families) < 2 or len(texts) > 2):
        shown = [{"IP": text} for text in texts]
        yield invalid(path, shown, "may specify no more than one IP for each IP family")


def _host_addresses(status: Object, before: Object) -> Errors:
    found = status.get("hostIPs") or ()
    if not found:
        return
    first = found[0].get("ip") or ""
    if first != (status.get("hostIP") or ""):
        yield invalid("status.hostIPs[0].ip", first, "must be equal to `hostIP`")
    yield from _addresses("status.hostIPs", status, before)


def _users(path: str, found: Sequence[Object], system: str) -> Errors:
    """Who the first process of each container runs as."""
    for index, container in enumerate(found):
        user = (container.get("user") or {}).get("linux")
        where = f"{path}[{index}].user.linux"
        if user is None:
            continue
        if system == "windows":
            yield field_forbidden(where, "cannot be set for a windows pod")
        elif system == "linux":
            yield from within(f"{where}.uid", user.get("uid") or 0, 0, MAX_INT32)
            yield from within(f"{where}.gid", user.get("gid") or 0, 0, MAX_INT32)
            for number, group in enumerate(user.get("supplementalGroups") or ()):
                yield from within(f"{where}.supplementalGroups[{number}]", group, 0, MAX_INT32)


def _given(path: str, found: Sequence[Object], of: str, spec: Object) -> Errors:
    """The health of the devices that containers were given."""
    containers = {c.get("name"): c for c in spec.get(of) or ()}
    for index, status in enumerate(found):
        given, where = (
            status.get("allocatedResourcesStatus") or (),
            f"{path}[{index}].allocatedResourcesStatus",
        )
        if given and of == "ephemeralContainers":
            yield field_forbidden(where, "must not be specified in container status")
            continue
        container = containers.get(status.get("name"))
        for number, resource in enumerate(given):
            name = resource.get("name") or ""
            if container is not None and (wrong := _not_asked_for(name, container)):
                yield invalid(f"{where}[{number}].name", name, wrong)
            yield from _health(f"{where}[{number}].resources", resource.get("resources") or ())


def _not_asked_for(name: str, container: Object) -> str:
    """What is wrong with telling of a resource that a container did not ask for; empty: it did."""
    resources = container.get("resources") or {}
    if not name.startswith(_CLAIM):
        asked = name in (resources.get("requests") or {})
        return "" if asked else "must match one of the container's resource requests"
    for claim in resources.get("claims") or ():
        request = f"/{claim['request']}" if claim.get("request") else ""
        if name == f"{_CLAIM}{claim.get('name') or ''}{request}":
            return ""
    return (
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or "
        "'claim:<claimName>' if request is empty"
    )


def _health(path: str, found: Sequence[Object]) -> Errors:
    seen: set[str] = set()
    for index, resource in enumerate(found):
        where, message = f"{path}[{index}]", resource.get("message")
        if (health := resource.get("health") or "") not in _HEALTH:
            yield not_supported(f"{where}.health", health, sorted(_HEALTH))
        if message == "":
            yield required(f"{where}.message", "must be non-empty if specified")
        elif message is not None and len(message.encode()) > _HEALTH_MESSAGE_LIMIT:
            yield too_long(f"{where}.message", _HEALTH_MESSAGE_LIMIT)
        identity = resource.get("resourceID") or ""
        if identity in seen:
            yield duplicate(f"{where}.resourceID", identity)
        seen.add(identity)
