"""The admission plug-ins in the order they run (reference B.17): a new one is a file in ``plugins/`` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    "ImagePolicyWebhook",
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
    "NodeDeclaredFeatureValidator",
    "PodResizeValidator",
    "RBACEscalation",
    "PolicyParameters",
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
    "ImagePolicyWebhook", "PodNodeSelector", "PodTolerationRestriction", "EventRateLimit", "ExtendedResourceToleration",
    "OwnerReferencesPermissionEnforcement", "DenyServiceExternalIPs", "AlwaysDeny",
))  # fmt: skip
"""Those that run only where they are asked for."""
OWN = frozenset(("CertificateRequester", "PolicyParameters", "RBACEscalation"))
"""Rules that upstream has elsewhere than in a plug-in: nobody can switch them."""
INERT = frozenset(
    ("ClusterTrustBundleAttest", "PodGroupProtection", "PodGroupWorkloadExists", "JobValidation")
)
"""Upstream's that have nothing to look at, as their features are off and their kinds not served."""


def load(disabled: Iterable[str] = (), enabled: Iterable[str] = ()) -> list[Plugin]:
    """The plug-ins to run: those on by default and the ``enabled``, without the ``disabled``.

    Raises ``ValueError`` for names that cannot be switched so.
    """
    off, on = set(disabled), set(enabled)
    if wrong := errors(off, on):
        raise ValueError(f"[{', '.join(wrong)}]" if len(wrong) > 1 else wrong[0])
    return [plugin(name) for name in ORDER if name not in off and (name in on or name not in OFF)]


def errors(disabled: Iterable[str], enabled: Iterable[str]) -> list[str]:
    """What is wrong with names of plug-ins to switch, in upstream's words."""
    known = (set(ORDER) - OWN) | INERT
    found = [
        f'{flag} plugin "{name}" is unknown'
        for flag, names in (("enable-admission-plugins", enabled), ("disable-admission-plugins", disabled))
        for name in names
        if name not in known
    ]
    if both := set(disabled) & set(enabled):
        listed = " ".join(sorted(both))
        found.append(f"[{listed}] in enable-admission-plugins and disable-admission-plugins overlapped")
    return found


def plugin(name: str) -> Plugin:
    """One of :data:`ORDER`."""
    found: Plugin = importlib.import_module(f"sublet.apiserver.admission.plugins.{name.lower()}").PLUGIN
    return found
