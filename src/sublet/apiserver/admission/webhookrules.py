"""Which webhooks a write concerns: rules, scopes, match policies and selectors (reference B.17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes
from sublet.apiserver.webhookclient import ClientConfig
from sublet.machinery import objects, selectors
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.selectors import Selector

GROUP = "admissionregistration.k8s.io"
MUTATING, VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
POLICIES = frozenset((
    "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
))  # fmt: skip
"""Resources of :data:`GROUP` that neither webhooks nor policies may guard: a broken one could not be put right."""
EXEMPT = POLICIES | {MUTATING, VALIDATING}
"""Resources of :data:`GROUP` that no webhook may guard."""
REVIEWS = frozenset((
    ("authentication.k8s.io", "selfsubjectreviews"), ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"), ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"), ("authorization.k8s.io", "subjectaccessreviews"),
))  # fmt: skip
"""(group, plural) of what asks who may what."""
_REVIEWS_LEFT_ALONE = 37
"""From this minor on webhooks are not asked about them."""


class Webhook(Struct, frozen=True):
    """One webhook of a configuration, read once."""

    configuration: str
    name: str
    index: int
    """Its place in the configuration."""
    rules: Sequence[Mapping[str, Any]]
    client: ClientConfig
    namespaces: Selector
    labels: Selector
    equivalent: bool
    """matchPolicy Equivalent: also called for other versions of what its rules name."""
    fails_open: bool
    """failurePolicy Ignore."""
    seconds: float
    side_effects: str
    reinvoked: bool
    """reinvocationPolicy IfNeeded."""
    versions: Sequence[str]
    """Of AdmissionReview."""
    conditions: Sequence[Mapping[str, Any]]
    """matchConditions."""

    @property
    def identity(self) -> tuple[str, ...]:
        return self.configuration, self.name, str(self.index)


def read(configuration: Object) -> tuple[Webhook, ...]:
    """The webhooks of a stored configuration, defaults filled in. Raises ``BadRequest`` for a selector that is none."""
    return tuple(
        _webhook(objects.name(configuration), index, stated)
        for index, stated in enumerate(configuration.get("webhooks") or ())
    )


def _webhook(configuration: str, index: int, stated: Mapping[str, Any]) -> Webhook:
    return Webhook(
        configuration,
        str(stated.get("name") or ""),
        index,
        tuple(stated.get("rules") or ()),
        ClientConfig.of(stated.get("clientConfig") or {}),
        _selector(stated.get("namespaceSelector")),
        _selector(stated.get("objectSelector")),
        (stated.get("matchPolicy") or "Equivalent") == "Equivalent",
        (stated.get("failurePolicy") or "Fail") == "Ignore",
        float(stated.get("timeoutSeconds") or 10),
        str(stated.get("sideEffects") or "Unknown"),
        stated.get("reinvocationPolicy") == "IfNeeded",
        tuple(stated.get("admissionReviewVersions") or ()),
        tuple(stated.get("matchConditions") or ()),
    )


def _selector(stated: Mapping[str, Any] | None) -> Selector:
    return selectors.from_label_selector(stated or {})


def is_exempt(attributes: Attributes, minor: int) -> bool:
    """Whether no webhook is asked about the write, in Kubernetes 1.``minor``."""
    if attributes.group == GROUP:
        return attributes.plural in EXEMPT
    return minor >= _REVIEWS_LEFT_ALONE and attributes.target in REVIEWS


def is_policy(attributes: Attributes) -> bool:
    """Whether an admission policy or a binding of one is written, which no policy is asked about."""
    return attributes.group == GROUP and attributes.plural in POLICIES


def is_review(attributes: Attributes) -> bool:
    """Whether somebody asks who may what: no policy may keep them from that."""
    return attributes.target in REVIEWS


def namespace_of(attributes: Attributes) -> str:
    """The namespace a review names: for a Namespace itself its own name."""
    if attributes.target == ("", "namespaces"):
        return attributes.request_name
    return attributes.namespace


def labels_of_namespace(attributes: Attributes) -> Mapping[str, str] | None:
    """The labels that a namespaceSelector looks at, where the write itself says them: a Namespace that is written."""
    if (
        attributes.target == ("", "namespaces")
        and not attributes.subresource
        and attributes.operation in (CREATE, UPDATE)
    ):
        return objects.labels(attributes.new())
    return None


def matches_labels(selector: Selector, attributes: Attributes) -> bool:
    """objectSelector: the new object or the old one."""
    if selector.everything:
        return True
    return any(
        obj is not None and isinstance(obj.get("metadata"), dict) and selector.matches(objects.labels(obj))
        for obj in (attributes.object, attributes.old_object)
    )


def matched(webhook: Webhook, attributes: Attributes) -> Resource | None:
    """The version in which the webhook sees the object; None where no rule is about the write."""
    return matched_by(webhook.rules, webhook.equivalent, attributes)


def matched_by(
    rules: Sequence[Mapping[str, Any]], equivalent: bool, attributes: Attributes
) -> Resource | None:
    """The version of the object that one of the rules names; None where none is about the write.

    ``equivalent``: other versions than the client's count too.
    """
    asked = attributes.resource
    for rule in rules:
        if _matches(rule, attributes, asked):
            return asked
    if not equivalent:
        return None
    others = equivalents(attributes.kind, asked)
    for rule in rules:
        for other in others:
            if _matches(rule, attributes, other):
                return other
    return None


def equivalents(kind: Kind, asked: Resource) -> list[Resource]:
    """The other groups and versions under which the same object is served."""
    return [resource for resource in kind.served() if resource != asked]


def _matches(rule: Mapping[str, Any], attributes: Attributes, resource: Resource) -> bool:
    return (
        _has(rule.get("operations"), attributes.operation)
        and _has(rule.get("apiGroups"), resource.group)
        and _has(rule.get("apiVersions"), resource.version)
        and _names(rule.get("resources") or (), resource.plural, attributes.subresource)
        and _in_scope(rule.get("scope") or "*", attributes)
    )


def _has(stated: Iterable[str] | None, wanted: str) -> bool:
    return any(each in ("*", wanted) for each in stated or ())


def _names(stated: Iterable[str], plural: str, subresource: str) -> bool:
    for each in stated:
        resource, _, below = each.partition("/")
        if resource in ("*", plural) and below in ("*", subresource):
            return True
    return False


def _in_scope(scope: str, attributes: Attributes) -> bool:
    namespaced = attributes.target != ("", "namespaces") and bool(attributes.namespace)
    match scope:
        case "Namespaced":
            return namespaced
        case "Cluster":
            return not namespaced
    return True
