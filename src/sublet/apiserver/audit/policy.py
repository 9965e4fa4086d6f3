"""The audit policy: which requests are logged, and how much of them (audit.k8s.io/v1, kind Policy)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sublet.apiserver.configurationfiles import check_type, load_file
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery.settings import ConfigurationError, parse

NONE, METADATA, REQUEST, REQUEST_RESPONSE = range(4)
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)
API_VERSION = "audit.k8s.io/v1"


class GroupResources(Struct, frozen=True):
    group: str = ""
    resources: tuple[str, ...] = ()
    """``pods``, ``pods/log``, ``pods/*``, ``*/status``, ``*``; empty: all of the group."""
    resource_names: tuple[str, ...] = ()

    def matches(self, info: RequestInfo) -> bool:
        if self.group != info.api_group:
            return False
        if not self.resources:
            return True
        if self.resource_names and info.name not in self.resource_names:
            return False
        plural, part = info.resource, info.subresource
        whole = f"{plural}/{part}" if part else plural
        return any(
            each in (whole, "*", f"{plural}/*") or (part and each == f"*/{part}") for each in self.resources
        )


class Rule(Struct, frozen=True):
    level: str = ""
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    """The empty string stands for what has no namespace."""
    non_resource_urls: tuple[str, ...] = field(default=(), name="nonResourceURLs")
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    def matches(self, user: User, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.user_groups and not any(group in self.user_groups for group in user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._matches_resource(info)
        if self.non_resource_urls:
            return not info.is_resource and any(
                _path_matches(info.path, url) for url in self.non_resource_urls
            )
        return True

    def _matches_resource(self, info: RequestInfo) -> bool:
        if not info.is_resource or (self.namespaces and info.namespace not in self.namespaces):
            return False
        return not self.resources or any(each.matches(info) for each in self.resources)


class _Document(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False


class Decision(Struct, frozen=True):
    """How much of one request is logged."""

    level: int
    omitted: frozenset[str] = frozenset()
    """Stages without an event."""
    omit_managed_fields: bool = False


_NOTHING = Decision(NONE)


class Policy:
    """The first rule that matches a request decides; without one it is not logged."""

    def __init__(self, rules: Sequence[Rule], omit_stages: Sequence[str], omit_managed_fields: bool) -> None:
        self._rules = [
            (
                rule,
                Decision(
                    LEVELS.index(rule.level),
                    frozenset((*omit_stages, *rule.omit_stages)),
                    omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields,
                ),
            )
            for rule in rules
        ]

    def decide(self, user: User, info: RequestInfo) -> Decision:
        for rule, decision in self._rules:
            if rule.matches(user, info):
                return decision
        return _NOTHING


def load(path: Path) -> Policy:
    """The policy in a file. Raises :class:`ConfigurationError`, which names the file and what is wrong in it."""
    return load_file(path, "the audit policy", parse_policy)


def parse_policy(document: Any) -> Policy:
    """Raises :class:`ConfigurationError`."""
    stated = parse(_Document, document)
    check_type((stated.api_version, stated.kind), (API_VERSION, "Policy"))
    if not stated.rules:
        raise ConfigurationError("it has 0 rules: nothing would ever be logged")
    _check_stages(stated.omit_stages, "omitStages")
    for index, rule in enumerate(stated.rules):
        _check_rule(rule, f"rules[{index}]")
    return Policy(stated.rules, stated.omit_stages, stated.omit_managed_fields)


def _check_rule(rule: Rule, where: str) -> None:
    if rule.level not in LEVELS:
        raise ConfigurationError(f"{where}.level must be one of {', '.join(LEVELS)}, not {rule.level!r}")
    if rule.non_resource_urls and (rule.resources or rule.namespaces):
        raise ConfigurationError(
            f"{where}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
        )
    for url in rule.non_resource_urls:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise ConfigurationError(
                f"{where}.nonResourceURLs: {url!r} must begin with '/', and '*' may only be its last character"
            )
    for group in rule.resources:
        if "/" in group.group:
            raise ConfigurationError(f"{where}.resources: the group {group.group!r} must not hold a version")
        if group.resource_names and not group.resources:
            raise ConfigurationError(
                f"{where}.resources.resourceNames: using resourceNames requires at least one resource"
            )
    _check_stages(rule.omit_stages, f"{where}.omitStages")


def _check_stages(stages: Sequence[str], where: str) -> None:
    for stage in stages:
        if stage not in STAGES:
            raise ConfigurationError(f"{where} must be of {', '.join(STAGES)}, not {stage!r}")


def _path_matches(path: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern.rstrip("*"))
    return path == pattern
