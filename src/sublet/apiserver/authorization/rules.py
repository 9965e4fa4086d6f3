"""PolicyRules: compiled for matching, compared for covering, and written as text. Pure.

Source: reference/kubernetes-api.md B.15; the RBAC documentation, "Referring to resources".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sublet.apiserver.authorization.authorizer import Rule
from sublet.apiserver.requestinfo import RequestInfo


class CompiledRule:
    """One rule, ready to be asked many times."""

    __slots__ = ("_all_groups", "_all_resources", "_all_verbs", "_groups", "_names", "_prefixes",
                 "_resources", "_subresources", "_urls", "_verbs")  # fmt: skip

    def __init__(self, rule: Rule) -> None:
        self._verbs = frozenset(rule.get("verbs") or ())
        self._all_verbs = "*" in self._verbs
        self._groups = frozenset(rule.get("apiGroups") or ())
        self._all_groups = "*" in self._groups
        self._resources = frozenset(rule.get("resources") or ())
        self._all_resources = "*" in self._resources
        self._subresources = frozenset(r[2:] for r in self._resources if r.startswith("*/"))
        self._names = frozenset(rule.get("resourceNames") or ())
        self._urls = frozenset(rule.get("nonResourceURLs") or ())
        self._prefixes = tuple(url[:-1] for url in self._urls if url.endswith("*"))

    def allows(self, info: RequestInfo) -> bool:
        if not (self._all_verbs or info.verb in self._verbs):
            return False
        if not info.is_resource:
            return info.path in self._urls or (bool(self._prefixes) and info.path.startswith(self._prefixes))
        if not (self._all_groups or info.api_group in self._groups):
            return False
        if self._names and info.name not in self._names:
            return False
        if self._all_resources:
            return True
        if not info.subresource:
            return info.resource in self._resources
        if info.subresource in self._subresources:
            return True
        return f"{info.resource}/{info.subresource}" in self._resources


def compile_rules(rules: Iterable[Rule] | None) -> tuple[CompiledRule, ...]:
    return tuple(CompiledRule(rule) for rule in rules or ())


def uncovered(held: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The atoms of ``wanted`` (one verb on one resource, name or URL each) that no rule of ``held`` covers."""
    return [atom for rule in wanted for atom in _atoms(rule) if not any(_covers(h, atom) for h in held)]


def _atoms(rule: Rule) -> Iterator[Rule]:
    for verb in rule.get("verbs") or ():
        for url in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [url]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                atom: dict[str, Any] = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                if not rule.get("resourceNames"):
                    yield atom
                for name in rule.get("resourceNames") or ():
                    yield {**atom, "resourceNames": [name]}


def _covers(held: Rule, atom: Rule) -> bool:
    if not _has(held.get("verbs"), atom["verbs"][0]):
        return False
    if "nonResourceURLs" in atom:
        return any(_covers_url(url, atom["nonResourceURLs"][0]) for url in held.get("nonResourceURLs") or ())
    if not _has(held.get("apiGroups"), atom["apiGroups"][0]):
        return False
    resource: str = atom["resources"][0]
    resources = held.get("resources") or ()
    if not (_has(resources, resource) or ("/" in resource and "*/" + resource.split("/", 1)[1] in resources)):
        return False
    names = held.get("resourceNames") or ()
    return not names or ("resourceNames" in atom and atom["resourceNames"][0] in names)


def _has(held: Sequence[str] | None, value: str) -> bool:
    return held is not None and ("*" in held or value in held)


def _covers_url(held: str, url: str) -> bool:
    return held in ("*", url) or (held.endswith("*") and url.startswith(held[:-1]))


def compact(rules: Iterable[Rule]) -> list[str]:
    """Rules as upstream writes them in messages, those on one resource joined by their verbs; sorted."""
    joined: dict[str, list[str]] = {}
    alone: list[str] = []
    for rule in rules:
        head = ", ".join(f"{title}:{_listed(rule[name])}" for name, title in _TITLES if rule.get(name))
        verbs = rule.get("verbs") or ()
        if rule.get("nonResourceURLs"):
            alone.append(_written(head, verbs))
        else:
            joined.setdefault(head, []).extend(verbs)
    return sorted({*alone, *(_written(head, verbs) for head, verbs in joined.items())})


_TITLES = (
    ("apiGroups", "APIGroups"), ("resources", "Resources"), ("nonResourceURLs", "NonResourceURLs"),
    ("resourceNames", "ResourceNames"),
)  # fmt: skip


def _written(head: str, verbs: Sequence[str]) -> str:
    return f"{{{head}, Verbs:{_listed(verbs)}}}"


def _listed(values: Sequence[str]) -> str:
    """As Go prints a slice of quoted strings."""
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
