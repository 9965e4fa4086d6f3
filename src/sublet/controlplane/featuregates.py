"""Kubernetes' feature gates, of which none can be switched: what is here is always on, what is not is not."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sublet.machinery.settings import ConfigurationError

ON = frozenset((
    "AdmissionWebhookMatchConditions", "AggregatedDiscoveryEndpoint", "AnonymousAuthConfigurableEndpoints",
    "APIServerIdentity", "APIServingWithRoutine", "CRDValidationRatcheting", "ConsistentListFromCache",
    "CustomResourceFieldSelectors", "CustomResourceValidationExpressions", "EfficientWatchResumption",
    "GenericEphemeralVolume", "InPlacePodVerticalScaling", "JobManagedBy", "JobPodFailurePolicy", "JobSuccessPolicy",
    "MutatingAdmissionPolicy", "OpenAPIEnums", "OpenAPIV3", "OrderedNamespaceDeletion", "PodSchedulingReadiness",
    "RemainingItemCount", "RemoveSelfLink", "RetryGenerateName", "SeparateCacheWatchRPC", "ServerSideApply",
    "ServerSideFieldValidation", "ServiceAccountTokenJTI", "ServiceAccountTokenNodeBinding",
    "ServiceAccountTokenPodNodeInfo", "SidecarContainers", "StableLoadBalancerNodeSet", "StructuredAuthorizationConfiguration",
    "UnauthenticatedHTTP2DOSMitigation", "ValidatingAdmissionPolicy", "WatchBookmark", "WatchList",
))  # fmt: skip
"""Gates of features that are here; stating that they are on is harmless."""


def check_feature_gates(stated: Sequence[str]) -> None:
    """``NAME=true`` for features that are here. Raises :class:`ConfigurationError` for anything else."""
    for each in stated:
        name, equals, value = each.partition("=")
        if not equals or value.lower() not in ("true", "false"):
            raise ConfigurationError(f"--feature-gates: {each!r} must be NAME=true or NAME=false")
        on = value.lower() == "true"
        if name not in ON:
            nearest = difflib.get_close_matches(name, ON, 1, 0.7)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ConfigurationError(f"unrecognized feature gate: {name}{hint}")
        if not on:
            raise ConfigurationError(f"cannot set feature gate {name} to false, feature is locked to true")
