"""Affinity and spreading of tenant pods among the copies of this tenant's pods."""

from __future__ import annotations

from typing import Any

from sublet.machinery.kind import Object
from sublet.syncer.mapping import Mapping


def translate(spec: Object, namespace: str, mapping: Mapping) -> None:
    """Changes the pod spec in place."""
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            _term(term, namespace, mapping)
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            _term(weighted["podAffinityTerm"], namespace, mapping)
    for constraint in spec.get("topologySpreadConstraints") or ():
        _match_keys(constraint, mapping)
        if constraint.get("labelSelector") is not None:
            selector = mapping.label_selector(constraint["labelSelector"])
            constraint["labelSelector"] = _within(selector, [namespace], mapping)


def _term(term: Object, namespace: str, mapping: Mapping) -> None:
    namespaces = list(term.pop("namespaces", None) or ())
    among = term.pop("namespaceSelector", None)
    _match_keys(term, mapping)
    if term.get("labelSelector") is None:
        return  # selects nothing, here as there
    selector = mapping.label_selector(term["labelSelector"])
    if among is None:
        term["labelSelector"] = _within(selector, namespaces or [namespace], mapping)
        return
    selector = _within(selector, [], mapping)
    expressions = selector.setdefault("matchExpressions", [])
    # Both given means either: only a list of names can be said in one selector, so the labels count.
    for key, value in (among.get("matchLabels") or {}).items():
        expressions.append({"key": mapping.namespace_label_key(key), "operator": "In", "values": [value]})
    for each in among.get("matchExpressions") or ():
        expressions.append({**each, "key": mapping.namespace_label_key(each["key"])})
    if not expressions:
        del selector["matchExpressions"]
    term["labelSelector"] = selector


def _within(selector: dict[str, Any], namespaces: list[str], mapping: Mapping) -> dict[str, Any]:
    """The selector, for this tenant's pods in these namespaces (empty: in all)."""
    names = mapping.names
    labels = {**selector.get("matchLabels", {}), names.managed_by: mapping.tenant}
    if len(namespaces) == 1:
        labels[names.namespace] = namespaces[0]
    found = {**selector, "matchLabels": labels}
    if len(namespaces) > 1:
        found["matchExpressions"] = [
            *selector.get("matchExpressions", []),
            {"key": names.namespace, "operator": "In", "values": namespaces},
        ]
    return found


def _match_keys(term: Object, mapping: Mapping) -> None:
    """Keys that the tenant's API server has merged into the selector go: the host's would merge them again, and refuse."""
    expressions = (term.get("labelSelector") or {}).get("matchExpressions") or ()
    merged = {expression.get("key") for expression in expressions}
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        keys = [mapping.label_key(key) for key in term.pop(field, None) or () if key not in merged]
        if keys:
            term[field] = keys


def merged_tolerations(host: list[Any], tenant: list[Any]) -> list[Any]:
    """The host's and whatever the tenant has besides."""
    return [*host, *(each for each in tenant if each not in host)]
