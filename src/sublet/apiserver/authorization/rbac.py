"""Role-based access control over the Role, ClusterRole, RoleBinding and ClusterRoleBinding objects.

Roles are compiled and bindings indexed by subject as they change; decisions are remembered until the next change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from sublet.apiserver.authorization.authorizer import REFUSED, Decision, Resolved, Rule
from sublet.apiserver.authorization.rules import CompiledRule, compile_rules
from sublet.apiserver.follower import CatchUp
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.watchcache import WatchCaches
from sublet.client.exchange import User
from sublet.machinery.kind import Object

GROUP = "rbac.authorization.k8s.io"
_DECISIONS = 4096
"""Remembered decisions; all are dropped beyond it."""

Subject = tuple[str, str]
"""("User" | "Group", name); ServiceAccounts are users by their full name."""
RoleKey = tuple[str, str]
"""(namespace or "" of a ClusterRole, name)."""


_KEEP_UP_SECONDS = 0.5


class _Grant(Struct, frozen=True):
    """One subject of one binding."""

    namespace: str
    """Of a RoleBinding; ``""``: everywhere."""
    role: RoleKey
    order: tuple[str, str]
    binding: str
    """As a reason text names it, without the subject."""
    subject: str


class _Role(Struct, frozen=True):
    rules: tuple[Rule, ...]
    compiled: tuple[CompiledRule, ...]


class RBAC:
    """Follows the watch caches by itself, from the first decision on."""

    def __init__(self, caches: WatchCaches) -> None:
        self._roles: dict[RoleKey, _Role] = {}
        self._by_binding: dict[str, list[tuple[Subject, _Grant]]] = {}
        self._grants: dict[Subject, list[_Grant]] = {}
        self._decisions: dict[tuple[Any, ...], Decision] = {}
        self._keeping_up: asyncio.Task[None] | None = None
        self._followers = [
            CatchUp(caches.cache(f"/registry/{GROUP}/{plural}/"), change, reset)
            for plural, change, reset in (
                ("clusterroles", self._role_changed, lambda: self._forget_roles(cluster=True)),
                ("roles", self._role_changed, lambda: self._forget_roles(cluster=False)),
                ("clusterrolebindings", self._binding_changed, lambda: self._forget("clusterrolebindings")),
                ("rolebindings", self._binding_changed, lambda: self._forget("rolebindings")),
            )
        ]

    def start(self) -> None:
        """Reads what there is, so that the first decision need not. The watch caches must be started."""
        self._catch_up()
        self._keeping_up = asyncio.create_task(self._keep_up(), name="rbac")

    async def stop(self) -> None:
        if self._keeping_up is not None:
            self._keeping_up.cancel()
            await asyncio.gather(self._keeping_up, return_exceptions=True)
            self._keeping_up = None
        for follower in self._followers:
            follower.stop()

    async def _keep_up(self) -> None:
        """Where nobody asks for long, thousands of bindings must not wait for who asks next."""
        while True:
            await asyncio.sleep(_KEEP_UP_SECONDS)
            self._catch_up()

    def _catch_up(self) -> None:
        for follower in self._followers:
            follower.catch_up()

    def decide(self, user: User, info: RequestInfo) -> Decision:
        self._catch_up()
        if info.is_resource:
            key: tuple[Any, ...] = (
                user.name, user.groups, info.verb, info.api_group, info.resource, info.subresource,
                info.namespace, info.name,
            )  # fmt: skip
        else:
            key = (user.name, user.groups, info.verb, info.path)
        found = self._decisions.get(key)
        if found is None:
            if len(self._decisions) >= _DECISIONS:
                self._decisions.clear()
            found = self._decisions[key] = self._decide(user, info)
        return found

    def _decide(self, user: User, info: RequestInfo) -> Decision:
        missing = []
        for grant in self._held(user, info.namespace if info.is_resource else ""):
            role = self._roles.get(grant.role)
            if role is None:
                missing.append(_missing(grant.role))
                continue
            for rule in role.compiled:
                if rule.allows(info):
                    return Decision(True, f"RBAC: allowed by {grant.binding} to {grant.subject}")
        if missing:
            return Decision(False, "RBAC: " + _aggregated(missing))
        return REFUSED

    def rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that a user holds in a namespace, and what could not be resolved."""
        self._catch_up()
        found: list[Rule] = []
        errors: list[str] = []
        for grant in self._held(user, namespace):
            role = self._roles.get(grant.role)
            if role is None:
                errors.append(_missing(grant.role))
            else:
                found.extend(role.rules)
        return found, errors

    def resolve(self, user: User, namespace: str) -> Resolved:
        """As the authorizer wants it; what cannot be resolved makes it no less complete, as upstream."""
        rules, errors = self.rules(user, namespace)
        return Resolved(rules, [_aggregated(errors)] if errors else [])

    def role_rules(self, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a Role, or of a ClusterRole when ``namespace`` is empty; None where there is none."""
        self._catch_up()
        role = self._roles.get((namespace, name))
        return None if role is None else role.rules

    def _held(self, user: User, namespace: str) -> Iterator[_Grant]:
        """The grants that reach a user in a namespace: cluster-wide ones first, each in order of name."""
        subjects: list[Subject] = [("User", user.name), *(("Group", group) for group in user.groups)]
        grants = [
            grant
            for subject in subjects
            for grant in self._grants.get(subject, ())
            if not grant.namespace or grant.namespace == namespace
        ]
        grants.sort(key=lambda grant: grant.order)
        return iter(grants)

    # -- changes --

    def _role_changed(self, key: str, role: Object | None) -> None:
        place = _place(key)
        self._decisions.clear()
        if role is None:
            self._roles.pop(place, None)
        else:
            rules = tuple(role.get("rules") or ())
            self._roles[place] = _Role(rules, compile_rules(rules))

    def _forget_roles(self, *, cluster: bool) -> None:
        self._decisions.clear()
        self._roles = {key: role for key, role in self._roles.items() if (not key[0]) != cluster}

    def _binding_changed(self, key: str, binding: Object | None) -> None:
        self._decisions.clear()
        self._unbind(key)
        if binding is None:
            return
        granted = self._by_binding[key] = list(_grants(*_place(key), binding))
        for subject, grant in granted:
            self._grants.setdefault(subject, []).append(grant)

    def _unbind(self, key: str) -> None:
        for subject, grant in self._by_binding.pop(key, ()):
            left = self._grants[subject]
            left.remove(grant)
            if not left:
                del self._grants[subject]

    def _forget(self, plural: str) -> None:
        self._decisions.clear()
        for key in [key for key in self._by_binding if key.split("/")[3] == plural]:
            self._unbind(key)


def _place(key: str) -> RoleKey:
    """(namespace or "", name) of ``/registry/GROUP/PLURAL/[NAMESPACE/]NAME``."""
    parts = key.split("/")
    return (parts[4], parts[5]) if len(parts) > 5 else ("", parts[4])


def _grants(namespace: str, name: str, binding: Object) -> Iterator[tuple[Subject, _Grant]]:
    reference = binding.get("roleRef") or {}
    kind, role = reference.get("kind", ""), reference.get("name", "")
    if namespace:
        text = f'RoleBinding "{name}/{namespace}" of {kind} "{role}"'
    else:
        text = f'ClusterRoleBinding "{name}" of {kind} "{role}"'
    where = (namespace if kind == "Role" else "", role)
    for each in binding.get("subjects") or ():
        subject, shown = _subject(each, namespace)
        yield subject, _Grant(namespace, where, (namespace, name), text, shown)


def _subject(each: Object, namespace: str) -> tuple[Subject, str]:
    kind, name = each.get("kind", ""), each.get("name", "")
    if kind == "ServiceAccount":
        where = each.get("namespace") or namespace
        return ("User", f"system:serviceaccount:{where}:{name}"), f'ServiceAccount "{name}/{where}"'
    return (kind, name), f'{kind} "{name}"'


def _missing(role: RoleKey) -> str:
    kind = "role" if role[0] else "clusterrole"
    return f'{kind}.{GROUP} "{role[1]}" not found'


def _aggregated(errors: list[str]) -> str:
    unique = list(dict.fromkeys(errors))
    return unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
