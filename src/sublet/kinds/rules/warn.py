"""What clients are warned of when they write an object, by kind: each function is a ``Kind.warnings``.

Source: Kubernetes' registry strategies (WarningsOnCreate, WarningsOnUpdate) and pkg/api's warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps

from sublet.kinds.rules import warn_pods
from sublet.kinds.rules.warn_addresses import Warnings, address, cidr
from sublet.kinds.rules.warn_pods import DEPRECATED_LABELS, DEPRECATED_VOLUMES
from sublet.machinery.kind import Object
from sublet.machinery.status import quoted

_POD_NAMES = "Pod names and hostnames"
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_HINTS = "service.kubernetes.io/topology-aware-hints"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_SLICE_MANAGERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
"""Who writes addresses in their usual form, whatever they were given."""
_MANY_COMPLETIONS, _MANY_AT_ONCE = 100_000, 10_000

Told = Callable[[Object, Object | None], Sequence[str]]


def _told(rule: Callable[[Object, Object | None], Warnings]) -> Told:
    @wraps(rule)
    def told(new: Object, old: Object | None) -> Sequence[str]:
        return list(rule(new, old))

    return told


def _spec(obj: Object) -> Object:
    found: Object = obj.get("spec") or {}
    return found


def _annotations(obj: Object) -> Object:
    found: Object = obj["metadata"].get("annotations") or {}
    return found


def _untouched(new: Object, old: Object | None) -> bool:
    """Whether an update left the spec as it was: then nobody is told again."""
    return old is not None and new["metadata"].get("generation") == old["metadata"].get("generation")


def _name(new: Object, old: Object | None) -> Warnings:
    if old is None:
        yield from warn_pods.hostname(str(new["metadata"].get("name") or ""), _POD_NAMES)


# -- workloads --


@_told
def pod(new: Object, old: Object | None) -> Warnings:
    if old is None:
        yield from warn_pods.confinement(new)
        yield from warn_pods.hostname(str(new["metadata"].get("name") or ""), "the Pod's hostname")
        yield from warn_pods.pod(new)


@_told
def pod_status(new: Object, _old: Object | None) -> Warnings:
    status = new.get("status") or {}
    for field in ("podIPs", "hostIPs"):
        for index, each in enumerate(status.get(field) or ()):
            yield from address(each.get("ip") or "", f"status.{field}[{index}].ip")


@_told
def pod_template(new: Object, _old: Object | None) -> Warnings:
    yield from warn_pods.pod(new.get("template") or {}, "template.")


@_told
def daemon_set(new: Object, old: Object | None) -> Warnings:
    if not _untouched(new, old):
        yield from warn_pods.pod(_spec(new).get("template") or {}, "spec.template.")


@_told
def named_workload(new: Object, old: Object | None) -> Warnings:
    """Deployments, ReplicaSets and ReplicationControllers: their pods are called after them."""
    yield from _name(new, old)
    yield from daemon_set(new, old)


@_told
def stateful_set(new: Object, old: Object | None) -> Warnings:
    yield from daemon_set(new, old)
    spec = _spec(new)
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        path = f"spec.volumeClaimTemplates[{index}]" + ("" if old is None else ".Spec")
        yield from warn_pods.claim_spec(claim.get("spec") or {}, path)
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        yield "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"


def _job_spec(spec: Object, path: str) -> Warnings:
    many = (spec.get("completions") or 0) > _MANY_COMPLETIONS and (
        spec.get("parallelism") or 0
    ) > _MANY_AT_ONCE
    if spec.get("completionMode") == "Indexed" and many:
        yield (
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    yield from warn_pods.pod(spec.get("template") or {}, f"{path}.template.")


@_told
def job(new: Object, old: Object | None) -> Warnings:
    yield from _name(new, old)
    if not _untouched(new, old):
        yield from _job_spec(_spec(new), "spec")


@_told
def cron_job(new: Object, old: Object | None) -> Warnings:
    yield from _name(new, old)
    if not _untouched(new, old):
        yield from _job_spec((_spec(new).get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    if "TZ" in str(_spec(new).get("schedule") or ""):
        yield (
            "CRON_TZ or TZ used in spec.schedule is not officially supported, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )


# -- addresses --


@_told
def service(new: Object, _old: Object | None) -> Warnings:
    spec = _spec(new)
    kind, outside = spec.get("type"), spec.get("externalIPs") or ()
    if _HINTS in _annotations(new):
        yield f"annotation {_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if spec.get("clusterIP") not in (None, "", "None"):
        yield from _addresses(spec.get("clusterIPs") or (), "spec.clusterIPs")
    if headless:
        if spec.get("loadBalancerIP"):
            yield "spec.loadBalancerIP is ignored for headless services"
        if outside:
            yield "spec.externalIPs is ignored for headless services"
        if spec.get("sessionAffinity") not in (None, "", "None"):
            yield "spec.SessionAffinity is ignored for headless services"
    yield from _addresses(outside, "spec.externalIPs")
    if outside and not headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.get("loadBalancerIP"):
        yield from address(spec["loadBalancerIP"], "spec.loadBalancerIP")
    for index, each in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from cidr(each.strip(), f"spec.loadBalancerSourceRanges[{index}]")
    if kind == "ExternalName" and outside:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


@_told
def service_status(new: Object, _old: Object | None) -> Warnings:
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    for index, each in enumerate(balancer.get("ingress") or ()):
        yield from address(each.get("ip") or "", f"status.loadBalancer.ingress[{index}]")


def _addresses(values: Sequence[str], path: str) -> Iterator[str]:
    for index, each in enumerate(values):
        yield from address(each, f"{path}[{index}]")


@_told
def endpoints(new: Object, _old: Object | None) -> Warnings:
    for index, subset in enumerate(new.get("subsets") or ()):
        for field in ("addresses", "notReadyAddresses"):
            for number, each in enumerate(subset.get(field) or ()):
                yield from address(each.get("ip") or "", f"subsets[{index}].{field}[{number}].ip")


@_told
def endpoint_slice(new: Object, old: Object | None) -> Warnings:
    if old is None and new.get("addressType") == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"
    if (new["metadata"].get("labels") or {}).get(_MANAGED_BY) not in _SLICE_MANAGERS:
        for index, each in enumerate(new.get("endpoints") or ()):
            yield from _addresses(each.get("addresses") or (), f"endpoints[{index}].addresses")


@_told
def network_policy(new: Object, _old: Object | None) -> Warnings:
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(_spec(new).get(direction) or ()):
            for number, peer in enumerate(rule.get(peers) or ()):
                block, where = peer.get("ipBlock"), f"spec.{direction}[{index}].{peers}[{number}].ipBlock"
                if block:
                    yield from cidr(block.get("cidr") or "", f"{where}.cidr")
                    for place, each in enumerate(block.get("except") or ()):
                        yield from cidr(each, f"{where}.except[{place}]")


@_told
def ingress(new: Object, old: Object | None) -> Warnings:
    if old is None and _CLASS_ANNOTATION in _annotations(new):
        yield f"annotation \"{_CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"


@_told
def node(new: Object, _old: Object | None) -> Warnings:
    spec = _spec(new)
    if spec.get("configSource"):
        yield "spec.configSource: the feature is removed"
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    for index, each in enumerate(spec.get("podCIDRs") or ()):
        yield from cidr(each, f"spec.podCIDRs[{index}]")


# -- storage and the rest --


@_told
def persistent_volume(new: Object, _old: Object | None) -> Warnings:
    spec, annotations = _spec(new), _annotations(new)
    if _STORAGE_CLASS in annotations:
        yield _storage_class_annotation()
    if _MOUNT_OPTIONS in annotations:
        yield f'metadata.annotations[{_MOUNT_OPTIONS}]: deprecated since v1.31; use "mountOptions" attribute instead'
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield (
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        )
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    for index, each in enumerate(required.get("nodeSelectorTerms") or ()):
        yield from warn_pods.term(each, f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]")
    for kind in spec:
        if kind in DEPRECATED_VOLUMES:
            yield f"spec.{'storageOS' if kind == 'storageos' else kind}: {DEPRECATED_VOLUMES[kind]}"


def _storage_class_annotation() -> str:
    return f'metadata.annotations[{_STORAGE_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'


@_told
def persistent_volume_claim(new: Object, _old: Object | None) -> Warnings:
    if _STORAGE_CLASS in _annotations(new):
        yield _storage_class_annotation()
    yield from warn_pods.claim_spec(_spec(new), "spec")


@_told
def storage_class(new: Object, _old: Object | None) -> Warnings:
    for index, topology in enumerate(new.get("allowedTopologies") or ()):
        for number, each in enumerate(topology.get("matchLabelExpressions") or ()):
            if each.get("key") in DEPRECATED_LABELS:
                where = f"allowedTopologies[{index}].matchLabelExpressions[{number}].key"
                yield f"{where}: {DEPRECATED_LABELS[each['key']]}"


@_told
def storage_capacity(new: Object, _old: Object | None) -> Warnings:
    topology = new.get("nodeTopology") or {}
    for index, each in enumerate(topology.get("matchExpressions") or ()):
        if each.get("key") in DEPRECATED_LABELS:
            yield f"nodeTopology.matchExpressions[{index}].key: {DEPRECATED_LABELS[each['key']]}"
    for key in sorted(topology.get("matchLabels") or ()):
        if key in DEPRECATED_LABELS:
            yield f"nodeTopology.matchLabels.{key}: {DEPRECATED_LABELS[key]}"


@_told
def runtime_class(new: Object, _old: Object | None) -> Warnings:
    for key in (new.get("scheduling") or {}).get("nodeSelector") or ():
        if key in DEPRECATED_LABELS:
            yield f"scheduling.nodeSelector: {DEPRECATED_LABELS[key]}"


@_told
def resource_slice(new: Object, _old: Object | None) -> Warnings:
    driver = str(_spec(new).get("driver") or "")
    if driver != driver.lower():
        yield f"spec.driver: driver names should be lowercase; {quoted(driver)} contains uppercase characters"


@_told
def service_account(new: Object, old: Object | None) -> Warnings:
    if _MOUNTABLE in _annotations(new) and (old is None or _MOUNTABLE not in _annotations(old)):
        yield (
            f"metadata.annotations[{_MOUNTABLE}]: deprecated in v1.32+; "
            "prefer separate namespaces to isolate access to mounted secrets"
        )
