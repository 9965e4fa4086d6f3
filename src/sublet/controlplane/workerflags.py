"""kube-controller-manager's and kube-scheduler's flags, where they mean something here.

Of ``controllerManager.extraArgs`` and ``scheduler.extraArgs`` of ``sublet.yaml``. A new flag is a field here; those that
name a setting of a controller are handed to it as they are (:data:`_SETTINGS`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sublet.controlplane import flagparser
from sublet.controlplane.addresses import pod_range
from sublet.controlplane.config import DEFAULT_MINOR
from sublet.controlplane.featuregates import stated_gates
from sublet.controlplane.flagparser import DURATION
from sublet.machinery.settings import ConfigurationError


@dataclass(frozen=True)
class ElectionFlags:
    """Controllers and scheduler are one process here and are elected together. Durations are seconds."""

    leader_elect: bool | None = None
    """None: by whether several processes share the store."""
    feature_gates: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControllerManagerFlags(ElectionFlags):
    """Defaults are upstream's, but that nodes get ranges: they do where there is a ``networking.podCIDR``."""

    allocate_node_cidrs: bool = True
    cluster_cidr: tuple[str, ...] = ()
    """As ``networking.podCIDR``, which it overrides."""
    cluster_signing_duration: float = field(default=365 * 86400.0, metadata=DURATION)
    controllers: tuple[str, ...] = ()
    concurrent_cron_job_syncs: int = 5
    concurrent_daemonset_syncs: int = 2
    concurrent_deployment_syncs: int = 5
    concurrent_disruption_syncs: int = 1
    concurrent_endpoint_syncs: int = 5
    concurrent_ephemeralvolume_syncs: int = 5
    concurrent_gc_syncs: int = 20
    concurrent_horizontal_pod_autoscaler_syncs: int = 5
    concurrent_job_syncs: int = 5
    concurrent_namespace_syncs: int = 10
    concurrent_rc_syncs: int = 5
    concurrent_replicaset_syncs: int = 5
    concurrent_resource_quota_syncs: int = 5
    concurrent_service_endpoint_syncs: int = 5
    concurrent_serviceaccount_token_syncs: int = 5
    concurrent_statefulset_syncs: int = 5
    concurrent_ttl_after_finished_syncs: int = 5
    concurrent_validating_admission_policy_status_syncs: int = 5
    enable_garbage_collector: bool = True
    horizontal_pod_autoscaler_sync_period: float = field(default=15.0, metadata=DURATION)
    large_cluster_size_threshold: int = 50
    legacy_service_account_token_clean_up_period: float = field(default=365 * 86400.0, metadata=DURATION)
    max_endpoints_per_slice: int = 100
    mirroring_concurrent_service_endpoint_syncs: int = 5
    mirroring_max_endpoints_per_subset: int = 1000
    node_cidr_mask_size: int = 0
    """0: as ``node_cidr_mask_size_ipv4`` and ``_ipv6`` say."""
    node_cidr_mask_size_ipv4: int = 24
    node_cidr_mask_size_ipv6: int = 64
    node_eviction_rate: float = 0.1
    node_monitor_grace_period: float = field(default=50.0, metadata=DURATION)
    node_monitor_period: float = field(default=5.0, metadata=DURATION)
    resource_quota_sync_period: float = field(default=300.0, metadata=DURATION)
    root_ca_file: str = ""
    """Of whom pods believe that they are the API server; empty: the control plane's own authority."""
    secondary_node_eviction_rate: float = 0.01
    terminated_pod_gc_threshold: int = 12500
    unhealthy_zone_threshold: float = 0.55
    use_service_account_credentials: Literal["true"] = "true"


@dataclass(frozen=True)
class SchedulerFlags(ElectionFlags):
    config: str = ""
    """A file with a KubeSchedulerConfiguration."""


_WORKERS = {
    "concurrent_cron_job_syncs": "cronjob-controller",
    "concurrent_daemonset_syncs": "daemonset-controller",
    "concurrent_deployment_syncs": "deployment-controller",
    "concurrent_disruption_syncs": "disruption-controller",
    "concurrent_endpoint_syncs": "endpoints-controller",
    "concurrent_ephemeralvolume_syncs": "ephemeral-volume-controller",
    "concurrent_gc_syncs": "garbage-collector-controller",
    "concurrent_horizontal_pod_autoscaler_syncs": "horizontal-pod-autoscaler-controller",
    "concurrent_job_syncs": "job-controller",
    "concurrent_namespace_syncs": "namespace-controller",
    "concurrent_rc_syncs": "replicationcontroller-controller",
    "concurrent_replicaset_syncs": "replicaset-controller",
    "concurrent_resource_quota_syncs": "resourcequota-controller",
    "concurrent_service_endpoint_syncs": "endpointslice-controller",
    "concurrent_serviceaccount_token_syncs": "serviceaccount-token-controller",
    "concurrent_statefulset_syncs": "statefulset-controller",
    "concurrent_ttl_after_finished_syncs": "ttl-after-finished-controller",
    "concurrent_validating_admission_policy_status_syncs": "validatingadmissionpolicy-status-controller",
    "mirroring_concurrent_service_endpoint_syncs": "endpointslice-mirroring-controller",
}
"""Flag -> whose workers it counts."""

_SETTINGS = (
    "cluster_signing_duration", "horizontal_pod_autoscaler_sync_period", "large_cluster_size_threshold",
    "legacy_service_account_token_clean_up_period", "max_endpoints_per_slice", "mirroring_max_endpoints_per_subset",
    "node_eviction_rate", "node_monitor_grace_period", "node_monitor_period", "resource_quota_sync_period",
    "secondary_node_eviction_rate", "terminated_pod_gc_threshold", "unhealthy_zone_threshold",
)  # fmt: skip
"""Flags that are settings of controllers by the same name."""
_ABOVE_ZERO = (
    *_WORKERS, "cluster_signing_duration", "horizontal_pod_autoscaler_sync_period",
    "legacy_service_account_token_clean_up_period", "max_endpoints_per_slice", "mirroring_max_endpoints_per_subset",
    "node_monitor_grace_period", "node_monitor_period", "resource_quota_sync_period",
)  # fmt: skip

_OLD_NAMES = {
    "attachdetach": "persistentvolume-attach-detach-controller",
    "bootstrapsigner": "bootstrap-signer-controller",
    "clusterrole-aggregation": "clusterrole-aggregation-controller",
    "cronjob": "cronjob-controller",
    "csrapproving": "certificatesigningrequest-approving-controller",
    "csrcleaner": "certificatesigningrequest-cleaner-controller",
    "csrsigning": "certificatesigningrequest-signing-controller",
    "daemonset": "daemonset-controller",
    "deployment": "deployment-controller",
    "disruption": "disruption-controller",
    "endpoint": "endpoints-controller",
    "endpointslice": "endpointslice-controller",
    "endpointslicemirroring": "endpointslice-mirroring-controller",
    "ephemeral-volume": "ephemeral-volume-controller",
    "garbagecollector": "garbage-collector-controller",
    "horizontalpodautoscaling": "horizontal-pod-autoscaler-controller",
    "job": "job-controller",
    "legacy-service-account-token-cleaner": "legacy-serviceaccount-token-cleaner-controller",
    "namespace": "namespace-controller",
    "nodeipam": "node-ipam-controller",
    "nodelifecycle": "node-lifecycle-controller",
    "persistentvolume-binder": "persistentvolume-binder-controller",
    "persistentvolume-expander": "persistentvolume-expander-controller",
    "podgc": "pod-garbage-collector-controller",
    "pv-protection": "persistentvolume-protection-controller",
    "pvc-protection": "persistentvolumeclaim-protection-controller",
    "replicaset": "replicaset-controller",
    "replicationcontroller": "replicationcontroller-controller",
    "resource-claim-controller": "resourceclaim-controller",
    "resourcequota": "resourcequota-controller",
    "root-ca-cert-publisher": "root-ca-certificate-publisher-controller",
    "serviceaccount": "serviceaccount-controller",
    "serviceaccount-token": "serviceaccount-token-controller",
    "statefulset": "statefulset-controller",
    "tokencleaner": "token-cleaner-controller",
    "ttl": "ttl-controller",
    "ttl-after-finished": "ttl-after-finished-controller",
}
_NOT_HERE = frozenset((
    "cloud-node-lifecycle-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller", "node-route-controller",
    "podcertificaterequest-cleaner-controller", "selinux-warning-controller", "service-lb-controller",
    "storage-version-migrator-controller", "storageversion-garbage-collector-controller",
    "cloud-node-lifecycle", "route", "service", "storage-version-gc",
))  # fmt: skip
"""Upstream's controllers that there is nothing for here; to switch them off is harmless."""


def controlling(stated: Sequence[str], minor: str = DEFAULT_MINOR, *, files: bool = True) -> dict[str, Any]:
    """The fields of an Assembly that kube-controller-manager's flags state; nothing for what is not stated.

    ``files`` False: the files they name are on another machine and are not looked at. Raises :class:`ConfigurationError`.
    """
    flags = flagparser.parse(ControllerManagerFlags, stated, "the controller manager")
    default = ControllerManagerFlags()
    for name in _ABOVE_ZERO:
        if getattr(flags, name) <= 0:
            raise ConfigurationError(f"--{name.replace('_', '-')} must be above 0")
    found = _elected(flags, minor)
    changed = [name for name in (*_SETTINGS, *_WORKERS) if getattr(flags, name) != getattr(default, name)]
    settings: dict[str, Any] = {name: getattr(flags, name) for name in _SETTINGS if name in changed}
    if masks := _masks(flags):
        settings["node_cidr_mask_sizes"] = masks
    if flags.root_ca_file and files:
        settings["root_ca"] = _root_ca(flags.root_ca_file)
    if flags.cluster_cidr:
        found["pod_cidr"] = pod_range(",".join(flags.cluster_cidr))
    found["controller_settings"] = settings
    found["controller_workers"] = {
        _WORKERS[name]: getattr(flags, name) for name in changed if name in _WORKERS
    }
    disabled = _disabled(flags.controllers) if flags.controllers else set()
    disabled |= set() if flags.allocate_node_cidrs else {"node-ipam-controller"}
    disabled |= set() if flags.enable_garbage_collector else {"garbage-collector-controller"}
    found["disabled_controllers"] = frozenset(disabled)
    return found


def scheduling(stated: Sequence[str], minor: str = DEFAULT_MINOR, *, files: bool = True) -> dict[str, Any]:
    """The fields of an Assembly that kube-scheduler's flags state.

    ``files`` False: the file is on another machine and is not looked at. Raises :class:`ConfigurationError`.
    """
    flags = flagparser.parse(SchedulerFlags, stated, "the scheduler")
    found = _elected(flags, minor)
    if flags.config and files:
        from sublet.scheduler.configuration import load

        found["scheduler_settings"] = load(Path(flags.config))
    return found


def _elected(flags: ElectionFlags, minor: str) -> dict[str, Any]:
    if against := stated_gates(flags.feature_gates, minor):
        raise ConfigurationError(
            f"feature gate {min(against)} is set for controllers: set it for the API server, whose it is here"
        )
    return {} if flags.leader_elect is None else {"leader_elect": flags.leader_elect}


def together(controllers: Mapping[str, Any], scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of both. Raises :class:`ConfigurationError` where they disagree about leader election."""
    both = {**controllers, **scheduler}
    for part in (controllers, scheduler):
        if part.get("leader_elect", both.get("leader_elect")) != both.get("leader_elect"):
            raise ConfigurationError(
                "controllers and scheduler are elected together: --leader-elect must be the same for both"
            )
    return both


def _disabled(stated: Sequence[str]) -> set[str]:
    """The controllers that ``--controllers`` leaves out: of several mentions of one the first counts."""
    from sublet.controllers import catalog

    known = {each.name for each in catalog.load()}
    mentions: dict[str, bool] = {}
    for each in stated:
        if each != "*":
            name = _known(each.removeprefix("-"), known, wanted=not each.startswith("-"))
            mentions.setdefault(name, not each.startswith("-"))
    return {name for name in known if not mentions.get(name, "*" in stated)}


def _known(name: str, known: set[str], *, wanted: bool) -> str:
    found = _OLD_NAMES.get(name, name)
    if found in known or (found in _NOT_HERE and not wanted):
        return found
    if found in _NOT_HERE:
        raise ConfigurationError(f"--controllers: there is no {name} here")
    nearest = difflib.get_close_matches(name, {*known, *_OLD_NAMES}, 1, 0.6)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ConfigurationError(f"--controllers: {name!r} is not in the list of known controllers{hint}")


def _root_ca(path: str) -> str:
    """PEM text. Raises :class:`ConfigurationError`."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or f"{error}"
        raise ConfigurationError(
            f"error reading root-ca-file at {path}: open {path}: {why.lower()}"
        ) from None
    if "-----BEGIN CERTIFICATE" not in text:
        raise ConfigurationError(
            f"error parsing root-ca-file at {path}: data does not contain any valid RSA or ECDSA certificates"
        )
    return text


def _masks(flags: ControllerManagerFlags) -> tuple[int, int] | None:
    """Prefix lengths of a node's IPv4 and IPv6 range; None for the usual ones."""
    masks = (
        flags.node_cidr_mask_size or flags.node_cidr_mask_size_ipv4,
        flags.node_cidr_mask_size or flags.node_cidr_mask_size_ipv6,
    )
    if masks[0] > 32 and not flags.node_cidr_mask_size:
        raise ConfigurationError("--node-cidr-mask-size-ipv4 must be at most 32")
    if masks[1] > 128:
        raise ConfigurationError("--node-cidr-mask-size-ipv6 must be at most 128")
    return None if masks == (24, 64) else masks
