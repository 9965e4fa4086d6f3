"""Who may do what: the chain of authorizers and their answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from sublet.apiserver.authorization.metrics import AuthorizationMetrics
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery.exposition import label_text

MASTERS = "system:masters"
UNAUTHENTICATED = "system:unauthenticated"

Rule = Mapping[str, Any]
"""A PolicyRule."""


class Decision(Struct, frozen=True):
    """``reason`` says why: of an allowance always, of a refusal where there is more to say than "no"."""

    allowed: bool
    reason: str = ""
    denied: bool = False
    """Refused for good: no later authority is asked."""
    error: str = ""
    """What went wrong while it was found out."""


ALLOWED_MASTERS = Decision(True)
REFUSED = Decision(False)


class Authority(Protocol):
    """One link of the chain."""

    def decide(self, user: User, info: RequestInfo) -> Decision | Awaitable[Decision]:
        """Allowed, denied, or no opinion with what stood in the way. Whoever must ask elsewhere is awaited."""
        ...


class Resolved(Struct):
    """The rules of a user, as far as they can be told."""

    rules: list[Rule] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    incomplete: bool = False


class RuleResolver(Protocol):
    """An authority that can tell what a user may, without being asked for each."""

    def resolve(self, user: User, namespace: str) -> Resolved:
        """The rules in a namespace, cluster-wide ones included."""
        ...


class Configured(Struct, frozen=True):
    """An authority as it is configured."""

    authority: Authority
    type: str
    name: str


class Authorizer:
    """Asks its authorities in order; the first that allows or denies decides. ``system:masters`` may do everything."""

    def __init__(
        self,
        authorities: Sequence[Configured] = (),
        fresh: Callable[[], Awaitable[object]] | None = None,
        metrics: AuthorizationMetrics | None = None,
    ) -> None:
        self._fresh = fresh
        self.metrics = metrics or AuthorizationMetrics()
        self.replace(authorities)

    def replace(self, authorities: Sequence[Configured]) -> None:
        """Asks others from now on."""
        self._authorities = tuple((each.authority, _labels(each)) for each in authorities)

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """What those authorities say that need not ask elsewhere: for where nothing can be awaited."""
        if MASTERS in user.groups:
            return ALLOWED_MASTERS
        refused = []
        for authority, labels in self._authorities:
            decision = authority.decide(user, info)
            if not isinstance(decision, Decision):
                _drop(decision)
                continue
            if decision.allowed or decision.denied:
                return self._decided(decision, labels)
            refused.append(decision)
        return _refusal(refused)

    async def decide(self, user: User, info: RequestInfo) -> Decision:
        """What all say; a known user is refused only after every write acknowledged so far was looked at: who was
        granted something a moment ago may use it."""
        decision = await self._decide(user, info)
        if decision.allowed or decision.denied or self._fresh is None or UNAUTHENTICATED in user.groups:
            return decision
        try:
            await self._fresh()
        except TimeoutError:
            return decision
        return await self._decide(user, info)

    async def _decide(self, user: User, info: RequestInfo) -> Decision:
        if MASTERS in user.groups:
            return ALLOWED_MASTERS
        refused = []
        for authority, labels in self._authorities:
            decision = authority.decide(user, info)
            if not isinstance(decision, Decision):
                decision = await decision
            if decision.allowed or decision.denied:
                return self._decided(decision, labels)
            refused.append(decision)
        return _refusal(refused)

    def _decided(self, decision: Decision, labels: tuple[str, str]) -> Decision:
        self.metrics.decisions.add(labels[decision.allowed])
        return decision

    def resolve(self, user: User, namespace: str) -> Resolved:
        """All rules that a user holds in a namespace, as far as its authorities can tell."""
        found = Resolved()
        for authority, _ in self._authorities:
            resolve = getattr(authority, "resolve", None)
            if resolve is not None:
                part: Resolved = resolve(user, namespace)
                found.rules += part.rules
                found.errors += part.errors
                found.incomplete |= part.incomplete
        return found


def _labels(configured: Configured) -> tuple[str, str]:
    """Of its decisions in metrics: (denied, allowed)."""
    denied, allowed = (
        label_text((("decision", decision), ("name", configured.name), ("type", configured.type)))
        for decision in ("denied", "allowed")
    )
    return denied, allowed


def _refusal(decisions: Sequence[Decision]) -> Decision:
    """What several refusals say together."""
    reasons = "\n".join(each.reason for each in decisions if each.reason)
    errors = list(dict.fromkeys(each.error for each in decisions if each.error))
    if not reasons and not errors:
        return REFUSED
    return Decision(False, reasons, error=f"[{', '.join(errors)}]" if len(errors) > 1 else "".join(errors))


def _drop(unasked: Awaitable[Decision]) -> None:
    """Ends a coroutine that nobody will await."""
    close = getattr(unasked, "close", None)
    if close is not None:
        close()


class AlwaysAllow:
    """Everybody may do everything."""

    def decide(self, user: User, info: RequestInfo) -> Decision:
        return Decision(True)

    def resolve(self, user: User, namespace: str) -> Resolved:
        return Resolved([
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ])  # fmt: skip


class AlwaysDeny:
    """Nobody may do anything that no other authority allows."""

    def decide(self, user: User, info: RequestInfo) -> Decision:
        return Decision(False, "Everything is forbidden.")


def permission(
    verb: str, group: str, resource: str, *, namespace: str = "", name: str = "", subresource: str = ""
) -> RequestInfo:
    """What to ask the authorizer about, when it is not the request itself."""
    return RequestInfo(verb, "", True, group, "*", namespace, resource, subresource, name)
