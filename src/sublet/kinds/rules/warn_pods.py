"""Warnings about pods and pod templates: what works no more, is doubled or does not do what it seems to.

Source: Kubernetes' pkg/api/pod/warnings.go and pkg/api/node/util.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sublet.kinds.rules.pod_annotations import named_profile
from sublet.kinds.rules.warn_addresses import Warnings, address
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import quoted

DEPRECATED_LABELS: Mapping[str, str] = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
"""Node labels that selectors should name no more."""
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
DEPRECATED_VOLUMES: Mapping[str, str] = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN_VOLUMES = {"storageos": "storageOS"}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_USE_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_USE_APPARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_BYTES = ("memory", "ephemeral-storage")
_NO_SELECTOR = "a null labelSelector results in matching no pod"

_Path = tuple[str, str]
"""Where a file of a volume stands, and what it comes from as warnings say it (`` (Secret "a")``)."""


def pod(obj: Object, path: str = "") -> Warnings:
    """Of a pod, or of a template that stands at ``path`` (``spec.template.``)."""
    spec: Object = obj.get("spec") or {}
    annotations: Mapping[str, Any] = (obj.get("metadata") or {}).get("annotations") or {}
    at = f"{path}spec"
    yield from _placement(spec, at)
    for key, why in _ANNOTATIONS.items():
        if key in annotations:
            yield f"{path}metadata.annotations[{key}]: {why}"
    if spec.get("volumes"):
        yield from _volumes(spec["volumes"], at)
    yield from _repeated(spec.get("hostAliases") or (), f"{at}.hostAliases", "ip")
    pull = spec.get("imagePullSecrets") or ()
    yield from _repeated(pull, f"{at}.imagePullSecrets", "name")
    for index, secret in enumerate(pull):
        if not secret.get("name"):
            yield f'{at}.imagePullSecrets[{index}].name: invalid empty name ""'
    for name in _BYTES:
        yield from _fractional(spec.get("overhead"), name, f"{at}.overhead")
    if annotations:
        yield from _profiles(spec, annotations, path)
    for container, where in _containers(spec, at):
        yield from _container(container, where)
    yield from _ports(spec, at)
    yield from _port_names(spec, at)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
    if spec.get("affinity"):
        yield from _pod_affinity(spec["affinity"], f"{at}.affinity")
    for index, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from address(server, f"{at}.dnsConfig.nameservers[{index}]")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        yield from address(alias.get("ip") or "", f"{at}.hostAliases[{index}].ip")


def confinement(pod: Object) -> Warnings:
    """Of AppArmor annotations of a new pod that its containers' fields are about to be filled from, or cannot be."""
    spec: Object = pod.get("spec") or {}
    annotations: Mapping[str, Any] = (pod.get("metadata") or {}).get("annotations") or {}
    if not annotations or (spec.get("os") or {}).get("name") == "windows":
        return
    outer = (spec.get("securityContext") or {}).get("appArmorProfile")
    for container, _ in _containers(spec, ""):
        note = f"{_APPARMOR}{container.get('name')}"
        stated = (container.get("securityContext") or {}).get("appArmorProfile")
        if stated is None and note in annotations:
            profile = named_profile(annotations[note])
            if profile is None or profile != outer:
                yield f"metadata.annotations[{note}]: {_USE_APPARMOR}"


def hostname(name: str, uses: str) -> Warnings:
    """Of a name that pods get in theirs; ``uses`` says what for."""
    if wrong := names.dns1123_label(name):
        told = " ".join(wrong)
        yield (
            f"metadata.name: this is used in {uses}, which can result in surprising behavior; "
            f"a DNS label is recommended: [{told}]"
        )


def term(term: Object, path: str, values: bool = False) -> Warnings:
    """Of a node selector term; ``values``: they are not validated elsewhere."""
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where, key = f"{path}.matchExpressions[{index}]", expression.get("key")
        if key in DEPRECATED_LABELS:
            yield f"{where}.key: {key} is {DEPRECATED_LABELS[key]}"
        for number, value in enumerate(expression.get("values") or () if values else ()):
            for wrong in names.label_value(value):
                yield f"{where}.values[{number}]: {value} is invalid, {wrong}"


def _fractional(amounts: Mapping[str, str] | None, name: str, path: str) -> Warnings:
    """Of an amount of bytes that is no whole number: canonical quantities then end in a small unit."""
    amount = str((amounts or {}).get(name) or "")
    if amount[-1:] in ("m", "u", "n"):
        yield f"{path}[{name}]: fractional byte value {quoted(amount)} is invalid, must be an integer"


def _placement(spec: Object, at: str) -> Warnings:
    for key in spec.get("nodeSelector") or ():
        if key in DEPRECATED_LABELS:
            yield f"{at}.nodeSelector[{key}]: {DEPRECATED_LABELS[key]}"
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required, preferred = (
        f"{kind}DuringSchedulingIgnoredDuringExecution" for kind in ("required", "preferred")
    )
    where = f"{at}.affinity.nodeAffinity"
    for index, each in enumerate((node.get(required) or {}).get("nodeSelectorTerms") or ()):
        yield from term(each, f"{where}.{required}.nodeSelectorTerms[{index}]")
    for index, each in enumerate(node.get(preferred) or ()):
        yield from term(each.get("preference") or {}, f"{where}.{preferred}[{index}].preference", True)
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        where, key = f"{at}.topologySpreadConstraints[{index}]", spread.get("topologyKey")
        if key in DEPRECATED_LABELS:
            yield f"{where}.topologyKey: {key} is {DEPRECATED_LABELS[key]}"
        if spread.get("labelSelector") is None:
            yield f"{where}.labelSelector: {_NO_SELECTOR}"


def _pod_affinity(affinity: Object, at: str) -> Warnings:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        for index, each in enumerate(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            if each.get("labelSelector") is None:
                where = f"{at}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
                yield f"{where}.labelSelector: {_NO_SELECTOR}"
        for index, each in enumerate(rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            if (each.get("podAffinityTerm") or {}).get("labelSelector") is None:
                where = f"{at}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
                yield f"{where}.podAffinityTerm.labelSelector: {_NO_SELECTOR}"


def _repeated(items: Sequence[Object], path: str, key: str) -> Warnings:
    seen: set[Any] = set()
    for index, item in enumerate(items):
        value = item.get(key) or ""
        if value in seen:
            yield f"{path}[{index}].{key}: duplicate {key} {quoted(value)}"
        seen.add(value)


# -- volumes --


def _volumes(volumes: Sequence[Object], at: str) -> Warnings:
    for index, volume in enumerate(volumes):
        for kind in volume:
            if kind in DEPRECATED_VOLUMES:
                shown = _SHOWN_VOLUMES.get(kind, kind)
                yield f"{at}.volumes[{index}].{shown}: {DEPRECATED_VOLUMES[kind]}"
        claim = ((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec") or {}
        where = f"{at}.volumes[{index}].ephemeral.volumeClaimTemplate.spec"
        yield from claim_spec(claim, where)
    for volume in volumes:
        yield from _overlaps(volume)


def claim_spec(spec: Object, path: str) -> Warnings:
    """Of a PersistentVolumeClaim's spec."""
    for part in ("requests", "limits"):
        yield from _fractional((spec.get("resources") or {}).get(part), "storage", f"{path}.resources.{part}")


def _overlaps(volume: Object) -> Warnings:
    name = quoted(volume.get("name", ""))
    for kind, title, key in (
        ("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")
    ):  # fmt: skip
        source = volume.get(kind) or {}
        what = f"{title} {quoted(source.get(key) or '')}" if key else title
        yield from _overlapping(_paths(source, ""), f"volume {name} ({what}): overlapping paths", [])
    seen: list[_Path] = []
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source:
            yield from _overlapping(_projected(source), f"volume {name} (Projected): overlapping paths", seen)
        else:
            yield f"volume {name} (Projected) has no sources provided"


def _projected(source: Object) -> list[_Path]:
    for kind, title in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if kind in source:
            return _paths(source[kind], f" ({title} {quoted(source[kind].get('name') or '')})")
    if "downwardAPI" in source:
        return _paths(source["downwardAPI"], " (DownwardAPI)")
    if "serviceAccountToken" in source:
        return [(source["serviceAccountToken"].get("path") or "", " (ServiceAccountToken)")]
    bundle = source.get("clusterTrustBundle") or {}
    title = bundle.get("name") or bundle.get("signerName") or ""
    return [(bundle.get("path") or "", f" (ClusterTrustBundle {quoted(title)})")]


def _paths(source: Object, origin: str) -> list[_Path]:
    return [(item.get("path") or "", origin) for item in source.get("items") or ()]


def _overlapping(paths: Sequence[_Path], text: str, seen: list[_Path]) -> Warnings:
    """Of every pair of which one is the other or holds it; ``seen``: earlier ones, to which these are added."""
    for each, origin in paths:
        path = each.rstrip("/")
        for other, whence in seen:
            holds = f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")
            if path and other and holds:
                yield f"{text}: {quoted(path)}{origin} with {quoted(other)}{whence}"
        seen.append((path, origin))


# -- containers --


def _containers(spec: Object, at: str) -> Iterator[tuple[Object, str]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield container, f"{at}.{kind}[{index}]"


def _container(container: Object, where: str) -> Warnings:
    resources = container.get("resources")
    if resources:
        for name in _BYTES:
            for part in ("limits", "requests"):
                yield from _fractional(resources.get(part), name, f"{where}.resources.{part}")
    environment = container.get("env") or ()
    seen: set[str] = set()
    for index, variable in enumerate(environment if len(environment) > 1 else ()):
        name, value = variable.get("name") or "", variable.get("value") or ""
        reference = f"$({name})"
        if name in seen and (variable.get("valueFrom") or value == reference or reference not in value):
            yield f"{where}.env[{index}]: hides previous definition of {quoted(name)}, which may be dropped when using apply"
        seen.add(name)


def _profiles(spec: Object, annotations: Mapping[str, Any], path: str) -> Warnings:
    """Annotations that fields of the security context have taken the place of."""
    context = spec.get("securityContext") or {}
    if not context.get("seccompProfile") and _SECCOMP_POD in annotations:
        yield f"{path}metadata.annotations[{_SECCOMP_POD}]: {_USE_SECCOMP}"
    for container, _ in _containers(spec, ""):
        own, name = container.get("securityContext") or {}, container.get("name")
        if not own.get("seccompProfile") and f"{_SECCOMP}{name}" in annotations:
            yield f"{path}metadata.annotations[{_SECCOMP}{name}]: {_USE_SECCOMP}"
        confined = context.get("appArmorProfile") or own.get("appArmorProfile")
        if path and not confined and f"{_APPARMOR}{name}" in annotations:
            yield f"{path}metadata.annotations[{_APPARMOR}{name}]: {_USE_APPARMOR}"


def _port_names(spec: Object, at: str) -> Warnings:
    first: dict[str, str] = {}
    for container, where in _containers(spec, at):
        for index, port in enumerate(container.get("ports") or ()):
            name, here = port.get("name"), f"{where}.ports[{index}]"
            there = first.setdefault(name, here) if name else here
            if there != here:
                yield (
                    f"{here}: duplicate port name {quoted(name)} with {there}, "
                    f"services and probes that select ports by name will use {there}"
                )


def _ports(spec: Object, at: str) -> Warnings:
    taken: dict[tuple[Any, Any], list[tuple[str, Object]]] = {}
    for container, where in _containers(spec, at):
        for index, port in enumerate(container.get("ports") or ()):
            here, ip, number = f"{where}.ports[{index}]", port.get("hostIP") or "", port.get("hostPort") or 0
            if ip and not number:
                shown = (
                    f"{{Name:{port.get('name') or ''} HostPort:0 ContainerPort:{port.get('containerPort')} "
                    f"Protocol:{port.get('protocol') or ''} HostIP:{ip}}}"
                )
                yield f"{here}: hostIP set without hostPort: {shown}"
            others = taken.setdefault((port.get("containerPort"), port.get("protocol")), [])
            for there, other in others:
                other_ip, other_number = other.get("hostIP") or "", other.get("hostPort") or 0
                if ip == other_ip and number == other_number:
                    yield f"{here}: duplicate port definition with {there}"
                elif not number or not other_number:
                    yield f"{here}: overlapping port definition with {there}"
                elif number == other_number and bool(ip) != bool(other_ip):
                    yield f"{here}: dangerously ambiguous port definition with {there}"
            others.append((here, port))
