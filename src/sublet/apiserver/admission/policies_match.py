"""Which writes an admission policy or its binding concerns, and with which parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from sublet.apiserver import stored
from sublet.apiserver.admission import webhookrules
from sublet.apiserver.admission.framework import Attributes
from sublet.apiserver.registry import Registry
from sublet.machinery import objects, selectors
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.selectors import Selector

NamespaceLabels = Callable[[], Mapping[str, str]]


class ConfigurationError(ValueError):
    """A policy (``bound`` false) or its binding cannot be evaluated for this write; ``str()`` is upstream's text."""

    def __init__(self, why: str, *, bound: bool = True) -> None:
        super().__init__(f"failed to configure {'binding' if bound else 'policy'}: {why}")
        self.bound = bound


class Match(Struct, frozen=True):
    """MatchResources of a policy or a binding."""

    rules: Sequence[Mapping[str, Any]] | None
    """None: everything (a binding that says nothing)."""
    excluded: Sequence[Mapping[str, Any]]
    equivalent: bool
    namespaces: Selector
    labels: Selector

    @classmethod
    def of(cls, stated: Mapping[str, Any] | None) -> Match | None:
        if stated is None:
            return None
        return cls(
            stated.get("resourceRules"),
            stated.get("excludeResourceRules") or (),
            (stated.get("matchPolicy") or "Equivalent") == "Equivalent",
            selectors.from_label_selector(stated.get("namespaceSelector") or {}),
            selectors.from_label_selector(stated.get("objectSelector") or {}),
        )

    def resource(self, attributes: Attributes, labels: NamespaceLabels) -> Resource | None:
        """The version in which the object is wanted; None where it is not."""
        if not webhookrules.matches_labels(self.labels, attributes):
            return None
        if self.excluded and self._by(self.excluded, attributes) is not None:
            return None
        found = attributes.resource if not self.rules else self._by(self.rules, attributes)
        if found is None:
            return None
        if not self.namespaces.everything and webhookrules.namespace_of(attributes):
            return found if self.namespaces.matches(labels()) else None
        return found

    def _by(self, rules: Sequence[Mapping[str, Any]], attributes: Attributes) -> Resource | None:
        named = [
            r for r in rules if not r.get("resourceNames") or attributes.request_name in r["resourceNames"]
        ]
        return webhookrules.matched_by(named, self.equivalent, attributes)


ParamKind = tuple[Kind, Resource]


def param_kind(registry: Registry, stated: Mapping[str, Any]) -> ParamKind:
    """What a policy's paramKind names. Raises :class:`ConfigurationError`."""
    group, _, version = str(stated.get("apiVersion") or "").rpartition("/")
    found = registry.kinds.by_kind(group, str(stated.get("kind")), version)
    if found is None:
        named = f"{stated.get('apiVersion')}, Kind={stated.get('kind')}"
        raise ConfigurationError(f"failed to find resource referenced by paramKind: '{named}'", bound=False)
    return found


def params(registry: Registry, kind: ParamKind, reference: Mapping[str, Any], namespace: str) -> list[Object]:
    """The objects a binding's paramRef names, empty where that is allowed. Raises :class:`ConfigurationError`."""
    found = _named(registry, kind, reference, namespace)
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


def _named(registry: Registry, kind: ParamKind, reference: Mapping[str, Any], namespace: str) -> list[Object]:
    stored_kind, resource = kind
    where = str(reference.get("namespace") or "")
    if resource.namespaced:
        where = where or namespace
        if not where:
            raise ConfigurationError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif where:
        raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    cache = registry.cache(stored_kind)
    name = str(reference.get("name") or "")
    if name:
        entry = cache.get(stored.key(stored_kind.resource, where, name))
        return [] if entry is None else [_shown(entry.object, resource)]
    selector = selectors.from_label_selector(reference.get("selector"))
    prefix = stored.key_prefix(stored_kind.resource) + (f"{where}/" if where else "")
    return [
        _shown(entry.object, resource)
        for entry in cache.entries(prefix)
        if selector.matches(objects.labels(entry.object))
    ]


def _shown(obj: Object, resource: Resource) -> Object:
    return {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
