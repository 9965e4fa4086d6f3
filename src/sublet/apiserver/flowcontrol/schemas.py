"""Which FlowSchema a request belongs to: the first, by matchingPrecedence and name, one of whose rules matches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.kind import Object

_ALL = "*"
_ACCOUNT = "system:serviceaccount:"


class Subjects:
    """Who a rule is about."""

    __slots__ = ("_accounts", "_groups", "_users")

    def __init__(self, subjects: Iterable[Object]) -> None:
        users: set[str] = set()
        groups: set[str] = set()
        accounts: list[str] = []
        for subject in subjects:
            match subject.get("kind"):
                case "User":
                    users.add((subject.get("user") or {}).get("name") or "")
                case "Group":
                    groups.add((subject.get("group") or {}).get("name") or "")
                case "ServiceAccount":
                    account = subject.get("serviceAccount") or {}
                    namespace, name = account.get("namespace") or "", account.get("name") or ""
                    if name == _ALL:
                        accounts.append(f"{_ACCOUNT}{namespace}:")
                    else:
                        users.add(f"{_ACCOUNT}{namespace}:{name}")
        self._users = frozenset(users)
        self._groups = frozenset(groups)
        self._accounts = tuple(accounts)

    def match(self, user: User) -> bool:
        if user.name in self._users or not self._groups.isdisjoint(user.groups):
            return True
        if self._accounts and user.name.startswith(self._accounts):
            return True
        return _ALL in self._users or (_ALL in self._groups and bool(user.groups))


class Rule:
    """Subjects, and what they ask for."""

    __slots__ = ("_paths", "_resources", "_subjects")

    def __init__(self, rule: Object) -> None:
        self._subjects = Subjects(rule.get("subjects") or ())
        self._resources = [_resource_rule(each) for each in rule.get("resourceRules") or ()]
        self._paths = [
            (frozenset(each.get("verbs") or ()), tuple(each.get("nonResourceURLs") or ()))
            for each in rule.get("nonResourceRules") or ()
        ]

    def match(self, user: User, info: RequestInfo) -> bool:
        if not self._subjects.match(user):
            return False
        if info.is_resource:
            return any(_asks(each, info) for each in self._resources)
        return any(
            _has(verbs, info.verb) and any(_path(info.path, url) for url in urls)
            for verbs, urls in self._paths
        )


_Resource = tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str], bool]


def _resource_rule(rule: Object) -> _Resource:
    return (
        frozenset(rule.get("verbs") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("resources") or ()),
        frozenset(rule.get("namespaces") or ()),
        bool(rule.get("clusterScope")),
    )


def _asks(rule: _Resource, info: RequestInfo) -> bool:
    verbs, groups, resources, namespaces, cluster = rule
    if not (_has(verbs, info.verb) and _has(groups, info.api_group)):
        return False
    if not _has(resources, f"{info.resource}/{info.subresource}" if info.subresource else info.resource):
        return False
    return _has(namespaces, info.namespace) if info.namespace else cluster


def _has(values: frozenset[str], value: str) -> bool:
    return _ALL in values or value in values


def _path(path: str, pattern: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith(_ALL) else path == pattern


class FlowSchema:
    """One of them, ready to be matched."""

    def __init__(self, obj: Object) -> None:
        spec: dict[str, Any] = obj.get("spec") or {}
        self.name = objects.name(obj)
        self.uid = objects.uid(obj)
        self.precedence = int(spec.get("matchingPrecedence") or 1000)
        self.level = str((spec.get("priorityLevelConfiguration") or {}).get("name") or "")
        self.distinguisher = str((spec.get("distinguisherMethod") or {}).get("type") or "")
        self._rules = [Rule(rule) for rule in spec.get("rules") or ()]

    def match(self, user: User, info: RequestInfo) -> bool:
        return any(rule.match(user, info) for rule in self._rules)

    def flow(self, user: User, info: RequestInfo) -> str:
        """What keeps the flows of one schema apart: each gets its fair share."""
        if self.distinguisher == "ByUser":
            return user.name
        return info.namespace if self.distinguisher == "ByNamespace" else ""


def in_order(schemas: Iterable[FlowSchema]) -> Sequence[FlowSchema]:
    return sorted(schemas, key=lambda schema: (schema.precedence, schema.name))
