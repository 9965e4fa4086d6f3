"""Rules of a pod's spec, in pods and in templates; what may change in a pod that exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sublet.kinds.rules import amounts, containers, placement, security, volumes
from sublet.kinds.rules.common import (
    MAX_INT32,
    NOT_NEGATIVE,
    Errors,
    annotation_map,
    labels,
    named,
    needs,
    one_of,
    within,
)
from sublet.machinery import names
from sublet.machinery.codec import decode_json, encode_json
from sublet.machinery.kind import Object
from sublet.machinery.status import FieldError, duplicate, field_forbidden, invalid, required

DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_MAX_NAMESERVERS, _MAX_SEARCHES, _MAX_SEARCH_CHARS = 3, 32, 2048
_NAMES = {
    "hostname": names.dns1123_label,
    "subdomain": names.dns1123_label,
    "nodeName": names.dns1123_subdomain,
    "serviceAccountName": names.dns1123_subdomain,
    "priorityClassName": names.dns1123_subdomain,
    "runtimeClassName": names.dns1123_subdomain,
}
_WINDOWS_FORBIDDEN = ("hostPID", "hostIPC", "shareProcessNamespace")


def pod_spec(path: str, spec: Object) -> Errors:
    """Every rule of a defaulted pod spec."""
    found = spec.get("volumes") or ()
    known = {volume.get("name") or "": volume for volume in found}
    yield from volumes.volumes(f"{path}.volumes", found)
    yield from containers.containers(f"{path}.containers", spec, known)
    yield from containers.init_containers(f"{path}.initContainers", spec, known)
    yield from containers.ephemeral_containers(f"{path}.ephemeralContainers", spec, known)
    yield from one_of(
        f"{path}.restartPolicy", spec.get("restartPolicy"), containers.RESTART_POLICIES, needed=True
    )
    yield from security.pod(f"{path}.securityContext", spec.get("securityContext"), spec)
    for key, check in _NAMES.items():
        if value := spec.get(key):
            yield from named(f"{path}.{key}", value, check)
    yield from _dns(path, spec)
    yield from _placement(path, spec)
    yield from _durations(path, spec)
    yield from _extras(path, spec)


def _durations(path: str, spec: Object) -> Errors:
    deadline = spec.get("activeDeadlineSeconds")
    yield from within(f"{path}.activeDeadlineSeconds", deadline, 1, MAX_INT32)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield invalid(f"{path}.terminationGracePeriodSeconds", grace, NOT_NEGATIVE)


def _placement(path: str, spec: Object) -> Errors:
    yield from placement.node_labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    yield from placement.affinity(f"{path}.affinity", spec.get("affinity"))
    yield from placement.tolerations(f"{path}.tolerations", spec.get("tolerations") or ())
    yield from placement.topology_spread(
        f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints") or ()
    )
    gates = spec.get("schedulingGates") or ()
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name") or ""
        yield from named(f"{path}.schedulingGates[{index}]", name, names.qualified_name)
        if name in seen:
            yield duplicate(f"{path}.schedulingGates[{index}]", name)
        seen.add(name)
    if gates and spec.get("nodeName"):
        yield field_forbidden(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared")


def _extras(path: str, spec: Object) -> Errors:
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        yield from named(f"{path}.hostAliases[{index}].ip", alias.get("ip") or "", names.ip_address)
        for hostname in alias.get("hostnames") or ():
            yield from named(f"{path}.hostAliases[{index}].hostnames", hostname, names.dns1123_subdomain)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        yield from named(where, gate.get("conditionType") or "", names.qualified_name)
    yield from one_of(
        f"{path}.preemptionPolicy", spec.get("preemptionPolicy"), ("Never", "PreemptLowerPriority")
    )
    for name, amount in (spec.get("overhead") or {}).items():
        yield from amounts.container_resource_name(f"{path}.overhead[{name}]", name)
        yield from amounts.amount(f"{path}.overhead[{name}]", name, amount)
    yield from amounts.requirements(f"{path}.resources", spec.get("resources"))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        yield invalid(
            f"{path}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"
        )
    yield from _system(path, spec)
    yield from _resource_claims(f"{path}.resourceClaims", spec.get("resourceClaims") or ())


def _system(path: str, spec: Object) -> Errors:
    system = spec.get("os")
    if system is None:
        return
    yield from one_of(f"{path}.os.name", system.get("name"), ("linux", "windows"), needed=True)
    if system.get("name") == "windows":
        for key in _WINDOWS_FORBIDDEN:
            if spec.get(key):
                yield field_forbidden(f"{path}.{key}", "cannot be set for a windows pod")
    elif (spec.get("securityContext") or {}).get("windowsOptions"):
        yield field_forbidden(
            f"{path}.securityContext.windowsOptions", "windows options cannot be set for a linux pod"
        )


def _resource_claims(path: str, found: Sequence[Object]) -> Errors:
    seen: set[str] = set()
    for index, claim in enumerate(found):
        where, name = f"{path}[{index}]", claim.get("name") or ""
        yield from needs(f"{where}.name", name, names.dns1123_label)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        sources = [key for key in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(key)]
        if len(sources) != 1:
            few = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            many = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield invalid(where, claim, many if sources else few)


def _dns(path: str, spec: Object) -> Errors:
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig") or {}
    yield from one_of(f"{path}.dnsPolicy", policy, DNS_POLICIES, needed=True)
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    where = f"{path}.dnsConfig"
    if policy == "None":
        if not spec.get("dnsConfig"):
            yield required(where, "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not servers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{where}.nameservers", detail)
    if len(servers) > _MAX_NAMESERVERS:
        detail = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        yield invalid(f"{where}.nameservers", servers, detail)
    for index, server in enumerate(servers):
        yield from named(f"{where}.nameservers[{index}]", server, names.ip_address)
    if len(searches) > _MAX_SEARCHES:
        detail = f"must not have more than {_MAX_SEARCHES} search paths"
        yield invalid(f"{where}.searches", searches, detail)
    if len(" ".join(searches)) > _MAX_SEARCH_CHARS:
        detail = (
            f"must not have more than {_MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        )
        yield invalid(f"{where}.searches", searches, detail)
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".").replace("_", "-") if search else search
            yield from named(f"{where}.searches[{index}]", bare or search, names.dns1123_subdomain)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{where}.options[{index}]", "must not be empty")


def template(path: str, found: Object | None) -> Errors:
    """A pod template: its labels, annotations and spec."""
    metadata = (found or {}).get("metadata") or {}
    yield from labels(f"{path}.labels", metadata.get("labels"))
    yield from annotation_map(f"{path}.annotations", metadata.get("annotations"))
    spec = (found or {}).get("spec") or {}
    yield from pod_spec(f"{path}.spec", spec)
    if spec.get("ephemeralContainers"):
        yield field_forbidden(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
        )


_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def update(new: Object, old: Object) -> Errors:
    """What a client may change in the spec of a pod that exists (reference E.3)."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return
    for key in ("containers", "initContainers"):
        now, then = spec.get(key) or (), before.get(key) or ()
        if len(now) != len(then):
            yield field_forbidden(f"spec.{key}", "pod updates may not add or remove containers")
            return
    yield from _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    yield from _tolerations(spec.get("tolerations") or (), before.get("tolerations") or ())
    comparable = _with_allowed_changes(spec, before)
    yield from _gated(spec, before, comparable)
    if comparable != before:
        changed = sorted(key for key in {*comparable, *before} if comparable.get(key) != before.get(key))
        yield FieldError(
            "FieldValueForbidden",
            "spec",
            f"Forbidden: {_MAY_CHANGE}\n{_difference(comparable, before, changed)}",
        )


def _with_allowed_changes(spec: Object, before: Object) -> Object:
    """The new spec with everything that may change put back."""
    result: Object = decode_json(encode_json(spec))
    for key in ("containers", "initContainers"):
        for container, then in zip(result.get(key) or (), before.get(key) or (), strict=False):
            if then.get("image") and container.get("image"):
                container["image"] = then["image"]
    for key in ("activeDeadlineSeconds", "tolerations"):
        _put_back(result, before, key)
    old_grace = before.get("terminationGracePeriodSeconds")
    if old_grace is not None and old_grace < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        result["terminationGracePeriodSeconds"] = old_grace
    return result


def _put_back(spec: Object, before: Object, key: str) -> None:
    if key in before:
        spec[key] = before[key]
    else:
        spec.pop(key, None)


def _deadline(new: int | None, old: int | None) -> Errors:
    if new is not None:
        if old is not None and new > old:
            yield invalid("spec.activeDeadlineSeconds", new, "must be less than or equal to previous value")
    elif old is not None:
        yield invalid(
            "spec.activeDeadlineSeconds", new, "must not update from a positive integer to nil value"
        )


def _without_seconds(toleration: Object) -> Object:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _tolerations(new: Sequence[Object], old: Sequence[Object]) -> Errors:
    kept = [_without_seconds(toleration) for toleration in new]
    for toleration in old:
        if toleration not in new and _without_seconds(toleration) not in kept:
            detail = "existing toleration can not be modified except its tolerationSeconds"
            yield field_forbidden("spec.tolerations", detail)
            return


def _gated(spec: Object, before: Object, comparable: Object) -> Errors:
    """Gates may only be taken away; while there were some, the pod may be told more closely where to go."""
    names_before = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in names_before:
            yield field_forbidden(
                f"spec.schedulingGates[{index}]",
                f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
            )
    _put_back(comparable, before, "schedulingGates")
    if not names_before:
        return
    selector = spec.get("nodeSelector") or {}
    if all(selector.get(key) == value for key, value in (before.get("nodeSelector") or {}).items()):
        _put_back(comparable, before, "nodeSelector")
    else:
        yield invalid("spec.nodeSelector", selector, "only additions are allowed (no mutations or deletions)")
    if _tightened(spec.get("affinity") or {}, before.get("affinity") or {}):
        _put_back(comparable, before, "affinity")


def _tightened(new: Object, old: Object) -> bool:
    """Whether the new affinity differs only in asking for more of the node."""
    required_rule = "requiredDuringSchedulingIgnoredDuringExecution"

    def terms(affinity: Object) -> list[Object]:
        rule = (affinity.get("nodeAffinity") or {}).get(required_rule) or {}
        return rule.get("nodeSelectorTerms") or []

    def rest(affinity: Object) -> Any:
        return {key: value for key, value in affinity.items() if key != "nodeAffinity"}

    if rest(new) != rest(old):
        return False
    if not terms(old):
        return True
    if len(terms(new)) != len(terms(old)):
        return False
    return all(
        now.get(part, [])[: len(then.get(part) or ())] == (then.get(part) or [])
        for now, then in zip(terms(new), terms(old), strict=True)
        for part in ("matchExpressions", "matchFields")
    )


def _difference(new: Object, old: Object, changed: Sequence[str]) -> str:
    """The changed fields, old and new, one a line."""
    lines = []
    for key in changed:
        lines.append(f"- {key}: {encode_json(old.get(key)).decode()}")
        lines.append(f"+ {key}: {encode_json(new.get(key)).decode()}")
    return "\n".join(lines)
