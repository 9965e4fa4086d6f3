"""Node."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sublet.kinds.builtin import builtin
from sublet.kinds.rules import amounts, gotypes, show, warn
from sublet.kinds.rules.common import (
    Errors,
    fill,
    label_value,
    made,
    mirror,
    named,
    needs,
    rule,
    spec_of,
    update_rule,
)
from sublet.kinds.rules.conditions import untold_times
from sublet.kinds.rules.placement import TAINT_EFFECTS
from sublet.machinery import codec, gotext, names
from sublet.machinery.kind import Object
from sublet.machinery.objects import condition, labels
from sublet.machinery.status import (
    FieldError,
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
)

_AVOIDED = "scheduler.alpha.kubernetes.io/preferAvoidPods"
_ROLE_PREFIX = "node-role.kubernetes.io/"
_is_feature = re.compile("([A-Z][a-zA-Z0-9]*)(/[a-zA-Z0-9]+)*").fullmatch
_NO_FEATURE = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
_ROLE_LABEL = "kubernetes.io/role"


_NODE_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip


def _default(node: Object) -> None:
    fill(node, spec={}, status={})
    status = node["status"]
    made(status, "daemonEndpoints", "kubeletEndpoint").setdefault("Port", 0)
    fill(made(status, "nodeInfo"), **dict.fromkeys(_NODE_INFO, ""))
    untold_times(node, "lastHeartbeatTime", "lastTransitionTime")
    if status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])
    amounts.rounded(status.get("capacity"), status.get("allocatable"))
    mirror(node["spec"], "podCIDR", "podCIDRs")


def _prepare_create(node: Object) -> None:
    # Kubelets are configured this way no more.
    spec_of(node).pop("configSource", None)


def _prepare_update(new: Object, old: Object) -> None:
    if spec_of(old).get("configSource") is None:
        _prepare_create(new)


def _prepare_status(new: Object, old: Object) -> None:
    if (old.get("status") or {}).get("config") is None and isinstance(new.get("status"), dict):
        new["status"].pop("config", None)


def _taints(path: str, found: Sequence[Object]) -> Errors:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(found):
        where, key, effect = f"{path}[{index}]", taint.get("key") or "", taint.get("effect") or ""
        yield from named(f"{where}.key", key, names.qualified_name)
        yield from label_value(f"{where}.value", taint.get("value") or "")
        if not effect:
            yield required(f"{where}.effect")
        elif effect not in TAINT_EFFECTS:
            yield not_supported(f"{where}.effect", effect, TAINT_EFFECTS)
        if (key, effect) in seen:
            error = duplicate(where, gotypes.shown("Taint", taint))
            detail = "taints must be unique by key and effect pair"
            yield FieldError(error.reason, where, f"{error.body}: {detail}")
        seen.add((key, effect))


def _resources(node: Object) -> Errors:
    for kind in ("capacity", "allocatable"):
        for name, value in ((node.get("status") or {}).get(kind) or {}).items():
            yield from amounts.amount(f"status.{kind}.{name}", name, value)


def _annotations(node: Object) -> Errors:
    """Whose pods a node would rather not have; nobody reads it any more, but it is still judged."""
    text = ((node.get("metadata") or {}).get("annotations") or {}).get(_AVOIDED)
    if not text:
        return
    try:
        found = codec.decode_json(text.encode())
    except codec.DecodeError as error:
        detail = gotext.json_error(text.encode()) or str(error)
        yield invalid("metadata.annotations.AvoidPods", _AVOIDED, detail)
        return
    entries = (found.get("preferAvoidPods") if isinstance(found, dict) else None) or ()
    for index, entry in enumerate(entries):
        where = f"metadata.annotations.{_AVOIDED}[{index}].PodSignature"
        controller = ((entry or {}).get("podSignature") or {}).get("podController")
        if controller is None:
            yield required(where)
        elif not controller.get("controller"):
            yield invalid(f"{where}.PodController.Controller", False, "must point to a controller")


def _validate(node: Object) -> Errors:
    spec = spec_of(node)
    yield from _annotations(node)
    # Kubernetes says of taints that they are in the metadata.
    yield from _taints("metadata.taints", spec.get("taints") or ())
    yield from _resources(node)
    yield from _status(node)
    cidrs = spec.get("podCIDRs") or []
    for index, cidr in enumerate(cidrs):
        yield from named(f"spec.podCIDRs[{index}]", cidr, names.cidr)
    if len(cidrs) > 2 or (len(cidrs) == 2 and len({":" in cidr for cidr in cidrs}) == 1):
        yield invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family")


def _status(node: Object) -> Errors:
    swap = ((node.get("status") or {}).get("nodeInfo") or {}).get("swap") or {}
    if (capacity := swap.get("capacity")) is not None and capacity <= 0:
        # The path is Kubernetes' own.
        yield invalid("metadata.nodeSwapStatus.capacity", capacity, "must be greater than zero")
    yield from _features(node)


def _features(node: Object) -> Errors:
    """What a node says that it can do: sorted, each thing once."""
    found = (node.get("status") or {}).get("declaredFeatures") or ()
    for index, feature in enumerate(found):
        where, before = f"status.declaredFeatures[{index}]", found[index - 1] if index else ""
        if index and feature == before:
            yield duplicate(where, feature)
        elif index and feature < before:
            yield invalid(where, feature, "list must be sorted alphabetically")
        if len(feature) > names.SUBDOMAIN_LIMIT:
            limit = names.SUBDOMAIN_LIMIT
            detail = f'invalid feature name "{feature}": must be no more than {limit} characters'
            yield invalid(where, feature, detail)
        elif not _is_feature(feature):
            yield invalid(where, feature, f'invalid feature name "{feature}": {_NO_FEATURE}')


def _validate_update(new: Object, old: Object) -> Errors:
    yield from _annotations(new)
    yield from _resources(new)
    yield from _features(new)
    seen: list[Object] = []
    for index, address in enumerate((new.get("status") or {}).get("addresses") or ()):
        if address in seen:
            shown = {"Type": address.get("type") or "", "Address": address.get("address") or ""}
            yield duplicate(f"status.addresses[{index}]", shown)
        seen.append(address)
    spec, before = spec_of(new), spec_of(old)
    yield from _fixed_cidrs(spec.get("podCIDRs") or [], before.get("podCIDRs") or [])
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        detail = 'node updates may not change providerID except from "" to valid'
        yield field_forbidden("spec.providerID", detail)
    if (source := spec.get("configSource")) is not None:
        yield from _config_source("spec.configSource", source, of_status=False)
    for use in ("assigned", "active", "lastKnownGood"):
        if (source := ((new.get("status") or {}).get("config") or {}).get(use)) is not None:
            yield from _config_source(f"status.config.{use}", source, of_status=True)
    yield from _taints("metadata.taints", spec.get("taints") or ())
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        yield field_forbidden("spec.externalID", "may not be updated")


def _config_source(path: str, source: Object, *, of_status: bool) -> Errors:
    """Where a kubelet's configuration once came from; nobody reads it, but it is still judged."""
    found, where = source.get("configMap"), f"{path}.configMap"
    if found is None:
        shown = {"ConfigMap": None}
        yield invalid(path, shown, "exactly one reference subfield must be non-nil")
        return
    for field in ("uid", "resourceVersion"):
        if of_status and not found.get(field):
            yield required(f"{where}.{field}")
        elif not of_status and found.get(field):
            yield field_forbidden(f"{where}.{field}", f"{field} must not be set in spec")
    yield from needs(f"{where}.namespace", found.get("namespace"), names.dns1123_label)
    yield from needs(f"{where}.name", found.get("name"), names.dns1123_subdomain)
    yield from needs(f"{where}.kubeletConfigKey", found.get("kubeletConfigKey"), names.config_key)


def _fixed_cidrs(now: Sequence[str], then: Sequence[str]) -> Errors:
    if not then:
        return
    refused = field_forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if len(now) != len(then):
        yield refused
    else:
        for mine, theirs in zip(now, then, strict=True):
            if mine != theirs:
                yield refused


def _status_text(node: Object) -> str:
    ready = condition(node, "Ready")
    parts = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if spec_of(node).get("unschedulable"):
        parts.append("SchedulingDisabled")
    return ",".join(parts)


def _roles(node: Object) -> str:
    found = set()
    for key, value in labels(node).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            found.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            found.add(value)
    return ",".join(sorted(found)) or show.NONE


def _address(node: Object, kind: str) -> str:
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == kind:
            return str(address.get("address"))
    return show.NONE


def _cells(node: Object, now: float) -> list[Any]:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return [
        show.name(node),
        _status_text(node),
        _roles(node),
        show.age(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or show.UNKNOWN,
        info.get("kernelVersion") or show.UNKNOWN,
        info.get("containerRuntimeVersion") or show.UNKNOWN,
    ]


KIND = builtin(
    "nodes",
    keeps_status=True,
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    prepare_status=_prepare_status,
    validate=rule(_validate),
    validate_update=update_rule(_validate_update),
    validate_status=update_rule(_validate_update),
    warnings=warn.node,
    cells=_cells,
    selectable={"spec.unschedulable": lambda node: "true" if spec_of(node).get("unschedulable") else "false"},
)
