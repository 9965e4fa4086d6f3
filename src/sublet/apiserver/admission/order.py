"""The admission plug-ins in the order they run (reference B.17): a new one is a file in ``plugins/`` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from sublet.apiserver.admission.framework import Plugin

ORDER = (
    "AlwaysAdmit",
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "PodTolerationRestriction",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateRequester",
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "RBACEscalation",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
    "AlwaysDeny",
)
"""Names of plug-ins; one's file is its name in small letters. ResourceQuota is after all others: what it counts must
not be refused afterwards."""
OFF = frozenset((
    "AlwaysAdmit", "NamespaceAutoProvision", "NamespaceExists", "LimitPodHardAntiAffinityTopology", "AlwaysPullImages",
    "PodNodeSelector", "PodTolerationRestriction", "EventRateLimit", "ExtendedResourceToleration",
    "OwnerReferencesPermissionEnforcement", "DenyServiceExternalIPs", "AlwaysDeny",
))  # fmt: skip
"""Those that run only where they are asked for."""
ABSENT = frozenset((
    "ImagePolicyWebhook", "ClusterTrustBundleAttest", "PodGroupProtection", "PodGroupWorkloadExists",
    "NodeDeclaredFeatureValidator", "JobValidation", "PodResizeValidator",
))  # fmt: skip
"""Upstream's that are not here: they may be disabled, which they are, but not enabled."""


def load(disabled: Iterable[str] = (), enabled: Iterable[str] = ()) -> list[Plugin]:
    """The plug-ins to run: those on by default and the ``enabled``, without the ``disabled``.

    Raises ``ValueError`` for a name that cannot be switched so.
    """
    off, on = set(disabled), set(enabled)
    check(off, on)
    return [plugin(name) for name in ORDER if name not in off and (name in on or name not in OFF)]


def check(disabled: Iterable[str], enabled: Iterable[str]) -> None:
    """Raises ``ValueError`` for a name that cannot be switched so."""
    unknown = (set(disabled) - set(ORDER) - ABSENT) | (set(enabled) - set(ORDER))
    if unknown:
        name = min(unknown)
        why = "is not part of sublet" if name in ABSENT else "is unknown"
        raise ValueError(f"admission plug-in {name!r} {why}; there are {', '.join(ORDER)}")


def plugin(name: str) -> Plugin:
    """One of :data:`ORDER`."""
    found: Plugin = importlib.import_module(f"sublet.apiserver.admission.plugins.{name.lower()}").PLUGIN
    return found
