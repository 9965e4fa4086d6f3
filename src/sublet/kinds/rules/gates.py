"""Fields of features that are off: what a client sets there is dropped, not refused.

An object that has such a field already (it was stored when the feature was on) keeps it, and may use it on. Source:
``dropDisabledFields`` of Kubernetes' strategies. Which features are on: :mod:`sublet.kinds.features`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sublet.kinds.features import Features, known
from sublet.machinery.kind import Kind, Object

Field = tuple[str, str]
"""(feature, path): names with dots between; ``[]`` after a list, or a map of whose values each is meant; ``?`` before
the last name where what holds the field goes with it, once it holds nothing else."""

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_TERMS = tuple(
    f"affinity.{kind}.{term}"
    for kind in ("podAffinity", "podAntiAffinity")
    for term in (
        "requiredDuringSchedulingIgnoredDuringExecution[]",
        "preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm",
    )
)


def _each(holders: Sequence[str], *fields: Field) -> tuple[Field, ...]:
    return tuple((feature, f"{holder}.{path}") for holder in holders for feature, path in fields)


_FILES = ("configMap", "downwardAPI", "secret")
_OWNERS = (
    *(f"volumes[].{source}.{path}" for source in _FILES for path in ("defaultUser", "items[].user")),
    "volumes[].projected.defaultUser",
    *(f"volumes[].projected.sources[].{source}.items[].user" for source in _FILES),
    *(
        f"volumes[].projected.sources[].{source}.user"
        for source in ("clusterTrustBundle", "podCertificate", "serviceAccountToken")
    ),
)
"""Where volumes say whose their files are."""

_POD: tuple[Field, ...] = (
    *(("AtomicWriteVolumeUserFields", path) for path in _OWNERS),
    ("EmptyDirVolumeMode", "volumes[].emptyDir.mode"),
    ("EvictionRequestAPI", "evictionResponders"),
    ("GenericWorkload", "schedulingGroup"),
    ("GenericWorkload", "workloadRef"),
    ("ClusterTrustBundleProjection", "volumes[].projected.sources[].clusterTrustBundle"),
    ("PodCertificateRequest", "volumes[].projected.sources[].podCertificate"),
    ("ImageVolume", "volumes[].image"),
    ("VolumeAttributesClass", "volumes[].ephemeral.volumeClaimTemplate.spec.volumeAttributesClassName"),
    ("DynamicResourceAllocation", "resourceClaims"),
    ("HostnameOverride", "hostnameOverride"),
    ("PodLevelResources", "resources"),
    ("SELinuxChangePolicy", "securityContext.seLinuxChangePolicy"),
    ("SupplementalGroupsPolicy", "securityContext.supplementalGroupsPolicy"),
    ("UserNamespacesSupport", "hostUsers"),
    *_each(
        [f"{name}[]" for name in _CONTAINERS],
        ("DynamicResourceAllocation", "resources.claims"),
        ("InPlacePodVerticalScaling", "resizePolicy"),
        ("ContainerRestartRules", "restartPolicyRules"),
        ("ContainerStopSignals", "lifecycle?.stopSignal"),
        ("EnvFiles", "env[].valueFrom.fileKeyRef"),
        ("RecursiveReadOnlyMounts", "volumeMounts[].recursiveReadOnly"),
        ("ProcMountType", "securityContext.procMount"),
        ("VolumeBindMountOptions", "volumeMounts[].bindMountOptions"),
        *(
            ("GRPCContainerProbeTLS", f"{probe}Probe.grpc.mode")
            for probe in ("liveness", "readiness", "startup")
        ),
    ),
    *_each(
        _TERMS,
        ("MatchLabelKeysInPodAffinity", "matchLabelKeys"),
        ("MatchLabelKeysInPodAffinity", "mismatchLabelKeys"),
    ),
)
_DEVICE: tuple[Field, ...] = (
    ("DRANodeAllocatableResources", "nodeAllocatableResourceMappings"),
    ("DRANodeAllocatableResources", "nodeAllocatableResources"),
    ("DRADeviceCompatibilityGroups", "consumesCounters[].compatibilityGroups"),
    *(("DRAListTypeAttributes", f"attributes[].{name}") for name in ("bools", "ints", "strings", "versions")),
    ("DRADeviceTaints", "taints"),
    ("DRAPartitionableDevices", "consumesCounters"),
    ("DRAPartitionableDevices", "nodeName"),
    ("DRAPartitionableDevices", "nodeSelector"),
    ("DRAPartitionableDevices", "allNodes"),
    ("DRADeviceBindingConditions", "bindsToNode"),
    ("DRADeviceBindingConditions", "bindingConditions"),
    ("DRADeviceBindingConditions", "bindingFailureConditions"),
    ("DRAConsumableCapacity", "allowMultipleAllocations"),
    ("DRAConsumableCapacity", "capacity[].requestPolicy"),
)
_CLAIM: tuple[Field, ...] = (
    ("DRAPrioritizedList", "devices.requests[].firstAvailable"),
    ("DRAAdminAccess", "devices.requests[].exactly.adminAccess"),
    *(
        (feature, f"devices.requests[].{request}.{path}")
        for request in ("exactly", "firstAvailable[]")
        for feature, path in (
            ("DRADeviceTaints", "tolerations"),
            ("DRAConsumableCapacity", "capacity"),
            ("DRADerivedAttributes", "derivedAttributes"),
        )
    ),
    ("DRAConsumableCapacity", "devices.constraints[].distinctAttribute"),
)
_POD_STATUS: tuple[Field, ...] = (
    ("CSIVolumeHealth", "volumeHealth"),
    ("PodObservedGenerationTracking", "observedGeneration"),
    ("PodObservedGenerationTracking", "conditions[].observedGeneration"),
    ("DynamicResourceAllocation", "resourceClaimStatuses"),
    ("DRAExtendedResource", "extendedResourceClaimStatus"),
    *_each(
        [f"{name}[]" for name in _STATUSES],
        ("InPlacePodVerticalScaling", "allocatedResources"),
        ("InPlacePodVerticalScaling", "resources"),
        ("ResourceHealthStatus", "allocatedResourcesStatus"),
        ("SupplementalGroupsPolicy", "user"),
        ("ContainerStopSignals", "stopSignal"),
        ("RecursiveReadOnlyMounts", "volumeMounts[].recursiveReadOnly"),
        ("ImageVolumeWithDigest", "volumeMounts[].volumeStatus?.image"),
    ),
    ("DRANodeAllocatableResources", "nodeAllocatableResourceClaimStatuses"),
    ("InPlacePodLevelResourcesVerticalScaling", "allocatedResources"),
    ("InPlacePodLevelResourcesVerticalScaling", "resources"),
)


def _below(prefix: str, fields: Sequence[Field]) -> tuple[Field, ...]:
    return tuple((feature, f"{prefix}.{path}") for feature, path in fields)


FIELDS: Mapping[str, Sequence[Field]] = {
    "CSIDriver": (
        ("VolumeLimitScaling", "spec.preventPodSchedulingIfMissing"),
        ("MutableCSINodeAllocatableCount", "spec.nodeAllocatableUpdatePeriodSeconds"),
        ("CSIServiceAccountTokenSecrets", "spec.serviceAccountTokenInSecrets"),
    ),
    "CSINode": (("CSIVolumeHealth", "status"),),
    "CronJob": (
        ("WorkloadWithJob", "spec.jobTemplate.spec.scheduling"),
        *_below("spec.jobTemplate.spec.template.spec", _POD),
    ),
    "CustomResourceDefinition": (("CustomResourceFieldSelectors", "spec.versions[].selectableFields"),),
    "DeviceClass": (("DRAExtendedResource", "spec.extendedResourceName"),),
    "HorizontalPodAutoscaler": (
        ("HPAConfigurableTolerance", "spec.behavior.scaleUp.tolerance"),
        ("HPAConfigurableTolerance", "spec.behavior.scaleDown.tolerance"),
    ),
    "Job": (
        ("JobManagedBy", "spec.managedBy"),
        ("JobSuccessPolicy", "spec.successPolicy"),
        ("WorkloadWithJob", "spec.scheduling"),
        *_below("spec.template.spec", _POD),
    ),
    "Lease": (
        ("CoordinatedLeaderElection", "spec.strategy"),
        ("CoordinatedLeaderElection", "spec.preferredHolder"),
    ),
    "Node": (("InPlacePodVerticalScalingSchedulerPreemption", "spec.podPreemptionPolicy"),),
    "PersistentVolume": (("VolumeAttributesClass", "spec.volumeAttributesClassName"),),
    "PersistentVolumeClaim": (("VolumeAttributesClass", "spec.volumeAttributesClassName"),),
    "Pod": _below("spec", _POD),
    "PodTemplate": _below("template.spec", _POD),
    "ResourceClaim": _below("spec", _CLAIM),
    "ResourceClaimTemplate": _below("spec.spec", _CLAIM),
    "ResourceSlice": (
        *_below("spec.devices[]", _DEVICE),
        ("DRAPartitionableDevices", "spec.sharedCounters"),
        ("DRAPartitionableDevices", "spec.perDeviceNodeSelection"),
        ("DRAPartitionableDevicesType", "spec.partitionTypeAttribute"),
        ("DRAOptionalNodeOperations", "spec.skipNodeOperations"),
    ),
    "Service": (("ServiceTrafficDistribution", "spec.trafficDistribution"),),
    "StatefulSet": (
        ("MaxUnavailableStatefulSet", "spec.updateStrategy.rollingUpdate.maxUnavailable"),
        *_below("spec.template.spec", _POD),
    ),
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "ReplicaSet", "ReplicationController"), _below("spec.template.spec", _POD)
    ),
}
"""Kind -> what depends on features on its main endpoint."""

STATUS: Mapping[str, Sequence[Field]] = {
    "Deployment": (("DeploymentReplicaSetTerminatingReplicas", "status.terminatingReplicas"),),
    "Node": (
        ("NodeDeclaredFeatures", "status.declaredFeatures"),
        ("SupplementalGroupsPolicy", "status.features"),
        ("RecursiveReadOnlyMounts", "status.runtimeHandlers[].features.recursiveReadOnlyMounts"),
        ("UserNamespacesSupport", "status.runtimeHandlers[].features.userNamespaces"),
    ),
    "PersistentVolumeClaim": (
        ("CSIVolumeHealth", "status.healthStatus"),
        ("RecoverVolumeExpansionFailure", "status.allocatedResources"),
        ("RecoverVolumeExpansionFailure", "status.allocatedResourceStatuses"),
        ("VolumeAttributesClass", "status.currentVolumeAttributesClassName"),
        ("VolumeAttributesClass", "status.modifyVolumeStatus"),
    ),
    "Pod": _below("status", _POD_STATUS),
    "ReplicaSet": (("DeploymentReplicaSetTerminatingReplicas", "status.terminatingReplicas"),),
    "ResourceClaim": (
        ("DRAResourceClaimDeviceStatus", "status.devices"),
        ("DRAAdminAccess", "status.allocation.devices.results[].adminAccess"),
        ("DRADeviceTaints", "status.allocation.devices.results[].tolerations"),
        ("DRAOptionalNodeOperations", "status.allocation.devices.results[].skipNodeOperations"),
        ("DRADeviceBindingConditions", "status.allocation.devices.results[].bindingConditions"),
        ("DRADeviceBindingConditions", "status.allocation.devices.results[].bindingFailureConditions"),
        ("DRAConsumableCapacity", "status.allocation.devices.results[].consumedCapacity"),
        ("DRAConsumableCapacity", "status.allocation.devices.results[].shareID"),
    ),
}
"""The same of ``/status``."""

ACTED = frozenset(feature for table in (FIELDS, STATUS) for fields in table.values() for feature, _ in fields)
"""The features that decide about fields, and so can be switched."""

_USUAL: Mapping[str, str] = {"ProcMountType": "Default"}
"""Feature -> the value of its fields that says no more than nothing: others become it, as once it was always there."""

_Off = Sequence[tuple[str, Sequence[tuple[str, ...]]]]
"""Features that are off, each with the paths of its fields in their steps."""


def gated(kind: Kind, features: Features) -> Kind:
    """The kind, without the fields of features that are off."""
    spec, status = _off(FIELDS, kind, features), _off(STATUS, kind, features)
    changed: dict[str, Any] = {}
    if spec:
        changed["prepare_create"] = _on_create(spec, kind.prepare_create)
        changed["prepare_update"] = _on_update(spec, kind.prepare_update)
    if status:
        changed["prepare_status"] = _on_update(status, kind.prepare_status)
    return replace(kind, **changed) if changed else kind


def _off(table: Mapping[str, Sequence[Field]], kind: Kind, features: Features) -> _Off:
    """Fields of features that a minor does not know are not in its schemas either."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for feature, path in table.get(kind.resource.kind, ()):
        if not features.enabled(feature) and feature in known(features.minor):
            found.setdefault(feature, []).append(tuple(path.replace("[]", ".*").split(".")))
    return list(found.items())


def _on_create(off: _Off, further: Callable[[Object], None]) -> Callable[[Object], None]:
    def prepare(obj: Object) -> None:
        _drop(off, obj, None)
        further(obj)

    return prepare


def _on_update(off: _Off, further: Callable[[Object, Object], None]) -> Callable[[Object, Object], None]:
    def prepare(new: Object, old: Object) -> None:
        _drop(off, new, old)
        further(new, old)

    return prepare


def _drop(off: _Off, new: Object, old: Object | None) -> None:
    """Takes from ``new``, in place, what no feature is on for and ``old`` did not use."""
    for feature, paths in off:
        usual = _USUAL.get(feature)
        found = [(holder, path) for path in paths for holder in _using(new, path, usual)]
        if found and not (old and any(True for path in paths for _ in _using(old, path, usual))):
            for holder, path in found:
                if usual is None:
                    _remove(holder, path)
                else:
                    holder[path[-1]] = usual


def _using(obj: Object, path: tuple[str, ...], usual: str | None) -> Iterator[Object]:
    """The holders of a field whose value is no usual one."""
    return (holder for holder in _holders(obj, path) if usual is None or holder.get(path[-1]) != usual)


def _remove(holder: Object, path: tuple[str, ...]) -> None:
    owner = path[-2] if len(path) > 1 else ""
    if not owner.endswith("?"):
        del holder[path[-1]]
        return
    name = owner.removesuffix("?")
    del holder[name][path[-1]]
    if not holder[name]:
        del holder[name]


def _holders(obj: Any, path: tuple[str, ...], step: int = 0) -> Iterator[Object]:
    """The maps that have the field that a path ends with; those that hold what goes with it, where something does."""
    name = path[step]
    if name == "*":
        for each in obj.values() if isinstance(obj, dict) else obj if isinstance(obj, list) else ():
            yield from _holders(each, path, step + 1)
    elif name.endswith("?"):
        if isinstance(obj, dict) and path[-1] in (obj.get(name.removesuffix("?")) or ()):
            yield obj
    elif isinstance(obj, dict) and name in obj:
        if step == len(path) - 1:
            yield obj
        elif (below := obj[name]) is not None:
            yield from _holders(below, path, step + 1)
