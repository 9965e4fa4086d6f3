"""How error messages show whole parts of objects: with the names and empty fields of the server's Go structs.

Kubernetes prints a bad value that is a struct as JSON of its *internal* type, which has no JSON names: every field
appears, in the order of the struct, under its Go name. This is the table of those structs that messages show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from sublet.machinery.kind import Object

_TABLE = """
Affinity NodeAffinity:NodeAffinity PodAffinity:PodAffinity PodAntiAffinity:PodAffinity
AllocationResult Devices::DeviceAllocationResult NodeSelector:NodeSelector AllocationTimestamp
CELDeviceSelector Expression=
CapacityRequirements Requests
DeviceAllocationConfiguration Source= Requests Opaque:OpaqueDeviceConfiguration
DeviceAllocationResult Results[]DeviceRequestAllocationResult Config[]DeviceAllocationConfiguration
DeviceAttribute IntValue BoolValue StringValue VersionValue
DeviceClaim Requests[]DeviceRequest Constraints[]DeviceConstraint Config[]DeviceClaimConfiguration
DeviceClaimConfiguration Requests Opaque:OpaqueDeviceConfiguration
DeviceConstraint Requests MatchAttribute DistinctAttribute
DeviceRequest Name= Exactly:ExactDeviceRequest FirstAvailable[]DeviceSubRequest
DeviceRequestAllocationResult Request= Driver= Pool= Device= AdminAccess Tolerations[]Toleration BindingConditions \
 BindingFailureConditions ShareID ConsumedCapacity
DeviceSelector CEL:CELDeviceSelector
DeviceSubRequest Name= DeviceClassName= Selectors[]DeviceSelector AllocationMode= Count# Tolerations[]Toleration \
 Capacity:CapacityRequirements
ExactDeviceRequest DeviceClassName= Selectors[]DeviceSelector AllocationMode= Count# AdminAccess \
 Tolerations[]Toleration Capacity:CapacityRequirements
OpaqueDeviceConfiguration Driver= Parameters
ResourceClaimSpec Devices::DeviceClaim
AppArmorProfile Type= LocalhostProfile
AuditAnnotation Key= ValueExpression=
Capabilities Add Drop
CSINodeDriver Name= NodeID= TopologyKeys Allocatable:VolumeNodeResources
CSIPersistentVolumeSource Driver= VolumeHandle= ReadOnly! FSType= VolumeAttributes \
 ControllerPublishSecretRef:SecretReference NodeStageSecretRef:SecretReference NodePublishSecretRef:SecretReference \
 ControllerExpandSecretRef:SecretReference NodeExpandSecretRef:SecretReference
CSIVolumeSource Driver= ReadOnly FSType VolumeAttributes NodePublishSecretRef:NameReference
ClaimSource Name= ResourceClaimName ResourceClaimTemplateName
ConfigMapVolumeSource Name= Items[]KeyToPath DefaultMode Optional
Container Name= Image= Command Args WorkingDir= Ports[]ContainerPort EnvFrom[]EnvFromSource Env[]EnvVar \
 Resources::ResourceRequirements ResizePolicy[]ContainerResizePolicy RestartPolicy RestartPolicyRules \
 VolumeMounts[]VolumeMount VolumeDevices[]VolumeDevice LivenessProbe:Probe ReadinessProbe:Probe StartupProbe:Probe \
 Lifecycle:Lifecycle TerminationMessagePath= TerminationMessagePolicy= ImagePullPolicy= \
 SecurityContext:SecurityContext Stdin! StdinOnce! TTY!
ContainerPort Name= HostPort# ContainerPort# Protocol= HostIP=
ContainerResizePolicy ResourceName= RestartPolicy=
DownwardAPIVolumeFile Path= FieldRef:ObjectFieldSelector ResourceFieldRef:ResourceFieldSelector Mode
DownwardAPIVolumeSource Items[]DownwardAPIVolumeFile DefaultMode
EmptyDirVolumeSource Medium= SizeLimit
EphemeralContainer Name= Image= Command Args WorkingDir= Ports[]ContainerPort EnvFrom[]EnvFromSource Env[]EnvVar \
 Resources::ResourceRequirements ResizePolicy[]ContainerResizePolicy RestartPolicy RestartPolicyRules \
 VolumeMounts[]VolumeMount VolumeDevices[]VolumeDevice LivenessProbe:Probe ReadinessProbe:Probe StartupProbe:Probe \
 Lifecycle:Lifecycle TerminationMessagePath= TerminationMessagePolicy= ImagePullPolicy= \
 SecurityContext:SecurityContext Stdin! StdinOnce! TTY! TargetContainerName=
EnvFromSource Prefix= ConfigMapRef:EnvSource SecretRef:EnvSource
EnvSource Name= Optional
EnvVar Name= Value= ValueFrom:EnvVarSource
EnvVarSource FieldRef:ObjectFieldSelector ResourceFieldRef:ResourceFieldSelector ConfigMapKeyRef:KeySelector \
 SecretKeyRef:KeySelector FileKeyRef:FileKeySelector
EventSource Component= Host=
ExecAction Command
FileKeySelector VolumeName= Path= Key= Optional
ExemptPriorityLevelConfiguration NominalConcurrencyShares LendablePercent
FCVolumeSource TargetWWNs Lun FSType= ReadOnly! WWIDs
FlowDistinguisherMethod Type=
FlowSchemaSpec PriorityLevelConfiguration::NameReference MatchingPrecedence# \
 DistinguisherMethod:FlowDistinguisherMethod Rules[]PolicyRulesWithSubjects
FlowSubject Kind= User:NameReference Group:NameReference ServiceAccount:ServiceAccountSubject
GRPCAction Port# Service
HTTPGetAction Path= Port# Host= Scheme= HTTPHeaders[]NameValue
HostAlias IP= Hostnames
HostPathVolumeSource Path= Type
ISCSIPersistentVolumeSource TargetPortal= IQN= Lun# ISCSIInterface= FSType= ReadOnly! Portals DiscoveryCHAPAuth! \
 SessionCHAPAuth! SecretRef:SecretReference InitiatorName
ISCSIVolumeSource TargetPortal= IQN= Lun# ISCSIInterface= FSType= ReadOnly! Portals DiscoveryCHAPAuth! \
 SessionCHAPAuth! SecretRef:NameReference InitiatorName
ImageVolumeSource Reference= PullPolicy=
KeySelector Name= Key= Optional
KeyToPath Key= Path= Mode
Lifecycle PostStart:LifecycleHandler PreStop:LifecycleHandler StopSignal
LifecycleHandler Exec:ExecAction HTTPGet:HTTPGetAction TCPSocket:TCPSocketAction Sleep:SleepAction
LocalVolumeSource Path= FSType
NFSVolumeSource Server= Path= ReadOnly!
NameReference Name=
NameValue Name= Value=
NodeAffinity RequiredDuringSchedulingIgnoredDuringExecution:NodeSelector \
 PreferredDuringSchedulingIgnoredDuringExecution[]PreferredSchedulingTerm
NodeSelector NodeSelectorTerms[]NodeSelectorTerm
NodeSelectorRequirement Key= Operator= Values
NodeSelectorTerm MatchExpressions[]NodeSelectorRequirement MatchFields[]NodeSelectorRequirement
ObjectFieldSelector APIVersion= FieldPath=
PersistentVolumeClaimSpec AccessModes Selector Resources::VolumeResourceRequirements VolumeName= StorageClassName \
 VolumeMode DataSource:TypedObject DataSourceRef:TypedObjectReference VolumeAttributesClassName
PersistentVolumeSource GCEPersistentDisk AWSElasticBlockStore HostPath:HostPathVolumeSource Glusterfs \
 NFS:NFSVolumeSource RBD Quobyte ISCSI:ISCSIPersistentVolumeSource FlexVolume Cinder CephFS FC:FCVolumeSource Flocker \
 AzureFile VsphereVolume AzureDisk PhotonPersistentDisk PortworxVolume ScaleIO Local:LocalVolumeSource StorageOS \
 CSI:CSIPersistentVolumeSource
PersistentVolumeClaimVolumeSource ClaimName= ReadOnly!
PodAffinity RequiredDuringSchedulingIgnoredDuringExecution[]PodAffinityTerm \
 PreferredDuringSchedulingIgnoredDuringExecution[]WeightedPodAffinityTerm
PodAffinityTerm LabelSelector Namespaces TopologyKey= NamespaceSelector MatchLabelKeys MismatchLabelKeys
LimitResponse Type= Queuing:QueuingConfiguration
LimitedPriorityLevelConfiguration NominalConcurrencyShares# LimitResponse::LimitResponse LendablePercent \
 BorrowingLimitPercent
NonResourcePolicyRule Verbs NonResourceURLs
ObjectReference Kind= Namespace= Name= UID= APIVersion= ResourceVersion= FieldPath=
ParentReference Group= Resource= Namespace= Name=
PodDNSConfig Nameservers Searches Options[]PodDNSConfigOption
PodDNSConfigOption Name= Value
PodDisruptionBudgetSpec MinAvailable Selector MaxUnavailable UnhealthyPodEvictionPolicy
PodFailurePolicyOnExitCodesRequirement ContainerName Operator= Values
PodFailurePolicyOnPodConditionsPattern Type= Status=
PodFailurePolicyRule Action= OnExitCodes:PodFailurePolicyOnExitCodesRequirement \
 OnPodConditions[]PodFailurePolicyOnPodConditionsPattern
PodFailurePolicy Rules[]PodFailurePolicyRule
PodReadinessGate ConditionType=
PodSchedulingGroup PodGroupName
PodSecurityContext HostNetwork! HostPID! HostIPC! ShareProcessNamespace HostUsers SELinuxOptions:SELinuxOptions \
 WindowsOptions:WindowsSecurityContextOptions RunAsUser RunAsGroup RunAsNonRoot SupplementalGroups \
 SupplementalGroupsPolicy FSGroup FSGroupChangePolicy Sysctls[]NameValue SeccompProfile:SeccompProfile \
 AppArmorProfile:AppArmorProfile SELinuxChangePolicy
PodSpec Volumes[]Volume InitContainers[]Container Containers[]Container \
 EphemeralContainers[]EphemeralContainer RestartPolicy= \
 TerminationGracePeriodSeconds ActiveDeadlineSeconds DNSPolicy= NodeSelector ServiceAccountName= \
 AutomountServiceAccountToken NodeName= SecurityContext:PodSecurityContext ImagePullSecrets[]NameReference Hostname= \
 Subdomain= SetHostnameAsFQDN Affinity:Affinity SchedulerName= Tolerations[]Toleration HostAliases[]HostAlias \
 PriorityClassName= Priority PreemptionPolicy DNSConfig:PodDNSConfig ReadinessGates[]PodReadinessGate \
 RuntimeClassName Overhead EnableServiceLinks TopologySpreadConstraints[]TopologySpreadConstraint OS:NameReference \
 SchedulingGates[]NameReference ResourceClaims[]ClaimSource Resources:ResourceRequirements HostnameOverride \
 SchedulingGroup:PodSchedulingGroup
PolicyRulesWithSubjects Subjects[]FlowSubject ResourceRules[]ResourcePolicyRule NonResourceRules[]NonResourcePolicyRule
PriorityLevelConfigurationSpec Type= Limited:LimitedPriorityLevelConfiguration Exempt:ExemptPriorityLevelConfiguration
QueuingConfiguration Queues# HandSize# QueueLengthLimit#
ResourcePolicyRule Verbs APIGroups Resources ClusterScope! Namespaces
ServiceAccountSubject Namespace= Name=
PreferredSchedulingTerm Weight# Preference::NodeSelectorTerm
Probe Exec:ExecAction HTTPGet:HTTPGetAction TCPSocket:TCPSocketAction GRPC:GRPCAction InitialDelaySeconds# \
 TimeoutSeconds# PeriodSeconds# SuccessThreshold# FailureThreshold# TerminationGracePeriodSeconds
ProjectedVolumeSource Sources[]VolumeProjection DefaultMode
ResourceClaim Name= Request=
ResourceFieldSelector ContainerName= Resource= Divisor0
ResourceRequirements Limits Requests Claims[]ResourceClaim
SELinuxOptions User= Role= Type= Level=
ScopedResourceSelectorRequirement ScopeName= Operator= Values
SeccompProfile Type= LocalhostProfile
SecretReference Name= Namespace=
SecretVolumeSource SecretName= Items[]KeyToPath DefaultMode Optional
SecurityContext Capabilities:Capabilities Privileged SELinuxOptions:SELinuxOptions \
 WindowsOptions:WindowsSecurityContextOptions RunAsUser RunAsGroup RunAsNonRoot ReadOnlyRootFilesystem \
 AllowPrivilegeEscalation ProcMount SeccompProfile:SeccompProfile AppArmorProfile:AppArmorProfile
ServiceAccountTokenProjection Audience= ExpirationSeconds# Path=
ServicePort Name= Protocol= AppProtocol Port# TargetPort# NodePort#
SleepAction Seconds#
UpdateStrategy Type= RollingUpdate:RollingUpdate
RollingUpdate MaxUnavailable# MaxSurge#
StatefulSetUpdateStrategy Type= RollingUpdate:RollingUpdateStatefulSetStrategy
RollingUpdateStatefulSetStrategy Partition# MaxUnavailable
SuccessPolicy Rules[]SuccessPolicyRule
SuccessPolicyRule SucceededIndexes SucceededCount
TCPSocketAction Port# Host=
Taint Key= Value= Effect= TimeAdded
Toleration Key= Operator= Value= Effect= TolerationSeconds
TopologySpreadConstraint MaxSkew# TopologyKey= WhenUnsatisfiable= LabelSelector MinDomains NodeAffinityPolicy \
 NodeTaintsPolicy MatchLabelKeys
TypedObject APIGroup Kind= Name=
TypedObjectReference APIGroup Kind= Name= Namespace
Volume Name= HostPath:HostPathVolumeSource EmptyDir:EmptyDirVolumeSource GCEPersistentDisk AWSElasticBlockStore \
 GitRepo Secret:SecretVolumeSource NFS:NFSVolumeSource \
 ISCSI:ISCSIVolumeSource Glusterfs PersistentVolumeClaim:PersistentVolumeClaimVolumeSource RBD \
 Quobyte FlexVolume Cinder CephFS Flocker DownwardAPI:DownwardAPIVolumeSource FC:FCVolumeSource AzureFile \
 ConfigMap:ConfigMapVolumeSource VsphereVolume AzureDisk PhotonPersistentDisk Projected:ProjectedVolumeSource \
 PortworxVolume ScaleIO StorageOS CSI:CSIVolumeSource Ephemeral Image:ImageVolumeSource
VolumeAttachmentSource PersistentVolumeName InlineVolumeSpec
VolumeAttachmentSpec Attacher= Source::VolumeAttachmentSource NodeName=
VolumeDevice Name= DevicePath=
VolumeMount Name= ReadOnly! RecursiveReadOnly MountPath= SubPath= MountPropagation SubPathExpr=
VolumeNodeResources Count
VolumeResourceRequirements Limits Requests
VolumeProjection Secret:ConfigMapVolumeProjection DownwardAPI:DownwardAPIProjection \
 ConfigMap:ConfigMapVolumeProjection ServiceAccountToken:ServiceAccountTokenProjection ClusterTrustBundle \
 PodCertificate
ConfigMapVolumeProjection Name= Items[]KeyToPath Optional
DownwardAPIProjection Items[]DownwardAPIVolumeFile
WeightedPodAffinityTerm Weight# PodAffinityTerm::PodAffinityTerm
WindowsSecurityContextOptions GMSACredentialSpecName GMSACredentialSpec RunAsUserName HostProcess
"""
"""Type, then its fields: ``=`` a string, ``#`` a number, ``!`` a flag, ``0`` an amount, ``:`` a pointer to a struct,
``::`` a struct, ``[]`` a list of structs; anything else is null where it is absent."""

_FIELD = re.compile(r"(\w+?)(=|#|!|0|::?|\[\])?((?<=:|\])\w+)?").fullmatch
_ACRONYM = re.compile(r"[A-Z]+(?=[A-Z][a-z]|$)|[A-Z]")
_EMPTY: Mapping[str, Any] = {"=": "", "#": 0, "!": False, "0": "0"}
_ODD_NAMES = {
    "CephFS": "cephfs",
    "StorageOS": "storageos",
    "NonResourceURLs": "nonResourceURLs",
    "ReadOnly": "readOnly",
    "BoolValue": "bool",
    "IntValue": "int",
    "StringValue": "string",
    "VersionValue": "version",
    "WWIDs": "wwids",
    "DiscoveryCHAPAuth": "chapAuthDiscovery",
    "SessionCHAPAuth": "chapAuthSession",
}
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
"""What Go's JSON does not leave as it is, lest it be taken for HTML."""
_OF_THE_SPEC = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
"""Fields that the internal pod keeps in its security context."""


_NOTED = ("matchLabels", "matchExpressions")


class _Field(NamedTuple):
    name: str
    json: str
    kind: str
    type: str


def _json_name(name: str) -> str:
    if name in _ODD_NAMES:
        return _ODD_NAMES[name]
    return _ACRONYM.sub(lambda found: found[0].lower(), name, count=1)


@cache
def _types() -> Mapping[str, tuple[_Field, ...]]:
    return {words[0]: tuple(map(_field, words[1:])) for words in map(str.split, _TABLE.strip().split("\n"))}


def _field(word: str) -> _Field:
    found = _FIELD(word)
    if found is None:
        raise ValueError(f"no field of the table: {word!r}")
    return _Field(found[1], _json_name(found[1]), found[2] or "", found[3] or "")


def shown(type_name: str, value: Mapping[str, Any]) -> Object:
    """A JSON-shaped struct as its internal type prints; ``type_name`` is one of the table."""
    return dict(_fields(type_name, value))


def _fields(type_name: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if type_name == "PodSpec":
        own = {key: value[key] for key in _OF_THE_SPEC if key in value}
        value = {**value, "securityContext": {**(value.get("securityContext") or {}), **own}}
    for name, key, kind, inner in _types()[type_name]:
        found = value.get(key)
        if kind == "[]" and found is not None:
            yield name, [shown(inner, item) for item in found]
        elif kind == "::" or (kind == ":" and found is not None):
            yield name, shown(inner, found or {})
        else:
            yield name, _EMPTY.get(kind) if found is None else _sorted(found)


def _sorted(value: Any) -> Any:
    """A value with its maps sorted by key; the fields of selectors, which have JSON names, are in their order."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = sorted(value, key=lambda key: (_NOTED.index(key) if key in _NOTED else len(_NOTED), key))
    return {key: _sorted(value[key]) for key in keys}


_CONTEXT = 10
_METADATA = ("name", "generateName", "namespace", "labels", "annotations")


def template(found: Object | None, spec: str = "PodSpec") -> Object | None:
    """A template, of pods or what else: the metadata has JSON names, and stands beside the spec."""
    if found is None:
        return None
    metadata = found.get("metadata") or {}
    kept = {key: _sorted(metadata[key]) for key in _METADATA if metadata.get(key)}
    return {**kept, "Spec": shown(spec, found.get("spec") or {})}


def difference(type_name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """What differs, as a unified diff of the JSON of both, ``-`` the new one; it ends with a newline.

    Source: k8s.io/apimachinery/pkg/util/diff, as it is built without go-cmp.
    """
    import difflib  # only refusals need it

    now, then = (_lines(shown(type_name, value)) for value in (new, old))
    return "".join(difflib.unified_diff(now, then, "expected", "got", n=_CONTEXT))


def _lines(document: Object) -> list[str]:
    text = json.dumps(document, indent=2, ensure_ascii=False).translate(_ESCAPED)
    return [f"{line}\n" for line in text.split("\n")]
