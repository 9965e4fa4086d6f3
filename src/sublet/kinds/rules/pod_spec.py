"""Rules of a pod's spec, in pods and in templates. What may change in a pod that exists: ``pod_updates``."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.rules import (
    amounts,
    containers,
    environment,
    gotypes,
    placement,
    pod_before,
    security,
    volumes,
)
from sublet.kinds.rules.common import (
    MAX_INT32,
    Errors,
    annotation_map,
    labels,
    named,
    within,
)
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.kinds.rules.pod_annotations import MIRROR, matching, meaningful
from sublet.machinery import names, quantity, usage
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)

DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MAX_NAMESERVERS, _MAX_SEARCHES, _MAX_SEARCH_CHARS = 3, 32, 2048
_MAX_HOSTNAME = 64


def pod_spec(path: str, spec: Object, metadata: Object | None = None, allowed: Allowances = NEW) -> Errors:
    """Every rule of a defaulted pod spec; ``metadata`` is the pod's own, None in a template."""
    usable, errors = volumes.checked(f"{path}.volumes", spec.get("volumes") or (), metadata, allowed)
    claims = [claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")]
    pod = containers.Context(spec, usable, claims, metadata is not None, allowed)
    if spec.get("terminationGracePeriodSeconds") is None:
        yield required(f"{path}.terminationGracePeriodSeconds")
    yield from errors
    yield from _resource_claims(f"{path}.resourceClaims", spec.get("resourceClaims") or (), metadata)
    yield from containers.containers(f"{path}.containers", pod)
    yield from containers.init_containers(f"{path}.initContainers", pod)
    yield from containers.ephemeral_containers(f"{path}.ephemeralContainers", pod)
    yield from _resources(f"{path}.resources", spec, allowed)
    yield from containers.host_network(f"{path}.containers", pod)
    yield from _choice(f"{path}.restartPolicy", spec.get("restartPolicy"), containers.RESTART_POLICIES)
    yield from _choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES)
    yield from labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    yield from security.pod(f"{path}.securityContext", spec.get("securityContext"), spec, allowed)
    yield from placement.affinity(f"{path}.affinity", spec.get("affinity"), allowed)
    yield from _dns(f"{path}.dnsConfig", spec)
    yield from _gates(path, spec)
    yield from placement.topology_spread(
        f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints") or (), allowed
    )
    yield from security.host_process(path, spec)
    yield from security.host_users(path, spec, allowed)
    yield from _hostname_override(path, spec)
    yield from _names(path, spec, allowed)
    yield from security.operating_system(path, spec)
    yield from environment.files(path, spec)


def _choice(path: str, value: str | None, supported: Sequence[str]) -> Errors:
    if not value:
        yield required(path)
    elif value not in supported:
        yield not_supported(path, value, supported)


def _gates(path: str, spec: Object) -> Errors:
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        yield from named(where, gate.get("conditionType") or "", names.qualified_name)
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        where, name = f"{path}.schedulingGates[{index}]", gate.get("name") or ""
        yield from named(where, name, names.qualified_name)
        if name in seen:
            yield duplicate(where, name)
        seen.add(name)


def _names(path: str, spec: Object, allowed: Allowances) -> Errors:
    for key in ("serviceAccountName", "nodeName"):
        if value := spec.get(key):
            yield from named(f"{path}.{key}", value, names.dns1123_subdomain)
    yield from within(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1, MAX_INT32)
    for key in ("hostname", "subdomain"):
        if value := spec.get(key):
            yield from named(f"{path}.{key}", value, names.dns1123_label)
    yield from placement.tolerations(f"{path}.tolerations", spec.get("tolerations") or (), allowed)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        yield from named(f"{where}.ip", alias.get("ip") or "", names.ip_address)
        for number, hostname in enumerate(alias.get("hostnames") or ()):
            yield from named(f"{where}.hostnames[{number}]", hostname, names.dns1123_subdomain)
    if value := spec.get("priorityClassName"):
        yield from named(f"{path}.priorityClassName", value, names.dns1123_subdomain)
    if (value := spec.get("runtimeClassName")) is not None:
        yield from named(f"{path}.runtimeClassName", value, names.dns1123_subdomain)
    if (value := spec.get("preemptionPolicy")) is not None:
        yield from _choice(f"{path}.preemptionPolicy", value, ("PreemptLowerPriority", "Never"))
    if overhead := spec.get("overhead"):
        yield from amounts.requirements(
            f"{path}.overhead", {"limits": overhead}, even_pages=not allowed.uneven_pages
        )


def _hostname_override(path: str, spec: Object) -> Errors:
    name = spec.get("hostnameOverride")
    if name is None:
        return
    where = f"{path}.hostnameOverride"
    for other in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(other):
            yield field_forbidden(where, f"may not be specified when {other} is true")
    if len(name) > _MAX_HOSTNAME:
        yield too_long(where, _MAX_HOSTNAME)
    yield from named(where, name, names.dns1123_subdomain)


def _resource_claims(path: str, found: Sequence[Object], metadata: Object | None) -> Errors:
    seen: set[str] = set()
    for index, claim in enumerate(found):
        if MIRROR in ((metadata or {}).get("annotations") or {}):
            yield field_forbidden("", "static pods do not support resource claims")
            continue
        where, name = f"{path}[{index}]", claim.get("name") or ""
        if not name:
            yield required(f"{where}.name")
        elif name in seen:
            yield duplicate(f"{where}.name", name)
        else:
            yield from named(f"{where}.name", name, names.dns1123_label)
            seen.add(name)
        sources = ("resourceClaimName", "resourceClaimTemplateName")
        chosen = [key for key in sources if claim.get(key) is not None]
        shown = gotypes.shown("ClaimSource", claim)
        if len(chosen) > 1:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield invalid(where, shown, detail)
        elif not chosen:
            yield invalid(
                where, shown, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            )
        for key in chosen:
            yield from named(f"{where}.{key}", claim[key], names.dns1123_subdomain)


def _resources(path: str, spec: Object, allowed: Allowances) -> Errors:
    """What the pod asks for as a whole, which its containers share."""
    resources = spec.get("resources")
    if resources is None:
        return
    if (spec.get("os") or {}).get("name") == "windows":
        yield field_forbidden(path, "may not be set for a windows pod")
        return
    if resources.get("claims") is not None:
        yield field_forbidden(f"{path}.claims", "claims may not be set for Resources at pod-level")
    known = [claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")]
    yield from amounts.requirements(
        path, resources, known, amounts.pod_resource_name, even_pages=not allowed.uneven_pages
    )
    yield from _summed(path, spec, resources.get("requests") or {}, resources.get("limits") or {})


def _summed(path: str, spec: Object, requests: Object, limits: Object) -> Errors:
    """The whole has room for its containers, as far as it is stated."""
    bare = {"spec": {**spec, "resources": None, "overhead": None}}
    for name, total in usage.pod_requests(bare).items():
        if name in requests and total > quantity.parse(requests[name]):
            detail = f"must be greater than or equal to aggregate container requests of {total.canonical()}"
            yield invalid(f"{path}.requests[{name}]", requests[name], detail)
    for name, total in usage.pod_limits(bare).items():
        if amounts.is_hugepages(name) and name in limits and total > quantity.parse(limits[name]):
            detail = f"must be greater than or equal to aggregate container limits of {total.canonical()}"
            yield invalid(f"{path}.limits[{name}]", limits[name], detail)
    for index, container in enumerate(spec.get("containers") or ()):
        for name, limit in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and quantity.parse(limit) > quantity.parse(limits[name]):
                where = f"{path}.containers[{index}][{name}].limits"
                yield invalid(where, limit, f"must be less than or equal to pod limits of {limits[name]}")


def _dns(path: str, spec: Object) -> Errors:
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig")
    if policy == "None":
        if config is None:
            yield required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{path}.nameservers", detail)
            return
    config = config or {}
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if len(servers) > _MAX_NAMESERVERS:
        yield invalid(
            f"{path}.nameservers", servers, f"must not have more than {_MAX_NAMESERVERS} nameservers"
        )
    for index, server in enumerate(servers):
        yield from named(f"{path}.nameservers[{index}]", server, names.ip_address)
    if len(searches) > _MAX_SEARCHES:
        yield invalid(f"{path}.searches", searches, f"must not have more than {_MAX_SEARCHES} search paths")
    if len(" ".join(searches)) > _MAX_SEARCH_CHARS:
        detail = (
            f"must not have more than {_MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        )
        yield invalid(f"{path}.searches", searches, detail)
    for index, search in enumerate(searches):
        if search != ".":
            yield from named(
                f"{path}.searches[{index}]",
                search.removesuffix("."),
                names.dns1123_subdomain_with_underscores,
            )
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{path}.options[{index}]", "must not be empty")


def whole_pod(pod: Object, old: Object | None = None) -> Errors:
    """What holds for pods, new or changed; ``old``: as it was."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    allowed = pod_before.allowances(old)
    yield from meaningful("metadata.annotations", metadata.get("annotations") or {}, spec, allowed)
    yield from pod_spec("spec", spec, metadata, allowed)
    if not spec.get("serviceAccountName"):
        for index, volume in enumerate(spec.get("volumes") or ()):
            for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    where = f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                    yield field_forbidden(where, "must not be specified when serviceAccountName is not set")
    for key in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield from containers.image_blanks(f"spec.{key}[{index}]", container)


def template_metadata(path: str, found: Object, allowed: Allowances = NEW) -> Errors:
    metadata, spec = found.get("metadata") or {}, found.get("spec") or {}
    yield from labels(f"{path}.labels", metadata.get("labels"))
    yield from annotation_map(f"{path}.annotations", metadata.get("annotations"))
    yield from meaningful(f"{path}.annotations", metadata.get("annotations") or {}, spec, allowed)


def template(path: str, found: Object | None, old: Object | None = None) -> Errors:
    """A pod template: its labels, annotations and spec; ``old``: the template that it takes the place of."""
    found = found or {}
    metadata, spec = found.get("metadata") or {}, found.get("spec") or {}
    allowed = pod_before.allowances(old)
    yield from template_metadata(path, found, allowed)
    yield from pod_spec(f"{path}.spec", spec, allowed=allowed)
    yield from matching(metadata.get("annotations") or {}, f"{path}.spec", spec)
    if spec.get("ephemeralContainers"):
        yield field_forbidden(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
        )
