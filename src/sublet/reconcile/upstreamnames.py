"""Where Kubernetes calls a controller otherwise than by its name: in metrics of queues, and as the source of events.

Dashboards and alerts ask for these names, and ``kubectl describe`` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping

QUEUES: Mapping[str, str] = {
    "bootstrap-signer-controller": "bootstrap_signer_queue",
    "certificatesigningrequest-approving-controller": "certificate",
    "certificatesigningrequest-signing-controller": "certificate",
    "clusterrole-aggregation-controller": "ClusterRoleAggregator",
    "cronjob-controller": "cronjob",
    "daemonset-controller": "daemonset",
    "deployment-controller": "deployment",
    "disruption-controller": "disruption",
    "disruption-controller stale conditions": "stale_pod_disruption",
    "endpoints-controller": "endpoint",
    "endpointslice-controller": "endpoint_slice",
    "endpointslice-mirroring-controller": "endpoint_slice_mirroring",
    "ephemeral-volume-controller": "ephemeral_volume",
    "garbage-collector-controller": "garbage_collector_attempt_to_delete",
    "garbage-collector-controller orphans": "garbage_collector_attempt_to_orphan",
    "horizontal-pod-autoscaler-controller": "horizontalpodautoscaler",
    "job-controller": "job",
    "namespace-controller": "namespace",
    "node-ipam-controller": "cidrallocator_node",
    "node-lifecycle-controller": "node_lifecycle_controller",
    "persistentvolume-binder-controller claims": "claims",
    "persistentvolume-binder-controller volumes": "volumes",
    "persistentvolume-expander-controller": "volume_expand",
    "persistentvolume-protection-controller": "pvprotection",
    "persistentvolumeclaim-protection-controller": "pvcprotection",
    "replicaset-controller": "replicaset",
    "replicationcontroller-controller": "replicationmanager",
    "resourceclaim-controller": "resource_claim",
    "resourceclaim-pods": "resource_claim",
    "resourcequota-controller": "resourcequota_primary",
    "root-ca-certificate-publisher-controller": "root_ca_cert_publisher",
    "service-cidr-controller": "servicecidrs",
    "serviceaccount-controller": "serviceaccount",
    "serviceaccount-token-controller": "serviceaccount_tokens_secret",
    "statefulset-controller": "statefulset",
    "taint-eviction-controller": "noexec_taint_pod",
    "token-cleaner-controller": "token_cleaner",
    "ttl-after-finished-controller": "ttl_jobs_to_delete",
    "ttl-controller": "ttlcontroller",
    "validatingadmissionpolicy-status-controller": "validatingadmissionpolicy-status",
    "volumeattributesclass-protection-controller": "vacprotection",
}
"""Name of a :class:`~sublet.reconcile.controller.Controller` -> label ``name`` of its ``workqueue_`` metrics."""

SOURCES: Mapping[str, str] = {
    "disruption-controller": "controllermanager",
    "endpoints-controller": "endpoint-controller",
    "endpointslice-controller": "endpoint-slice-controller",
    "endpointslice-mirroring-controller": "endpoint-slice-mirroring-controller",
    "ephemeral-volume-controller": "ephemeral_volume",
    "horizontal-pod-autoscaler-controller": "horizontal-pod-autoscaler",
    "node-ipam-controller": "cidrAllocator",
    "node-lifecycle-controller": "node-controller",
    "persistentvolume-attach-detach-controller": "attachdetach-controller",
    "persistentvolume-binder-controller": "persistentvolume-controller",
    "persistentvolume-expander-controller": "volume_expand",
    "replicationcontroller-controller": "replication-controller",
    "resourceclaim-controller": "resource_claim",
}
"""Name of a registration -> ``source.component`` of its events."""
