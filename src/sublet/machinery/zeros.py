"""Where ``0``, ``false`` and ``""`` say something in a built-in object, and where they say as much as nothing.

Kubernetes decodes into Go structs and writes them out again. A zero in an optional field that is no pointer is left
out then, whoever sent it; a pointer to a zero stays, and some fields are written whatever they hold. Schemas do not
tell the two kinds of optional fields apart: these lists do.
"""

from __future__ import annotations


def _fields(text: str) -> frozenset[str]:
    """``Message: a b; Other: c`` as ``Message.a``, ``Message.b``, ``Other.c``."""
    return frozenset(
        f"{message.strip()}.{name}"
        for entry in text.split(";")
        for message, _, names in (entry.partition(":"),)
        for name in names.split()
    )


POINTERS = _fields(
    # metadata, options
    "ObjectMeta: deletionGracePeriodSeconds; ListMeta: remainingItemCount; OwnerReference: controller blockOwnerDeletion;"
    "DeleteOptions: gracePeriodSeconds orphanDependents; ListOptions: timeoutSeconds sendInitialEvents;"
    "PodLogOptions: limitBytes tailLines sinceSeconds; Preconditions: uid resourceVersion;"
    # pods
    "PodSpec: automountServiceAccountToken enableServiceLinks hostUsers setHostnameAsFQDN shareProcessNamespace"
    " activeDeadlineSeconds priority terminationGracePeriodSeconds hostnameOverride preemptionPolicy runtimeClassName;"
    "Container: restartPolicy; EphemeralContainer: restartPolicy; EphemeralContainerCommon: restartPolicy;"
    "SecurityContext: allowPrivilegeEscalation privileged readOnlyRootFilesystem runAsNonRoot runAsGroup runAsUser procMount;"
    "PodSecurityContext: runAsNonRoot fsGroup runAsGroup runAsUser fsGroupChangePolicy seLinuxChangePolicy"
    " supplementalGroupsPolicy;"
    "WindowsSecurityContextOptions: hostProcess gmsaCredentialSpec gmsaCredentialSpecName runAsUserName;"
    "AppArmorProfile: localhostProfile; SeccompProfile: localhostProfile; Lifecycle: stopSignal; GRPCAction: service;"
    "Probe: terminationGracePeriodSeconds; Toleration: tolerationSeconds; PodDNSConfigOption: value;"
    "TopologySpreadConstraint: minDomains nodeAffinityPolicy nodeTaintsPolicy;"
    "VolumeMount: mountPropagation recursiveReadOnly; VolumeMountStatus: recursiveReadOnly;"
    "PodResourceClaim: resourceClaimName resourceClaimTemplateName; PodResourceClaimStatus: resourceClaimName;"
    "PodSchedulingGroup: podGroupName; ContainerStatus: started stopSignal; PodCertificateProjection: maxExpirationSeconds;"
    "ConfigMapKeySelector: optional; SecretKeySelector: optional; FileKeySelector: optional; ConfigMapEnvSource: optional;"
    "SecretEnvSource: optional; ConfigMapProjection: optional; SecretProjection: optional;"
    "ClusterTrustBundleProjection: optional name signerName; ServiceAccountTokenProjection: expirationSeconds;"
    # volumes
    "ConfigMapVolumeSource: optional defaultMode; SecretVolumeSource: optional defaultMode; KeyToPath: mode;"
    "DownwardAPIVolumeSource: defaultMode; DownwardAPIVolumeFile: mode; ProjectedVolumeSource: defaultMode;"
    "AzureDiskVolumeSource: cachingMode fsType kind readOnly; AzureFilePersistentVolumeSource: secretNamespace;"
    "CSIVolumeSource: readOnly fsType; FCVolumeSource: lun; GlusterfsPersistentVolumeSource: endpointsNamespace;"
    "HostPathVolumeSource: type; ISCSIVolumeSource: initiatorName; ISCSIPersistentVolumeSource: initiatorName;"
    "LocalVolumeSource: fsType; PersistentVolumeSpec: volumeMode volumeAttributesClassName;"
    "PersistentVolumeClaimSpec: storageClassName volumeMode volumeAttributesClassName;"
    "PersistentVolumeClaimStatus: currentVolumeAttributesClassName;"
    "TypedLocalObjectReference: apiGroup; TypedObjectReference: apiGroup namespace;"
    # core
    "ConfigMap: immutable; Secret: immutable; ServiceAccount: automountServiceAccountToken;"
    "ServiceSpec: allocateLoadBalancerNodePorts internalTrafficPolicy ipFamilyPolicy loadBalancerClass trafficDistribution;"
    "ServicePort: appProtocol; ClientIPConfig: timeoutSeconds; LoadBalancerIngress: ipMode; PortStatus: error;"
    "IngressPortStatus: error; EndpointAddress: nodeName; k8s.io.api.core.v1.EndpointPort: appProtocol;"
    "NodeFeatures: supplementalGroupsPolicy; NodeRuntimeHandlerFeatures: recursiveReadOnlyMounts userNamespaces;"
    "NodeSwapStatus: capacity; ReplicationControllerSpec: replicas;"
    # apps, batch, autoscaling, policy
    "DaemonSetSpec: revisionHistoryLimit; DaemonSetStatus: collisionCount;"
    "DeploymentSpec: replicas revisionHistoryLimit progressDeadlineSeconds;"
    "DeploymentStatus: collisionCount terminatingReplicas; ReplicaSetSpec: replicas; ReplicaSetStatus: terminatingReplicas;"
    "StatefulSetSpec: replicas revisionHistoryLimit; RollingUpdateStatefulSetStrategy: partition;"
    "StatefulSetStatus: collisionCount; CronJobSpec: suspend timeZone startingDeadlineSeconds successfulJobsHistoryLimit"
    " failedJobsHistoryLimit;"
    "JobSpec: manualSelector suspend activeDeadlineSeconds backoffLimit backoffLimitPerIndex completions maxFailedIndexes"
    " parallelism ttlSecondsAfterFinished completionMode managedBy podReplacementPolicy;"
    "JobStatus: ready terminating failedIndexes; SuccessPolicyRule: succeededCount succeededIndexes;"
    "PodFailurePolicyOnExitCodesRequirement: containerName;"
    "HPAScalingRules: stabilizationWindowSeconds selectPolicy; MetricTarget: averageUtilization;"
    "MetricValueStatus: averageUtilization;"
    "HorizontalPodAutoscalerSpec: minReplicas targetCPUUtilizationPercentage;"
    "HorizontalPodAutoscalerStatus: observedGeneration currentCPUUtilizationPercentage;"
    "PodDisruptionBudgetSpec: unhealthyPodEvictionPolicy;"
    # the other groups
    "CertificateSigningRequestSpec: expirationSeconds; EndpointConditions: ready serving terminating;"
    "LeaseSpec: leaseDurationSeconds leaseTransitions holderIdentity preferredHolder strategy;"
    "Endpoint: hostname nodeName zone; k8s.io.api.discovery.v1.EndpointPort: name appProtocol protocol port;"
    "ExemptPriorityLevelConfiguration: lendablePercent nominalConcurrencyShares;"
    "LimitedPriorityLevelConfiguration: borrowingLimitPercent lendablePercent nominalConcurrencyShares;"
    "IngressClassParametersReference: apiGroup namespace scope; IngressSpec: ingressClassName; HTTPIngressPath: pathType;"
    "NetworkPolicyPort: endPort protocol; DeviceClassSpec: extendedResourceName;"
    "DeviceConstraint: distinctAttribute matchAttribute; ExactDeviceRequest: adminAccess;"
    "DeviceRequestAllocationResult: adminAccess shareID; AllocatedDeviceStatus: shareID;"
    "DeviceAttribute: bool int string version; DeviceToleration: tolerationSeconds;"
    "Device: allNodes allowMultipleAllocations bindsToNode nodeName; NodeAllocatableResourceMapping: capacityKey;"
    "ResourceSliceSpec: allNodes perDeviceNodeSelection nodeName; PriorityClass: preemptionPolicy;"
    "CSIDriverSpec: attachRequired podInfoOnMount requiresRepublish seLinuxMount storageCapacity fsGroupPolicy"
    " preventPodSchedulingIfMissing serviceAccountTokenInSecrets nodeAllocatableUpdatePeriodSeconds;"
    "StorageClass: allowVolumeExpansion reclaimPolicy volumeBindingMode;"
    "VolumeAttachmentSource: persistentVolumeName; VolumeNodeResources: count; VolumeError: errorCode;"
    "k8s.io.api.storage.v1.TokenRequest: expirationSeconds; TokenRequestSpec: expirationSeconds;"
    # admission, extensions
    "MutatingAdmissionPolicySpec: failurePolicy; ValidatingAdmissionPolicySpec: failurePolicy;"
    "Rule: scope; RuleWithOperations: scope; NamedRuleWithOperations: scope; MatchResources: matchPolicy;"
    "ParamRef: parameterNotFoundAction; Validation: reason; ServiceReference: path port; WebhookClientConfig: url;"
    "MutatingWebhook: failurePolicy matchPolicy reinvocationPolicy timeoutSeconds;"
    "ValidatingWebhook: failurePolicy matchPolicy timeoutSeconds;"
    "CustomResourceDefinitionVersion: deprecationWarning; CustomResourceSubresourceScale: labelSelectorPath;"
    "ValidationRule: reason optionalOldSelf;"
    "JSONSchemaProps: maximum minimum multipleOf maxItems maxLength maxProperties minItems minLength minProperties"
    " x-kubernetes-preserve-unknown-fields x-kubernetes-list-type x-kubernetes-map-type"
)
"""Optional fields that are pointers in Go: a zero there was set on purpose."""

WRITTEN = _fields(
    "StatefulSetStatus: availableReplicas replicas; StatefulSetOrdinals: start;"
    "PodDisruptionBudgetStatus: currentHealthy desiredHealthy disruptionsAllowed expectedPods;"
    "PriorityClass: value; FlowSchemaSpec: matchingPrecedence; QueuingConfiguration: queues handSize queueLengthLimit;"
    "NodeRuntimeHandler: name; RoleRef: apiGroup; k8s.io.api.core.v1.Event: reportingComponent reportingInstance"
)
"""Fields that schemas call optional, and that every object has in Kubernetes, whatever their value."""

_REQUIRED = _fields(
    "ContainerStatus: ready restartCount image imageID; ContainerStateTerminated: exitCode; HTTPHeader: value;"
    "ReplicaSetStatus: replicas; ReplicationControllerStatus: replicas; ScaleStatus: replicas;"
    "DaemonSetStatus: currentNumberScheduled numberMisscheduled desiredNumberScheduled numberReady;"
    "HorizontalPodAutoscalerStatus: desiredReplicas; k8s.io.api.autoscaling.v1.HorizontalPodAutoscalerStatus: currentReplicas;"
    "CustomResourceDefinitionVersion: served storage; SubjectAccessReviewStatus: allowed;"
    "SubjectRulesReviewStatus: incomplete; APIResource: namespaced;"
    "VolumeAttachmentStatus: attached; APIServiceSpec: groupPriorityMinimum versionPriority;"
    "ResourcePool: generation resourceSliceCount; ISCSIVolumeSource: lun; ISCSIPersistentVolumeSource: lun;"
    "k8s.io.api.events.v1.EventSeries: count; ControllerRevision: revision; LinuxContainerUser: uid gid;"
    "SleepAction: seconds; Condition: message reason; AdmissionResponse: allowed; AttachedVolume: devicePath;"
    "NodeSystemInfo: machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion kubeletVersion"
    " kubeProxyVersion operatingSystem architecture; DaemonEndpoint: Port"
)
"""Required fields whose zeros are met: what reads protobuf without a schema keeps them."""


def meaningful(message: str, field: str) -> bool:
    """Whether a zero in a field stands in the object; ``message`` is ``io.k8s.api.core.v1.PodSpec`` or ``k8s.io.api…``.

    For optional fields: what a schema requires is always written.
    """
    return is_pointer(message, field) or is_written(message, field)


def is_pointer(message: str, field: str) -> bool:
    """Whether an optional field tells zero from absence."""
    return _listed(message, field, POINTERS)


def is_written(message: str, field: str) -> bool:
    """Whether an optional field is written whatever it holds."""
    return _listed(message, field, WRITTEN)


def kept(message: str, field: str) -> bool:
    """:func:`meaningful`, for readers who have no schema that says what is required."""
    return meaningful(message, field) or _listed(message, field, _REQUIRED)


def _listed(message: str, field: str, names: frozenset[str]) -> bool:
    whole = message.removeprefix("io.")
    if not whole.startswith("k8s.io."):
        whole = f"k8s.io.{whole.removeprefix('k8s.')}"
    return f"{message.rpartition('.')[2]}.{field}" in names or f"{whole}.{field}" in names
