"""Lets those who may act as another user (``Impersonate-User`` and its companions).

Kubernetes 1.36 asks first for narrow rights: ``impersonate:MODE`` for whom, and ``impersonate-on:MODE:VERB`` for what is
done as that user; then for ``impersonate``, which allows everything the other may (KEP-5284).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver.authentication.authenticator import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from sublet.apiserver.authentication.userinfo import is_on_node, service_account
from sublet.apiserver.authorization.authorizer import MASTERS, Authorizer, Decision
from sublet.apiserver.authorization.denial import denial, quoted
from sublet.apiserver.chain import Proceed
from sublet.apiserver.filters.impersonationmetrics import ImpersonationMetrics
from sublet.apiserver.headerrules import unescaped, utf8
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response, User
from sublet.machinery import names
from sublet.machinery.clock import Clock
from sublet.machinery.status import BadRequest, StatusError

_EXTRA = "impersonate-extra-"
_NODE = "system:node:"
_NODES = "system:nodes"
_NODE_KEYS = "authentication.kubernetes.io/associated-node-keys"
_GROUP = "authentication.k8s.io"
_LEGACY = "legacy"
"""How metrics call the wide right."""
_MANY = 4
"""From so many groups or values on, a narrow mode first asks for all at once."""
_domain_path = re.compile(r"[a-z0-9.-]+/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+").fullmatch


class Wanted(Struct, frozen=True):
    """Whom a request wants to be, as its headers say."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] | None = None

    @property
    def only_name(self) -> bool:
        return not (self.uid or self.groups or self.extra)


class Impersonate:
    """``constrained``: whether the narrow rights count (Kubernetes 1.36)."""

    def __init__(self, authorizer: Authorizer, clock: Clock, *, constrained: bool = True) -> None:
        self._authorizer = authorizer
        self._clock = clock
        self.metrics = ImpersonationMetrics()
        self._constrained = constrained

    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        wanted = _wanted(request)
        if wanted is None:
            return await proceed(request)
        asker = request.user
        assert asker is not None
        begun = self._clock.monotonic()
        mode: str | None = None
        try:
            user, mode = await self._as(asker, wanted, request.context["info"])
        finally:
            shown = _LEGACY if mode == "" else mode
            self.metrics.attempted(shown, self._clock.monotonic() - begun)
        request.context["impersonator"] = asker
        request.context["impersonation_constraint"] = f"impersonate:{mode}" if mode else ""
        request.user = user
        return await proceed(request)

    async def _as(self, asker: User, wanted: Wanted, info: RequestInfo) -> tuple[User, str]:
        """(who the request now is, the mode that allowed it). Raises what the first mode says."""
        first: StatusError | None = None
        for mode in self._modes(asker, wanted):
            checked = _unbound(asker) if mode == "associated-node" else asker
            try:
                if mode:
                    await self._check(checked, replace(info, verb=f"impersonate-on:{mode}:{info.verb}"))
                return await self._user(checked, wanted, mode), mode
            except StatusError as error:
                first = first or error
        assert first is not None
        raise first

    def _modes(self, asker: User, wanted: Wanted) -> Iterator[str]:
        """The narrow modes that fit, then ``""`` for the wide right."""
        node, account = _node(wanted.name), service_account(wanted.name)
        if self._constrained:
            if node and wanted.only_name:
                if is_on_node(asker, node):
                    yield "associated-node"
                yield "arbitrary-node"
            elif account and wanted.only_name:
                yield "serviceaccount"
            elif not node and not account:
                yield "user-info"
        yield ""

    async def _user(self, asker: User, wanted: Wanted, mode: str) -> User:
        verb = f"impersonate:{mode}" if mode else "impersonate"
        group = _GROUP if mode else ""
        groups = wanted.groups
        node, account = _node(wanted.name), service_account(wanted.name)
        if mode.endswith("node"):
            groups = (_NODES,)
            name = "*" if mode == "associated-node" else node
            await self._check(asker, _asked(verb, group, "nodes", name))
        elif account:
            namespace, name = account
            groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
            await self._check(asker, _asked(verb, group, "serviceaccounts", name, namespace=namespace))
        else:
            await self._check(asker, _asked(verb, group, "users", wanted.name))
        if wanted.uid:
            await self._check(asker, _asked(verb, _GROUP, "uids", wanted.uid))
        await self._groups(asker, wanted.groups, verb, group, narrow=bool(mode))
        await self._extra(asker, wanted.extra or {}, verb, narrow=bool(mode))
        return User(wanted.name, _completed(wanted.name, groups), wanted.uid, dict(wanted.extra or {}))

    async def _groups(
        self, asker: User, groups: Sequence[str], verb: str, api_group: str, *, narrow: bool
    ) -> None:
        if narrow and "" in groups:
            why = "impersonating the empty string group is not allowed"
            raise denial(asker, _asked(verb, api_group, "groups", ""), why)
        if narrow and MASTERS in groups:
            why = f"impersonating the {MASTERS} group is not allowed"
            raise denial(asker, _asked(verb, api_group, "groups", MASTERS), why)
        if narrow and len(groups) >= _MANY and await self._may(asker, _asked(verb, api_group, "groups", "*")):
            return
        for group in groups:
            await self._check(asker, _asked(verb, api_group, "groups", group))

    async def _extra(
        self, asker: User, extra: Mapping[str, Sequence[str]], verb: str, *, narrow: bool
    ) -> None:
        if narrow and (why := _bad_extra(extra)):
            raise denial(asker, _asked(verb, _GROUP, "userextras", ""), why)
        many = len(extra) >= _MANY or sum(map(len, extra.values())) >= _MANY
        if narrow and many and await self._may(asker, _asked(verb, _GROUP, "userextras", "*", "*")):
            return
        for key, values in extra.items():
            for value in values:
                await self._check(asker, _asked(verb, _GROUP, "userextras", value, key))

    async def _may(self, asker: User, check: RequestInfo) -> bool:
        return (await self._decide(asker, check)).allowed

    async def _check(self, asker: User, check: RequestInfo) -> None:
        decision = await self._decide(asker, check)
        if not decision.allowed:
            raise denial(asker, check, decision.reason)

    async def _decide(self, asker: User, check: RequestInfo) -> Decision:
        begun = self._clock.monotonic()
        allowed = False
        try:
            decision = await self._authorizer.decide(asker, check)
            allowed = decision.allowed
        finally:
            _verb, _colon, narrow = check.verb.partition(":")
            mode = narrow.partition(":")[0] or _LEGACY
            self.metrics.checked(mode, self._clock.monotonic() - begun, allowed=allowed)
        return decision


def _wanted(request: Request) -> Wanted | None:
    """Whom the headers ask for; None: nobody else. Raises ``BadRequest`` where they name no user."""
    headers = request.headers
    if not any(name.startswith("impersonate-") for name in headers):
        return None
    stated = headers.get("impersonate-group")
    groups = () if stated is None else tuple(utf8(stated).split("\n"))
    extra = {
        unescaped(key[len(_EXTRA) :]): tuple(utf8(value).split("\n"))
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    }
    name, uid = utf8(headers.get("impersonate-user", "")), utf8(headers.get("impersonate-uid", ""))
    if name:
        return Wanted(name, uid, groups, extra)
    if not (uid or groups or extra):
        return None
    raise BadRequest(f"requested {_in_go(uid, groups, extra)} without impersonating a user name")


def _in_go(uid: str, groups: Sequence[str], extra: Mapping[str, Sequence[str]]) -> str:
    """A user as Go prints its value."""

    def listed(values: Sequence[str]) -> str:
        return "[]string{" + ", ".join(map(quoted, values)) + "}"

    pairs = ", ".join(f"{quoted(key)}:{listed(extra[key])}" for key in sorted(extra))
    shown_groups = listed(groups) if groups else "[]string(nil)"
    shown_extra = f"map[string][]string{{{pairs}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(uid)}, Groups:{shown_groups}, Extra:{shown_extra}}}'


def _unbound(asker: User) -> User:
    """A ServiceAccount on some node as authorizers see it: which node it is makes no difference to them."""
    return replace(asker, extra={_NODE_KEYS: tuple(sorted(asker.extra))})


def _node(name: str) -> str:
    """The node that a user is, or ``""``."""
    node = name.removeprefix(_NODE) if name.startswith(_NODE) else ""
    return "" if not node or names.dns1123_subdomain(node) else node


def _bad_extra(extra: Mapping[str, Sequence[str]]) -> str:
    """Why extra may not be taken over in a narrow mode, or ``""``."""
    for key, values in extra.items():
        if not key:
            return "impersonating the empty string key in extra is not allowed"
        if not _domain_path(key):
            return (
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "
                f'{quoted(key)}: must be a domain-prefixed path (such as "acme.io/foo")'
            )
        if key != key.lower():
            return f"impersonating a non-lowercase key in extra is not allowed: {quoted(key)}"
        if "" in values:
            return "impersonating the empty string value in extra is not allowed"
    return ""


def _asked(
    verb: str, group: str, resource: str, name: str, subresource: str = "", namespace: str = ""
) -> RequestInfo:
    return RequestInfo(verb, "", True, group, "v1", namespace, resource, subresource, name)


def _completed(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups everyone of that kind is in, as if the user had logged in."""
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    if AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return (*groups, AUTHENTICATED)
