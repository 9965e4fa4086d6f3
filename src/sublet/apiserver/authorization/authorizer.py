"""Who may do what: the chain of authorizers and their answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User

MASTERS = "system:masters"
UNAUTHENTICATED = "system:unauthenticated"

Rule = Mapping[str, Any]
"""A PolicyRule."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``reason`` says why: of an allowance always, of a refusal where there is more to say than "no"."""

    allowed: bool
    reason: str = ""


ALLOWED_MASTERS = Decision(True)
REFUSED = Decision(False)


class Authority(Protocol):
    """One link of the chain."""

    def decide(self, user: User, info: RequestInfo) -> Decision:
        """Allowed, or no opinion (``allowed`` False) with what stood in the way."""
        ...


class RuleSource(Protocol):
    def rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """(all rules a user holds in a namespace, cluster-wide ones included; errors met)."""
        ...


class Authorizer:
    """Asks its authorities in order; the first that allows, allows. ``system:masters`` may do everything."""

    def __init__(
        self,
        authorities: Sequence[Authority],
        rules: RuleSource,
        fresh: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._authorities = tuple(authorities)
        self._rules = rules
        self._fresh = fresh

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        if MASTERS in user.groups:
            return ALLOWED_MASTERS
        reasons = []
        for authority in self._authorities:
            decision = authority.decide(user, info)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, ", ".join(reasons)) if reasons else REFUSED

    async def decide(self, user: User, info: RequestInfo) -> Decision:
        """As :meth:`authorize`, but a known user is refused only after every write acknowledged so far was looked at:
        who was granted something a moment ago may use it."""
        decision = self.authorize(user, info)
        if decision.allowed or self._fresh is None or UNAUTHENTICATED in user.groups:
            return decision
        try:
            await self._fresh()
        except TimeoutError:
            return decision
        return self.authorize(user, info)

    def rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that a user holds in a namespace (``""``: cluster-wide only), and errors met on the way."""
        if MASTERS in user.groups:
            everything: list[Rule] = [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]
            return everything, []
        return self._rules.rules(user, namespace)


def permission(
    verb: str, group: str, resource: str, *, namespace: str = "", name: str = "", subresource: str = ""
) -> RequestInfo:
    """What to ask the authorizer about, when it is not the request itself."""
    return RequestInfo(verb, "", True, group, "*", namespace, resource, subresource, name)
