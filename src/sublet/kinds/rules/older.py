"""What minors judge, default and serve otherwise than the newest, by the features that are on in them.

The rules of the kinds are those of the newest minor; later minors relaxed most of what is here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from sublet.kinds.features import Features
from sublet.kinds.rules.common import Errors, fill, name_rule, named
from sublet.machinery import names
from sublet.machinery.kind import Kind, Object
from sublet.machinery.status import FieldError, field_forbidden, invalid, not_supported

_PODS = {
    "Pod": "spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
    "PodTemplate": "template.spec",
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController"), "spec.template.spec"
    ),
}
"""Kind -> where a pod's spec is that is judged. That of a StatefulSet is not: its pods are, when they are made."""
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_ENVIRONMENT = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_ENVIRONMENT_MESSAGE = names.regex_message(
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not "
    "start with a digit",
    _ENVIRONMENT, "my.env-name", "MY_ENV.NAME", "MyEnvName1",
)  # fmt: skip
_TWICE = "exists in both matchLabelKeys and labelSelector"

ACTED = frozenset((
    "ContainerRestartRules", "InPlacePodVerticalScaling", "MatchLabelKeysInPodTopologySpreadSelectorMerge",
    "MaxUnavailableStatefulSet", "PodLifecycleSleepActionAllowZero", "PodObservedGenerationTracking",
    "PreferSameTrafficDistribution", "RelaxedDNSSearchValidation", "RelaxedEnvironmentVariableValidation",
    "RelaxedServiceNameValidation",
))  # fmt: skip
"""The features that decide about what is here, and so can be switched."""

_PodRule = Callable[[str, Object], Errors]
"""(path of a pod's spec, the spec) -> what is wrong with it."""


def of(kind: Kind, features: Features) -> Kind:
    """The kind, as the features have it."""
    name = kind.resource.kind
    if rules := [rule for feature, rule in _POD_RULES if not features.enabled(feature)]:
        kind = _judged(kind, rules)
    if name == "Pod":
        kind = _pod(kind, features)
    elif name == "Service":
        kind = _service(kind, features)
    elif name == "StatefulSet" and features.enabled("MaxUnavailableStatefulSet"):
        kind = replace(kind, default=_then(kind.default, _one_unavailable))
    return kind


def _then(first: Callable[[Object], None], second: Callable[[Object], None]) -> Callable[[Object], None]:
    def both(obj: Object) -> None:
        first(obj)
        second(obj)

    return both


def _judged(kind: Kind, rules: Sequence[_PodRule]) -> Kind:
    path = _PODS.get(kind.resource.kind)
    if path is None:
        return kind
    steps = path.split(".")

    def validate(obj: Object) -> Sequence[FieldError]:
        found: Any = obj
        for step in steps:
            found = (found or {}).get(step)
        return [*kind.validate(obj), *(error for rule in rules for error in rule(path, found or {}))]

    return replace(kind, validate=validate)


def _pod(kind: Kind, features: Features) -> Kind:
    if not features.enabled("InPlacePodVerticalScaling"):
        kept = {name: each for name, each in kind.subresources.items() if name != "resize"}
        kind = replace(kind, subresources=kept)
    if not features.enabled("PodObservedGenerationTracking"):
        kind = replace(kind, generation=False)
    if not features.enabled("MatchLabelKeysInPodTopologySpreadSelectorMerge"):
        kind = replace(kind, prepare_create=_keeping_spreads(kind.prepare_create))
    return kind


def _service(kind: Kind, features: Features) -> Kind:
    if not features.enabled("RelaxedServiceNameValidation"):
        kind = replace(kind, validate_name=name_rule(names.dns1035_label))
    if features.enabled("PreferSameTrafficDistribution"):
        return kind

    def distribution(obj: Object) -> Errors:
        chosen = (obj.get("spec") or {}).get("trafficDistribution")
        if chosen is not None and chosen != "PreferClose":
            yield not_supported("spec.trafficDistribution", chosen, ("PreferClose",))

    return replace(kind, validate=lambda obj: [*kind.validate(obj), *distribution(obj)])


def _one_unavailable(obj: Object) -> None:
    strategy = (obj.get("spec") or {}).get("updateStrategy") or {}
    if (rolling := strategy.get("rollingUpdate")) is not None:
        fill(rolling, maxUnavailable=1)


def _keeping_spreads(prepare: Callable[[Object], None]) -> Callable[[Object], None]:
    """``matchLabelKeys`` of constraints were no business of the API server: their selectors stay as they are."""

    def keeping(pod: Object) -> None:
        spec = pod.get("spec") or {}
        spreads = copy.deepcopy(spec.get("topologySpreadConstraints"))
        prepare(pod)
        if spreads is not None:
            spec["topologySpreadConstraints"] = spreads

    return keeping


# -- rules that were relaxed --


def _containers(path: str, spec: Object, keys: Sequence[str] = _CONTAINERS) -> Iterator[tuple[str, Object]]:
    for key in keys:
        for index, container in enumerate(spec.get(key) or ()):
            yield f"{path}.{key}[{index}]", container


def _environment(path: str, spec: Object) -> Errors:
    for where, container in _containers(path, spec):
        for index, variable in enumerate(container.get("env") or ()):
            name = variable.get("name") or ""
            if name and re.fullmatch(_ENVIRONMENT, name) is None:
                yield invalid(f"{where}.env[{index}].name", name, _ENVIRONMENT_MESSAGE)


def _searches(path: str, spec: Object) -> Errors:
    for index, search in enumerate((spec.get("dnsConfig") or {}).get("searches") or ()):
        yield from named(
            f"{path}.dnsConfig.searches[{index}]", search.removesuffix("."), names.dns1123_subdomain
        )


def _sleeps(path: str, spec: Object) -> Errors:
    grace = spec.get("terminationGracePeriodSeconds")
    for where, container in _containers(path, spec):
        for moment in ("postStart", "preStop"):
            sleep = ((container.get("lifecycle") or {}).get(moment) or {}).get("sleep")
            if sleep is not None and not sleep.get("seconds") and grace is not None:
                detail = (
                    f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace}). Enable "
                    "AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
                )
                yield invalid(f"{where}.lifecycle.{moment}.sleep", 0, detail)


def _spread_keys(path: str, spec: Object) -> Errors:
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        selector = constraint.get("labelSelector") or {}
        selected = {*(selector.get("matchLabels") or ())}
        selected |= {each.get("key") for each in selector.get("matchExpressions") or ()}
        for place, key in enumerate(constraint.get("matchLabelKeys") or ()):
            if key in selected:
                yield invalid(
                    f"{path}.topologySpreadConstraints[{index}].matchLabelKeys[{place}]", key, _TWICE
                )


def _restart_policies(path: str, spec: Object) -> Errors:
    for where, container in _containers(path, spec, ("containers",)):
        if container.get("restartPolicy") is not None:
            yield field_forbidden(f"{where}.restartPolicy", "may not be set for non-init containers")


_POD_RULES: Sequence[tuple[str, _PodRule]] = (
    ("RelaxedEnvironmentVariableValidation", _environment),
    ("RelaxedDNSSearchValidation", _searches),
    ("PodLifecycleSleepActionAllowZero", _sleeps),
    ("MatchLabelKeysInPodTopologySpreadSelectorMerge", _spread_keys),
    ("ContainerRestartRules", _restart_policies),
)
"""(feature without which a rule counts, the rule)."""
