"""Authorization by a file of policies, one JSON document a line (``--authorization-mode=ABAC``).

Source: the Kubernetes documentation, "Using ABAC Authorization".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from sublet.apiserver.authorization.authorizer import Decision, Resolved
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery import codec
from sublet.machinery.settings import ConfigurationError, parse

VERSION = "abac.authorization.kubernetes.io/v1beta1"
_AUTHENTICATED = "system:authenticated"
_READING = ("get", "list", "watch")
_ALLOWED = Decision(True)
_NO_POLICY = Decision(False, "No policy matched.")


class Policy(Struct, frozen=True):
    """What one line grants; ``*`` stands for all, empty for none."""

    user: str = ""
    group: str = ""
    readonly: bool = False
    api_group: str = ""
    resource: str = ""
    namespace: str = ""
    non_resource_path: str = ""

    def is_for(self, user: User) -> bool:
        if not self.user and not self.group:
            return False
        named = self.user in ("", "*", user.name)
        return named and (self.group in ("", "*") or self.group in user.groups)

    def grants(self, info: RequestInfo) -> bool:
        if self.readonly and info.verb not in _READING:
            return False
        if info.is_resource:
            return (
                self.namespace in ("*", info.namespace)
                and self.resource in ("*", info.resource)
                and self.api_group in ("*", info.api_group)
            )
        wanted = self.non_resource_path
        if wanted in ("*", info.path):
            return True
        return wanted.endswith("*") and info.path.startswith(wanted.rstrip("*"))


class ABAC:
    """Allows what some policy grants."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policies)

    def decide(self, user: User, info: RequestInfo) -> Decision:
        allowed = any(policy.is_for(user) and policy.grants(info) for policy in self._policies)
        return _ALLOWED if allowed else _NO_POLICY

    def resolve(self, user: User, namespace: str) -> Resolved:
        found = Resolved()
        for policy in self._policies:
            if not policy.is_for(user) or policy.namespace not in ("*", namespace):
                continue
            verbs = list(_READING) if policy.readonly else ["*"]
            if policy.resource:
                rule = {"verbs": verbs, "apiGroups": [policy.api_group], "resources": [policy.resource]}
                found.rules.append(rule)
            if policy.non_resource_path:
                found.rules.append({"verbs": verbs, "nonResourceURLs": [policy.non_resource_path]})
        return found


def load(path: Path) -> list[Policy]:
    """The policies of a file. Raises :class:`ConfigurationError` that names the line."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"error reading policy file {path}: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.strip().startswith("#"):
            try:
                found.append(_policy(codec.decode_json(line.encode())))
            except ValueError as error:
                raise ConfigurationError(
                    f"error reading policy file {path}, line {number}: {line}: {error}"
                ) from None
    return found


def _policy(document: Any) -> Policy:
    if not isinstance(document, Mapping):
        raise ConfigurationError("a policy must be a JSON object")
    if not document.get("kind") and not document.get("apiVersion"):
        return _unversioned(parse(Policy, document))
    if (document.get("apiVersion"), document.get("kind")) != (VERSION, "Policy"):
        raise ConfigurationError(f"must be a Policy of {VERSION}")
    return parse(Policy, document.get("spec"))


def _unversioned(stated: Policy) -> Policy:
    """Lines of old times: what they leave empty stands for all."""
    everybody = "*" in (stated.user, stated.group) or not (stated.user or stated.group)
    return Policy(
        "" if everybody else stated.user,
        _AUTHENTICATED if everybody else stated.group,
        stated.readonly,
        "*",
        stated.resource or "*",
        stated.namespace or "*",
        "" if stated.namespace or stated.resource else "*",
    )
